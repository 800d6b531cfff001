//! The person who runs hosts: ssh keys, documents, and a browser, as far as scenarios need one.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;
use vm::guest::SshKey;

use crate::artifacts::Artifacts;

/// An administrator with an ssh key pair.
pub(crate) struct Operator {
    pub(crate) key: SshKey,
}

impl Operator {
    /// Makes a new key pair in `dir`.
    pub(crate) fn new(artifacts: &Artifacts, dir: &Path, name: &str) -> Result<Self> {
        Ok(Self { key: SshKey::in_dir(artifacts.run_tree(), dir, name)? })
    }

    /// Writes a good document for a host with one `WordPress` site, or none.
    pub(crate) fn document(&self, dir: &Path, facts: &Facts<'_>) -> Result<PathBuf> {
        let path = dir.join(format!("{}-{}.toml", facts.hostname, facts.serial));
        let mut text = format!(
            "schema = 1\nserial = {}\nhost = \"any\"\nhostname = \"{}\"\n\n[admin]\nemail = \"ops@example.org\"\nssh_keys = [\"{}\"]\nnetworks = [\"10.0.2.0/24\", \"192.0.2.0/24\", \"fe80::/10\"]\n\n[tls]\nmode = \"self-signed\"\n",
            facts.serial, facts.hostname, self.key.public
        );
        if let Some(title) = facts.wordpress {
            text.push_str(WORDPRESS_SITE);
            text.push_str(title);
            text.push_str("\"\n");
        }
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// What differs between documents.
pub(crate) struct Facts<'a> {
    pub(crate) hostname: &'a str,
    pub(crate) serial: u32,
    pub(crate) wordpress: Option<&'a str>,
}

/// A domain with one site; the title comes last.
const WORDPRESS_SITE: &str = r#"
[[domain]]
name = "example.org"

[[domain.site]]
name = "www.example.org"
kind = "wordpress"
aliases = ["example.org"]
admin_user = "editor"
admin_email = "editor@example.org"
title = ""#;

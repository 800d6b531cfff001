//! The verbs beside `build`, with what a builder has at hand: its cache, its tools tree and its development keys.
//!
//! Where no key is named the development keys of the cache are used, and every result says which key it was.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::{Manifest, TrustedKeys};
use fs_err as fs;
use hostconf::{HostConfig, RenderPlan};
use tools::Failure;
use tools::failure::HintExt as _;

use crate::build::Builder;
use crate::diff::{self, Difference};
use crate::flash::Written;
use crate::flash_image::{self, CheckedFlash, FlashRequest};
use crate::host_document::{self, HostSigner, SignedHost};
use crate::keys::{load_public_key, load_signing_key};
use crate::trees::ToolsKind;
use crate::verify_output;

/// A good output directory, and how far it was looked at.
#[derive(Debug)]
pub struct VerifiedOutput {
    /// What it is.
    pub manifest: Manifest,
    /// The public key that vouches for it.
    pub key: PathBuf,
    /// Whether the Secure Boot signature was checked too; it needs a certificate beside the key.
    pub secure_boot: bool,
}

impl Builder {
    /// Checks every byte of an output directory.
    pub fn verify(&self, output: &Path, key: Option<&Path>) -> Result<VerifiedOutput> {
        let (key, trusted) = self.release_key(key)?;
        let certificate = key.with_file_name("secureboot").join("db.crt");
        let certificate = certificate.is_file().then_some(certificate);
        let tools = self.tools_tree(ToolsKind::Build)?;
        let stage = self.progress().stage("verify");
        let manifest = verify_output::verify(output, &trusted, certificate.as_deref(), Some(&tools))?;
        stage.done();
        Ok(VerifiedOutput { manifest, key, secure_boot: certificate.is_some() })
    }

    /// What differs between two output directories.
    pub fn diff(&self, before: &Path, after: &Path) -> Result<Difference> {
        let tools = self.tools_tree(ToolsKind::Build)?;
        let stage = self.progress().stage("diff");
        let scratch = tempfile::Builder::new().prefix(".diff-").tempdir_in(self.cache_dir())?;
        let difference = diff::diff(before, after, &tools, scratch.path())?;
        stage.done();
        Ok(difference)
    }

    /// Reads the data of Debian's security tracker from a file or an address.
    pub fn read_tracker(&self, place: &str) -> Result<Vec<u8>> {
        /// Most bytes of it; the whole of Debian's has about 70 MiB.
        const LIMIT: u64 = 512 << 20;
        if !(place.starts_with("http://") || place.starts_with("https://")) {
            return fs::read(place).or_refuse("name a file with the tracker's data, or its address");
        }
        if self.settings.offline {
            let refused = Failure::refused(format!("`{place}` is an address, and the network may not be used"));
            return Err(refused.hint("name a file, or leave `--offline` out").into());
        }
        let fetched = self.http().get_whole(place, LIMIT).context(format!("cannot fetch `{place}`"));
        fetched.or_refuse("look at the address and the network, or name a file")
    }

    /// Checks image, proof and device before a flash.
    pub fn check_flash(&self, request: &FlashRequest<'_>) -> Result<CheckedFlash> {
        let (_, trusted) = self.release_key(request.release_key)?;
        let stage = self.progress().stage("check");
        let checked = flash_image::check(request, &trusted)?;
        stage.done();
        Ok(checked)
    }

    /// Writes a checked image, reads it back and compares.
    pub fn flash(&self, checked: &CheckedFlash) -> Result<Written> {
        let stage = self.progress().stage("flash");
        stage.total_bytes(2 * checked.image_size());
        let written = flash_image::flash(checked, |bytes| stage.advance(bytes))?;
        stage.done();
        Ok(written)
    }

    /// Reads a document; every mistake is an error line.
    pub fn read_host(&self, document: &Path) -> Result<HostConfig> {
        host_document::read_host(document)
    }

    /// Signs a document with `key`; without one an existing signature is taken, else the development key.
    pub fn sign_host(&self, document: &Path, key: Option<&Path>) -> Result<SignedHost> {
        if let Some(key) = key {
            return host_document::sign_host(document, HostSigner::Key(&load_signing_key(key)?));
        }
        let keys = self.development_keys();
        if host_document::signature_path(document).exists() {
            let known = load_public_key(&keys.join("operator.pub")).into_iter().collect();
            return host_document::sign_host(document, HostSigner::Existing(&known));
        }
        let key = keys.join("operator.key");
        if !key.is_file() {
            return Err(missing("operator key", "--key FILE"));
        }
        self.progress().note("no key was given: signed with the DEVELOPMENT operator key of this cache");
        host_document::sign_host(document, HostSigner::Key(&load_signing_key(&key)?))
    }

    /// Puts a signed document on the ESP of a disk or disk image.
    pub fn personalise(&self, disk: &Path, signed: &SignedHost, host_id: Option<&str>) -> Result<()> {
        let tools = self.tools_tree(ToolsKind::Build)?;
        host_document::personalise(&tools, disk, signed, host_id, self.settings.now)
    }

    /// What a host with this document would render.
    pub fn render_host(&self, document: &Path, image_dir: &Path) -> Result<RenderPlan> {
        host_document::render_host(document, image_dir)
    }

    /// The release key to trust: the one that was named, else the development key.
    fn release_key(&self, given: Option<&Path>) -> Result<(PathBuf, TrustedKeys)> {
        let path = if let Some(path) = given {
            path.to_owned()
        } else {
            let path = self.development_keys().join("release.pub");
            if !path.is_file() {
                return Err(missing("release key", "`--key FILE` (`flash`: `--release-key FILE`)"));
            }
            self.progress().note("no key was given: the DEVELOPMENT release key of this cache is trusted");
            path
        };
        let trusted = TrustedKeys::new([load_public_key(&path)?]);
        Ok((path, trusted))
    }

    fn development_keys(&self) -> PathBuf {
        self.cache_dir().join("development-keys")
    }
}

fn missing(what: &str, option: &str) -> anyhow::Error {
    Failure::refused(format!("no {what} was given, and this cache has no development keys"))
        .hint(format!("name it with {option}; a build without `--keys` makes development keys"))
        .into()
}

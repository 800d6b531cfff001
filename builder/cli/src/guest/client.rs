//! What reaches a guest from outside: ssh, TLS and HTTPS, with programs of the run tree over the loopback address.
//!
//! They see nothing of this machine but one folder: the ssh key, the known hosts, the pinned certificate.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::Sha256Digest;
use fs_err as fs;
use pipeline::programs::ToolsTree;
use tools::{Network, Output, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

use crate::guest::Ports;

/// The folder as the programs see it.
const INSIDE: &str = "/run/client";
/// Longest wait for an answer: an emulated machine's first page can take more than a minute.
const PATIENCE_SECONDS: &str = "180";
const KEY: &str = "id_ed25519";

/// An ssh key pair of its own.
#[derive(Debug)]
pub(crate) struct SshKey {
    /// The private key.
    pub(crate) path: PathBuf,
    /// The public key, as it stands in a document.
    pub(crate) public: String,
}

impl SshKey {
    /// The pair in `dir`, made if it is not there.
    pub(crate) fn in_dir(tree: &ToolsTree, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(KEY);
        if !path.exists() {
            let tool = Tool::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "casemate", "-f"])
                .arg(format!("{INSIDE}/{KEY}"));
            run(tree, dir, &tool)?;
        }
        let public = fs::read_to_string(dir.join(format!("{KEY}.pub")))?.trim().to_owned();
        Ok(Self { path, public })
    }
}

/// A client of one guest.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    tree: &'a ToolsTree,
    dir: &'a Path,
    ports: Ports,
}

impl<'a> Client<'a> {
    /// A client that keeps its files in `dir`, where its ssh key is.
    pub(crate) fn new(tree: &'a ToolsTree, dir: &'a Path, ports: Ports) -> Self {
        Self { tree, dir, ports }
    }

    /// Runs a command on the host as the administrator and returns what it printed.
    ///
    /// The first host key that is shown is kept; another one later is refused by ssh.
    pub(crate) fn ssh(&self, command: &str) -> Result<String> {
        let tool = Tool::new("ssh")
            .args(["-i", &format!("{INSIDE}/{KEY}"), "-p", &self.ports.ssh.to_string()])
            .args([
                "-o",
                "StrictHostKeyChecking=accept-new",
                "-o",
                &format!("UserKnownHostsFile={INSIDE}/known_hosts"),
                "-o",
                "HashKnownHosts=no",
            ])
            .args([
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "BatchMode=yes",
                "-o",
                &format!("ConnectTimeout={PATIENCE_SECONDS}"),
                "-o",
                "LogLevel=ERROR",
            ])
            .args(["admin@127.0.0.1", command]);
        Ok(self.run(&tool)?.stdout_text())
    }

    /// Fingerprint of the host key that ssh has kept, as `SHA256:...`.
    pub(crate) fn known_host_key(&self) -> Result<String> {
        let tool = Tool::new("ssh-keygen").args(["-l", "-f", &format!("{INSIDE}/known_hosts")]);
        let shown = self.run(&tool)?.stdout_text();
        let fingerprint = shown.split_whitespace().find(|word| word.starts_with("SHA256:"));
        Ok(fingerprint.context("ssh has kept no host key")?.to_owned())
    }

    /// Keeps the certificate that the host shows for `name` as the only trusted one; returns SHA-256 over it as hex digits.
    pub(crate) fn pin_certificate(&self, name: &str) -> Result<String> {
        let connect = format!("127.0.0.1:{}", self.ports.https);
        let tool = Tool::new("openssl").args(["s_client", "-connect", &connect, "-servername", name]).accept(&[0, 1]);
        let shown = self.run(&tool)?.stdout_text();
        fs::write(self.dir.join("server.pem"), pem(&shown).context("the host shows no certificate")?)?;
        let der = Tool::new("openssl").args(["x509", "-in", &format!("{INSIDE}/server.pem"), "-outform", "DER"]);
        Ok(Sha256Digest::of(&self.run(&der)?.stdout).to_string())
    }

    /// The status of `https://NAME/`, with no certificate trusted but the pinned one.
    pub(crate) fn https_status(&self, name: &str) -> Result<u16> {
        let tool = Tool::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
                "--max-time",
                PATIENCE_SECONDS,
            ])
            .args([
                "--cacert",
                &format!("{INSIDE}/server.pem"),
                "--connect-to",
                &format!("{name}:443:127.0.0.1:{}", self.ports.https),
            ])
            .arg(format!("https://{name}/"));
        let shown = self.run(&tool)?.stdout_text();
        shown.trim().parse().with_context(|| format!("curl printed `{shown}` where the status should be"))
    }

    fn run(&self, tool: &Tool) -> Result<Output> {
        run(self.tree, self.dir, tool)
    }
}

fn run(tree: &ToolsTree, dir: &Path, tool: &Tool) -> Result<Output> {
    let sandbox = Sandbox::new(tree.root()).network(Network::Host).bind(dir, INSIDE);
    SandboxRunner::new(sandbox).run(tool).remedied()
}

/// The first certificate in what `openssl s_client` prints.
fn pem(shown: &str) -> Option<&str> {
    const END: &str = "-----END CERTIFICATE-----";
    let (_, from) = shown.split_at_checked(shown.find("-----BEGIN CERTIFICATE-----")?)?;
    from.get(..from.find(END)? + END.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_certificate_is_cut_out_whole() {
        let one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
        assert_eq!(pem(&format!("CONNECTED\n{one}\nmore\n{one}\n")), Some(one));
        for broken in ["", "CONNECTED", "-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n"] {
            assert_eq!(pem(broken), None, "{broken}");
        }
    }
}

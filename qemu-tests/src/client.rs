//! What reaches a host from outside: a browser-like client, ssh, and a scan. All from the run tree, over the loopback address or a wire of their own.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use tools::sandbox::Network;
use tools::{Output, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};
use vm::NetworkNamespace;

use crate::artifacts::Artifacts;
use crate::host::Ports;

/// A host is healthy by what it sees of itself; its address may come a few seconds later, from the network.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(5);
/// The status of ssh when there is no session.
const NO_CONNECTION: i32 = 255;
const END_OF_CERTIFICATE: &str = "-----END CERTIFICATE-----";

/// A client that sees nothing of the build machine but `dir`.
pub(crate) struct Client<'a> {
    artifacts: &'a Artifacts,
    dir: &'a Path,
    network: Network,
    address: Ipv4Addr,
    ports: Ports,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl<'a> Client<'a> {
    pub(crate) fn new(artifacts: &'a Artifacts, dir: &'a Path, ports: Ports) -> Self {
        Self { artifacts, dir, network: Network::Host, address: Ipv4Addr::LOCALHOST, ports }
    }

    /// A client in a network of its own, which sees the host at `address` with its own ports.
    pub(crate) fn inside(
        artifacts: &'a Artifacts,
        dir: &'a Path,
        network: &NetworkNamespace,
        address: Ipv4Addr,
    ) -> Self {
        let ports = Ports { ssh: 22, http: 80, https: 443 };
        Self { artifacts, dir, network: Network::Namespace(network.path()), address, ports }
    }

    /// Fetches the certificate that the server shows for `name`, keeps it as the only trusted one, and returns its SHA-256 fingerprint.
    pub(crate) fn pin_certificate(&self, name: &str) -> Result<String> {
        let tool = Tool::new("openssl").args([
            "s_client",
            "-connect",
            &format!("{}:{}", self.address, self.ports.https),
            "-servername",
            name,
        ]);
        let tool = tool.accept(&[0, 1]);
        let mut shown = self.run(&tool)?.stdout_text();
        for _ in 0..TRIES {
            if shown.contains(END_OF_CERTIFICATE) {
                break;
            }
            std::thread::sleep(PAUSE);
            shown = self.run(&tool)?.stdout_text();
        }
        let start = shown.find("-----BEGIN CERTIFICATE-----").context("the server shows no certificate")?;
        let end =
            shown.find(END_OF_CERTIFICATE).context("the server shows half a certificate")? + END_OF_CERTIFICATE.len();
        fs::write(self.dir.join("server.pem"), &shown[start..end])?;
        let der = Tool::new("openssl").args(["x509", "-in", "/run/client/server.pem", "-outform", "DER"]);
        Ok(hex::encode(Sha256::digest(self.run(&der)?.stdout)))
    }

    /// GET over HTTPS, trusting only the pinned certificate.
    pub(crate) fn https(&self, name: &str, path: &str) -> Result<Answer> {
        let tool = curl(path)
            .args([
                "--cacert",
                "/run/client/server.pem",
                "--connect-to",
                &format!("{name}:443:{}:{}", self.address, self.ports.https),
            ])
            .arg(format!("https://{name}{path}"));
        self.answer(&tool)
    }

    /// GET over HTTPS from whoever answers, for names that no certificate is for.
    pub(crate) fn https_unverified(&self, name: &str, path: &str) -> Result<Answer> {
        let tool = curl(path)
            .args(["--insecure", "--connect-to", &format!("{name}:443:{}:{}", self.address, self.ports.https)])
            .arg(format!("https://{name}{path}"));
        self.answer(&tool)
    }

    /// GET over plain HTTP.
    pub(crate) fn http(&self, name: &str, path: &str) -> Result<Answer> {
        let tool = curl(path)
            .args(["--connect-to", &format!("{name}:80:{}:{}", self.address, self.ports.http)])
            .arg(format!("http://{name}{path}"));
        self.answer(&tool)
    }

    /// Runs a command over ssh as `user`; the status is that of ssh (255: refused) or of the command.
    pub(crate) fn ssh(&self, key: &Path, user: &str, command: &str) -> Result<Output> {
        let name = key.file_name().context("the key has no name")?.to_string_lossy().into_owned();
        let tool = Tool::new("ssh")
            .args(["-i", &format!("/run/client/{name}"), "-p", &self.ports.ssh.to_string()])
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/run/client/known_hosts",
                "-o",
                "IdentitiesOnly=yes",
            ])
            .args([
                "-o",
                "BatchMode=yes",
                "-o",
                "ConnectTimeout=60",
                "-o",
                "LogLevel=ERROR",
                &format!("{user}@{}", self.address),
                command,
            ])
            .accept(&(0..=255).collect::<Vec<i32>>());
        self.run(&tool)
    }

    /// A command over ssh that must succeed; returns what it printed.
    pub(crate) fn ssh_ok(&self, key: &Path, command: &str) -> Result<String> {
        let mut output = self.ssh(key, "admin", command)?;
        for _ in 0..TRIES {
            let refused = output.stderr_text().contains("Permission denied");
            if output.status != NO_CONNECTION || refused {
                break;
            }
            std::thread::sleep(PAUSE);
            output = self.ssh(key, "admin", command)?;
        }
        if output.status != 0 {
            bail!(
                "`{command}` on the host ended with status {}: {}{}",
                output.status,
                output.stdout_text(),
                output.stderr_text()
            );
        }
        Ok(output.stdout_text())
    }

    fn answer(&self, tool: &Tool) -> Result<Answer> {
        let text = self.run(tool)?.stdout_text();
        let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of its head")?;
        let status =
            head.split_whitespace().nth(1).and_then(|word| word.parse().ok()).context("the answer has no status")?;
        Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
    }

    fn run(&self, tool: &Tool) -> Result<Output> {
        let sandbox =
            Sandbox::new(self.artifacts.run_tree()).network(self.network.clone()).bind(self.dir, "/run/client");
        SandboxRunner::new(sandbox).run(tool).remedied()
    }
}

fn curl(path: &str) -> Tool {
    debug_assert!(path.starts_with('/'));
    Tool::new("curl").args(["--silent", "--show-error", "--include", "--max-time", "180", "--http1.1"])
}

//! What reaches a host from outside: ssh, TLS and HTTP, with programs of the run tree.
//!
//! They see nothing of this machine but one folder: the ssh keys, the known hosts, the pinned certificate.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use tools::{Network, Output, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

use super::Ports;
use crate::netns::NetworkNamespace;

/// The folder as the programs see it.
const INSIDE: &str = "/run/client";
/// Longest wait for an answer: an emulated machine's first page can take more than a minute.
const PATIENCE_SECONDS: &str = "180";
/// A host is healthy by what it sees of itself; the forwarded port may lead to it a few seconds later.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(5);
/// The status of ssh when there is no session.
const NO_CONNECTION: i32 = 255;
const ADMINISTRATOR: &str = "admin";
const CERTIFICATE: &str = "server.pem";

/// An ssh key pair of its own.
#[derive(Debug, Clone)]
pub struct SshKey {
    /// The private key.
    pub path: PathBuf,
    /// The public key, as it stands in a document.
    pub public: String,
}

impl SshKey {
    /// The pair `name` in `dir`, made if it is not there.
    pub fn in_dir(tree: &Path, dir: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(name);
        if !path.exists() {
            let tool = Tool::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "casemate", "-f"])
                .arg(format!("{INSIDE}/{name}"));
            run(tree, dir, Network::None, &tool)?;
        }
        let public = fs::read_to_string(dir.join(format!("{name}.pub")))?.trim().to_owned();
        Ok(Self { path, public })
    }
}

/// An answer over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status, such as 200.
    pub status: u16,
    /// Status line and header fields.
    pub head: String,
    /// What follows them.
    pub body: String,
}

/// A client of one host; it sees nothing of the build machine but its folder.
#[derive(Debug, Clone)]
pub struct Client {
    tree: PathBuf,
    dir: PathBuf,
    network: Network,
    address: Ipv4Addr,
    ports: Ports,
}

impl Client {
    /// A client that comes through forwarded ports and keeps its files in `dir`, where its ssh keys are.
    pub fn new(tree: &Path, dir: &Path, ports: Ports) -> Self {
        let (tree, dir) = (tree.to_owned(), dir.to_owned());
        Self { tree, dir, network: Network::Host, address: Ipv4Addr::LOCALHOST, ports }
    }

    /// A client in a network of its own, which sees the host at `address` with its own ports.
    pub fn inside(tree: &Path, dir: &Path, network: &NetworkNamespace, address: Ipv4Addr) -> Self {
        let network = Network::Namespace(network.path());
        Self { network, address, ..Self::new(tree, dir, Ports::OWN) }
    }

    /// Runs a command over ssh as `user`; the status is that of ssh (255: refused) or of the command.
    ///
    /// The first host key that is shown is kept; another one later is refused by ssh.
    pub fn ssh(&self, key: &SshKey, user: &str, command: &str) -> Result<Output> {
        let tool = as_holder(Tool::new("ssh"), key)?.args(["-p", &self.ports.ssh.to_string()]);
        let destination = format!("{user}@{}", self.address);
        self.run(&tool.args([destination.as_str(), command]).accept(&(0..=255).collect::<Vec<i32>>()))
    }

    /// Lets sftp do the commands of `batch`, one for each line, as `user` by the server on `port`; it ends at the first that fails.
    ///
    /// What it reads and writes on this side is in the client's folder.
    pub fn sftp(&self, key: &SshKey, user: &str, port: u16, batch: &str) -> Result<Output> {
        let tool = as_holder(Tool::new("sftp"), key)?.args(["-P", &port.to_string(), "-b", "-"]).cwd(INSIDE);
        let destination = format!("{user}@{}", self.address);
        self.run(&tool.arg(destination).stdin(batch.as_bytes()).accept(&(0..=255).collect::<Vec<i32>>()))
    }

    /// A command of the administrator over ssh that must succeed; returns what it printed.
    ///
    /// While there is no connection it is tried again for a minute; a refusal of the key counts at once.
    pub fn ssh_ok(&self, key: &SshKey, command: &str) -> Result<String> {
        let mut output = self.ssh(key, ADMINISTRATOR, command)?;
        for _ in 0..TRIES {
            if output.status != NO_CONNECTION || is_refusal(&output.stderr_text()) {
                break;
            }
            std::thread::sleep(PAUSE);
            output = self.ssh(key, ADMINISTRATOR, command)?;
        }
        if output.status != 0 {
            let (said, error) = (output.stdout_text(), output.stderr_text());
            bail!("`{command}` on the host ended with status {}: {said}{error}", output.status);
        }
        Ok(output.stdout_text())
    }

    /// Fingerprint of the host key that ssh has kept, as `SHA256:...`.
    pub fn known_host_key(&self) -> Result<String> {
        let tool = Tool::new("ssh-keygen").args(["-l", "-f", &format!("{INSIDE}/known_hosts")]);
        let shown = self.run(&tool)?.stdout_text();
        let fingerprint = shown.split_whitespace().find(|word| word.starts_with("SHA256:"));
        Ok(fingerprint.context("ssh has kept no host key")?.to_owned())
    }

    /// Keeps the certificate that the host shows for `name` as the only trusted one; returns SHA-256 over it as hex digits.
    pub fn pin_certificate(&self, name: &str) -> Result<String> {
        let connect = format!("{}:{}", self.address, self.ports.https);
        let tool = Tool::new("openssl").args(["s_client", "-connect", &connect, "-servername", name]).accept(&[0, 1]);
        let mut shown = self.run(&tool)?.stdout_text();
        for _ in 0..TRIES {
            if pem(&shown).is_some() {
                break;
            }
            std::thread::sleep(PAUSE);
            shown = self.run(&tool)?.stdout_text();
        }
        fs::write(self.dir.join(CERTIFICATE), pem(&shown).context("the host shows no certificate")?)?;
        let der = Tool::new("openssl").args(["x509", "-in", &format!("{INSIDE}/{CERTIFICATE}"), "-outform", "DER"]);
        Ok(hex::encode(Sha256::digest(self.run(&der)?.stdout)))
    }

    /// What the pinned certificate says of itself, in `openssl`'s words.
    pub fn certificate_text(&self) -> Result<String> {
        let tool = Tool::new("openssl").args(["x509", "-in", &format!("{INSIDE}/{CERTIFICATE}"), "-noout", "-text"]);
        Ok(self.run(&tool)?.stdout_text())
    }

    /// GET over HTTPS, trusting only the pinned certificate.
    pub fn https(&self, name: &str, path: &str) -> Result<Answer> {
        self.get(self.tls(), name, path, &["--cacert", &format!("{INSIDE}/{CERTIFICATE}")])
    }

    /// GET over HTTPS from whoever answers, for names that no certificate is for.
    pub fn https_unverified(&self, name: &str, path: &str) -> Result<Answer> {
        self.https_with(name, path, &[])
    }

    /// The same with further arguments of curl: a form, a cookie.
    pub fn https_with(&self, name: &str, path: &str, further: &[&str]) -> Result<Answer> {
        self.get(self.tls(), name, path, &[&["--insecure"], further].concat())
    }

    fn tls(&self) -> (&'static str, u16, u16) {
        ("https", Ports::OWN.https, self.ports.https)
    }

    /// The statuses of many GETs over HTTPS, for a path with ranges of curl's: `[1-40]`.
    pub fn https_statuses(&self, name: &str, paths: &str, further: &[&str]) -> Result<Vec<String>> {
        let tool = Tool::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--http1.1", "--max-time", PATIENCE_SECONDS])
            .args(["--output", "/dev/null", "--write-out", "%{http_code}\\n"])
            .args(further)
            .args(["--connect-to", &format!("{name}:{}:{}:{}", Ports::OWN.https, self.address, self.ports.https)])
            .arg(format!("https://{name}{paths}"));
        Ok(self.run(&tool)?.stdout_text().lines().map(str::to_owned).collect())
    }

    /// GET over plain HTTP.
    pub fn http(&self, name: &str, path: &str) -> Result<Answer> {
        self.http_with(name, path, &[])
    }

    /// The same with further arguments of curl.
    pub fn http_with(&self, name: &str, path: &str, further: &[&str]) -> Result<Answer> {
        self.get(("http", Ports::OWN.http, self.ports.http), name, path, further)
    }

    /// `scheme` with its port and the one that leads to it.
    fn get(&self, (scheme, from, to): (&str, u16, u16), name: &str, path: &str, further: &[&str]) -> Result<Answer> {
        let tool = Tool::new("curl")
            .args(["--silent", "--show-error", "--include", "--http1.1", "--max-time", PATIENCE_SECONDS])
            .args(further)
            .args(["--connect-to", &format!("{name}:{from}:{}:{to}", self.address)])
            .arg(format!("{scheme}://{name}{path}"));
        answer(&self.run(&tool)?.stdout_text())
    }

    fn run(&self, tool: &Tool) -> Result<Output> {
        run(&self.tree, &self.dir, self.network.clone(), tool)
    }
}

fn run(tree: &Path, dir: &Path, network: Network, tool: &Tool) -> Result<Output> {
    let sandbox = Sandbox::new(tree).network(network).bind(dir, INSIDE);
    SandboxRunner::new(sandbox).run(tool).remedied()
}

/// ssh or sftp with one key, and never a question to anybody.
fn as_holder(tool: Tool, key: &SshKey) -> Result<Tool> {
    let name = key.path.file_name().context("the key has no name")?.to_string_lossy().into_owned();
    let options = [
        "StrictHostKeyChecking=accept-new",
        &format!("UserKnownHostsFile={INSIDE}/known_hosts"),
        "HashKnownHosts=no",
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        &format!("ConnectTimeout={PATIENCE_SECONDS}"),
        "LogLevel=ERROR",
    ];
    let tool = tool.args(["-i", &format!("{INSIDE}/{name}")]);
    Ok(options.iter().fold(tool, |tool, option| tool.args(["-o", option])))
}

/// Whether ssh was told no, by either side: to wait changes nothing then.
fn is_refusal(said: &str) -> bool {
    said.contains("Permission denied") || said.contains("Host key verification failed")
}

/// RFC 9112: an empty line ends the head; the second word of its first line is the status.
fn answer(text: &str) -> Result<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    let status = status.context("the answer has no status")?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
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

    #[test]
    fn an_answer_is_taken_apart_and_half_of_one_is_refused() {
        let whole = answer("HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\nbody\r\n\r\nmore").unwrap();
        assert_eq!((whole.status, whole.body.as_str()), (301, "body\r\n\r\nmore"));
        assert!(whole.head.ends_with("Location: /x"));
        for broken in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 many\r\n\r\n"] {
            assert!(answer(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_host_that_says_no_is_told_from_one_that_is_not_there_yet() {
        assert!(is_refusal("admin@127.0.0.1: Permission denied (publickey)."));
        assert!(is_refusal("Host key verification failed."));
        assert!(!is_refusal("ssh: connect to host 127.0.0.1 port 8022: Connection refused"));
    }
}

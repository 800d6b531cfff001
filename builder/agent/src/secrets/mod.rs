//! Keys and passwords of this host: made once, kept for ever, known to nobody else.
//!
//! The agent knows three kinds and no service (`docs/formats/overlay-toml.md`, "Secrets"). A secret's bytes are never logged,
//! never part of an error and never in a file that others may read, not even for a moment.

pub mod random;
pub mod ssh;
pub mod tls;

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tools::ToolError;

use crate::files::Access;
use crate::files::FileError;
use crate::host::Host;

/// Time for one key; entropy may be scarce in the first seconds of a machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A secret to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// What it is.
    pub kind: Kind,
    /// Its place in the tree.
    pub path: PathBuf,
    /// Who may read it.
    pub access: Access,
}

/// The kinds of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// 256 random bits as hex digits.
    RandomHex,
    /// An ssh host key pair.
    SshHostKey,
    /// A TLS key with a certificate signed by itself.
    TlsSelfSigned {
        /// Place of the certificate.
        certificate: PathBuf,
        /// Names in the certificate; the first is its subject.
        names: Vec<String>,
    },
}

/// Why a secret was not made.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The disk refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// The program refuses.
    #[error("cannot make `{path}`: {source}")]
    Tool {
        /// The secret.
        path: PathBuf,
        /// The program's reason.
        source: ToolError,
    },
    /// The kernel gives no random bytes.
    #[error("no random bytes from the kernel: {0}")]
    Random(#[from] io::Error),
    /// A certificate needs a name.
    #[error("certificate `{0}` has no names; give the host a hostname or a site")]
    NoNames(PathBuf),
}

/// Makes what is missing and leaves what is there.
pub fn make(host: Host<'_>, secret: &Secret) -> Result<(), SecretError> {
    make_folder(host, &secret.path)?;
    match &secret.kind {
        Kind::RandomHex => random::make(host, &secret.path, secret.access),
        Kind::SshHostKey => ssh::make(host, &secret.path, secret.access),
        Kind::TlsSelfSigned { certificate, names } => {
            make_folder(host, certificate)?;
            tls::make(host, &tls::Pair { key: &secret.path, access: secret.access, certificate, names })
        }
    }
}

/// Declared folders exist already and keep their access. Others may be passed through, since a service reads its own secret.
fn make_folder(host: Host<'_>, path: &Path) -> Result<(), FileError> {
    path.parent().map_or(Ok(()), |folder| host.files.ensure_directory(folder, Access::PASSAGE))
}

/// A fixed name beside the target, so that the next run finds and replaces what a cut left behind.
fn unfinished(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::testing::Tree;

    fn secrets(tree: &Tree, names: &[&str]) -> Vec<Secret> {
        let keys = tree.paths.keys();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let tls = Kind::TlsSelfSigned { certificate: tree.paths.tls().join("certificate.pem"), names };
        let kinds = [(Kind::RandomHex, "random"), (Kind::SshHostKey, "ssh/ed25519"), (tls, "tls/key.pem")];
        kinds.map(|(kind, path)| Secret { kind, path: keys.join(path), access: Access::SECRET }).to_vec()
    }

    fn make_all(tree: &Tree, names: &[&str]) -> Result<(), SecretError> {
        secrets(tree, names).iter().try_for_each(|secret| make(tree.host(), secret))
    }

    #[test]
    fn makes_each_kind_and_keeps_it() {
        let tree = Tree::new();
        make_all(&tree, &["www.example.org"]).unwrap();
        let first = tree.listing();
        assert_eq!(tree.text("/var/lib/casemate/keys/random"), "07".repeat(32) + "\n");
        assert!(tree.text("/var/lib/casemate/keys/ssh/ed25519.pub").starts_with("ssh-ed25519 "));
        assert!(tree.text("/var/lib/casemate/keys/tls/certificate.pem").starts_with("DNS.0 = www.example.org\n"));
        make_all(&tree, &["www.example.org"]).unwrap();
        assert_eq!(tree.listing(), first);
    }

    #[test]
    fn no_private_file_can_be_read_by_others() {
        let tree = Tree::new();
        make_all(&tree, &["a.example"]).unwrap();
        for name in ["random", "ssh/ed25519", "tls/key.pem"] {
            assert_eq!(fs::metadata(tree.paths.keys().join(name)).unwrap().mode() & 0o7777, 0o600, "{name}");
        }
    }

    #[test]
    fn new_names_give_a_new_certificate_and_keep_the_key() {
        let tree = Tree::new();
        make_all(&tree, &["a.example"]).unwrap();
        make_all(&tree, &["a.example", "b.example"]).unwrap();
        let commands = tree.programs.commands();
        assert_eq!(commands.iter().filter(|command| command.contains("genpkey")).count(), 1, "{commands:?}");
        let certificate = tree.text("/var/lib/casemate/keys/tls/certificate.pem");
        assert!(certificate.starts_with("DNS.0 = a.example,DNS.1 = b.example\n"));
    }

    #[test]
    fn a_lost_key_gives_a_new_certificate() {
        let tree = Tree::new();
        make_all(&tree, &["a.example"]).unwrap();
        fs::remove_file(tree.paths.tls().join("key.pem")).unwrap();
        make_all(&tree, &["a.example"]).unwrap();
        let commands = tree.programs.commands();
        assert_eq!(commands.iter().filter(|command| command.contains("openssl req")).count(), 2, "{commands:?}");
    }

    #[test]
    fn a_cut_at_any_step_ends_in_the_same_secrets() {
        let whole = Tree::new();
        make_all(&whole, &["a.example"]).unwrap();
        for steps in 0.. {
            let tree = Tree::new();
            tree.cut_after(steps);
            let done = make_all(&tree, &["a.example"]).is_ok();
            tree.cut_after(u64::MAX);
            make_all(&tree, &["a.example"]).unwrap();
            assert_eq!(tree.listing(), whole.listing(), "cut after {steps} steps");
            if done {
                return assert!(steps > 20);
            }
        }
    }

    #[test]
    fn refuses_a_certificate_without_names() {
        let tree = Tree::new();
        assert!(matches!(make_all(&tree, &[]), Err(SecretError::NoNames(_))));
    }
}

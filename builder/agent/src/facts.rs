//! Facts of the running host for the screen: addresses, fingerprints, what the image says of itself.
//!
//! A fact that cannot be read is left out; the screen must come up on a host in any condition.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::Digest as _;
use sha2::Sha256;

use crate::addresses;
use crate::paths::Paths;
use crate::status::Status;

/// Fills in what can be seen at this moment.
pub fn look(paths: &Paths, status: &mut Status) {
    status.addresses = addresses::shown();
    status.ssh_keys = ssh_fingerprints(&paths.ssh_keys());
}

/// The fingerprint of each `*.pub` in a folder, as `ssh-keygen -l` prints it.
fn ssh_fingerprints(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "pub"))
        .collect();
    names.sort();
    names.iter().filter_map(|path| ssh_fingerprint(&fs::read_to_string(path).ok()?)).collect()
}

/// `ED25519 SHA256:...` of one line `ssh-ed25519 <base64> <comment>` (RFC 4253 §6.6 blob, hashed whole).
pub fn ssh_fingerprint(line: &str) -> Option<String> {
    let mut fields = line.split_whitespace();
    let (kind, blob) = (fields.next()?, STANDARD.decode(fields.next()?).ok()?);
    let kind = match kind {
        "ssh-ed25519" => "ED25519",
        "ssh-rsa" => "RSA",
        kind if kind.starts_with("ecdsa-") => "ECDSA",
        _ => return None,
    };
    Some(format!("{kind} SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob))))
}

/// `sha256:` and the hex digest of the first certificate of a PEM file.
pub fn certificate_fingerprint(pem: &[u8]) -> Option<String> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    Some(format!("sha256:{}", hex::encode(Sha256::digest(&der))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_ssh_fingerprints_as_openssh_does() {
        // Key and fingerprint as printed by `ssh-keygen -l`.
        let line = include_str!("../tests/data/host_key.pub");
        let expected = include_str!("../tests/data/host_key.fingerprint").trim();
        assert_eq!(ssh_fingerprint(line).as_deref(), Some(expected));
    }

    #[test]
    fn passes_over_what_is_no_key() {
        assert_eq!(ssh_fingerprint("ssh-dss AAAA"), None);
        assert_eq!(ssh_fingerprint("ssh-ed25519 !"), None);
        assert_eq!(ssh_fingerprint(""), None);
        assert_eq!(certificate_fingerprint(b"-----BEGIN CERTIFICATE-----"), None);
    }
}

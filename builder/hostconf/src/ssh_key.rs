//! Public ssh keys as in `authorized_keys`, without options: type, base64, comment (RFC 4253 6.6, RFC 8709, RFC 5656).
//!
//! The blob is parsed: its inner type must be the outer one, and its fields must have the right lengths. Weak kinds are refused.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::document::shown;
use crate::names::text_type;

/// Shortest RSA modulus in bits.
const SHORTEST_RSA: usize = 3072;

/// Longest accepted key line in bytes; RSA with 16384 bits needs about 2800.
const LONGEST_LINE: usize = 8192;

/// Why an ssh key was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SshKeyError {
    /// Not a key line.
    #[error(
        "`{found}` is not an ssh public key: copy the one line of the `.pub` file, e.g. `ssh-ed25519 AAAA... name`"
    )]
    Shape {
        /// The offending text, shortened.
        found: String,
    },
    /// A kind that is weak, unknown or a certificate.
    #[error(
        "ssh keys of type `{found}` are not accepted: use ssh-ed25519, ecdsa-sha2-nistp256/384/521, ssh-rsa with 3072 bits or more, or their sk- kinds"
    )]
    Type {
        /// The type found, shortened.
        found: String,
    },
    /// The base64 part does not hold a key of the type before it.
    #[error("the ssh key's base64 does not hold a `{kind}` key: it was cut off or changed; copy the whole line again")]
    Blob {
        /// The type that the line claims.
        kind: String,
    },
    /// An RSA key that is too short.
    #[error(
        "the RSA key has {bits} bits, at least {SHORTEST_RSA} are needed: make a new key with `ssh-keygen -t ed25519`"
    )]
    ShortRsa {
        /// Length of the modulus in bits.
        bits: usize,
    },
}

/// A public ssh key, `type base64 comment` on one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SshPublicKey(String);

text_type!(SshPublicKey);

impl SshPublicKey {
    /// The kinds that are accepted.
    pub const KINDS: [&str; 7] = [
        "ssh-ed25519",
        "sk-ssh-ed25519@openssh.com",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-rsa",
    ];
}

impl FromStr for SshPublicKey {
    type Err = SshKeyError;

    fn from_str(text: &str) -> Result<Self, SshKeyError> {
        let shape = || SshKeyError::Shape { found: shown(text) };
        if text.len() > LONGEST_LINE || text.chars().any(char::is_control) {
            return Err(shape());
        }
        let mut words = text.trim().splitn(3, ' ');
        let (Some(kind), Some(encoded)) = (words.next(), words.next()) else {
            return Err(shape());
        };
        let comment = words.next().unwrap_or_default().trim();
        let blob = STANDARD.decode(encoded).map_err(|_| SshKeyError::Blob { kind: shown(kind) })?;
        check_blob(kind, &blob)?;
        Ok(Self(format!("{kind} {encoded} {comment}").trim_end().to_owned()))
    }
}

fn check_blob(kind: &str, blob: &[u8]) -> Result<(), SshKeyError> {
    let fields = split_fields(blob).unwrap_or_default();
    let good = match (kind, fields.as_slice()) {
        ("ssh-ed25519", [_, key]) => key.len() == 32,
        ("sk-ssh-ed25519@openssh.com", [_, key, application]) => key.len() == 32 && !application.is_empty(),
        ("ecdsa-sha2-nistp256", [_, curve, point]) => is_point(curve, b"nistp256", point, 65),
        ("ecdsa-sha2-nistp384", [_, curve, point]) => is_point(curve, b"nistp384", point, 97),
        ("ecdsa-sha2-nistp521", [_, curve, point]) => is_point(curve, b"nistp521", point, 133),
        ("sk-ecdsa-sha2-nistp256@openssh.com", [_, curve, point, application]) => {
            is_point(curve, b"nistp256", point, 65) && !application.is_empty()
        }
        ("ssh-rsa", [_, exponent, modulus]) => return check_rsa(fields.first(), exponent, modulus),
        (known, _) if SshPublicKey::KINDS.contains(&known) => false,
        _ => return Err(SshKeyError::Type { found: shown(kind) }),
    };
    let same_type = fields.first().is_some_and(|inner| *inner == kind.as_bytes());
    if good && same_type { Ok(()) } else { Err(SshKeyError::Blob { kind: kind.to_owned() }) }
}

/// An uncompressed point (SEC 1, 2.3.3) of the named curve.
fn is_point(curve: &[u8], wanted: &[u8], point: &[u8], length: usize) -> bool {
    curve == wanted && point.len() == length && point.first() == Some(&4)
}

fn check_rsa(inner: Option<&&[u8]>, exponent: &[u8], modulus: &[u8]) -> Result<(), SshKeyError> {
    let blob = || SshKeyError::Blob { kind: "ssh-rsa".to_owned() };
    // An mpint has a leading zero byte when its first bit is set (RFC 4251 5); without it the number would be negative.
    let digits = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    if inner != Some(&&b"ssh-rsa"[..]) || !odd(exponent) || exponent == [1] || !odd(modulus) {
        return Err(blob());
    }
    let first = digits.first().copied().ok_or_else(blob)?;
    let bits = digits.len().saturating_mul(8).saturating_sub(first.leading_zeros() as usize);
    if bits < SHORTEST_RSA { Err(SshKeyError::ShortRsa { bits }) } else { Ok(()) }
}

/// Splits a blob into its length-prefixed fields (RFC 4251 5); `None` when a length does not fit.
fn split_fields(mut blob: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !blob.is_empty() {
        let (length, rest) = blob.split_at_checked(4)?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let (field, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        fields.push(field);
        blob = rest;
    }
    Some(fields)
}

//! SHA-256 digests as values: 64 lower-case hex digits in text, 32 bytes in memory.
//!
//! The root hash of a verity tree has the same shape and is a type of its own, so that it is never compared with the digest of a file by mistake.

use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{found}` is not a SHA-256 value: write 64 lower-case hex digits")]
pub struct DigestError {
    /// The offending text, shortened.
    pub found: String,
}

/// The SHA-256 digest of a file or document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// Digests `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Ends a running hash, for callers that hash while they read.
    pub fn from_hasher(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Sha256Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Reads exactly 64 lower-case hex digits; upper case is refused so that each value has one spelling.
pub(crate) fn parse_hex32(text: &str) -> Result<[u8; 32], DigestError> {
    let refused = || DigestError { found: text.chars().take(80).collect() };
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(refused());
    }
    let mut bytes = [0_u8; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| refused())?;
    Ok(bytes)
}

/// Text in and out of a newtype over 32 bytes, for people and for serde.
macro_rules! hex_text {
    ($type:ident) => {
        impl std::str::FromStr for $type {
            type Err = $crate::digest::DigestError;

            fn from_str(text: &str) -> Result<Self, $crate::digest::DigestError> {
                $crate::digest::parse_hex32(text).map(Self)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(out, concat!(stringify!($type), "({})"), self)
            }
        }

        $crate::names::serde_text!($type);
    };
}
pub(crate) use hex_text;

hex_text!(Sha256Digest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_as_the_standard_says() {
        let abc = Sha256Digest::of(b"abc").to_string();
        assert_eq!(abc, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn refuses_every_second_spelling() {
        let good = Sha256Digest::of(b"abc").to_string();
        assert!(good.parse::<Sha256Digest>().is_ok());
        for bad in [good.to_uppercase(), good[1..].to_owned(), format!("{good}0"), format!(" {good}"), String::new()] {
            assert!(bad.parse::<Sha256Digest>().is_err(), "{bad}");
        }
    }
}

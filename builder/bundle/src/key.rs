//! Public keys, their one-line form (`*.pub`) and their ids, as in `docs/formats/signature.md`.
//!
//! A key of small order is refused here already: with such a key anybody could sign anything.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use formats::digest::{DigestError, Sha256Digest};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// First word of a `*.pub` line.
const KEY_TYPE: &str = "casemate-ed25519";

/// Longest accepted `*.pub` line in bytes; a key needs 61, the rest is comment.
const LONGEST_LINE: usize = 512;

/// Why a public key was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not the shape of a key line.
    #[error(
        "not a public key line: write `casemate-ed25519 <base64 of 32 bytes> <comment>` on one line, as `casemate keys init` does"
    )]
    Shape,
    /// Another kind of key.
    #[error("key type `{found}` is unknown: only `casemate-ed25519` keys are used here")]
    Type {
        /// First word of the line, shortened.
        found: String,
    },
    /// The base64 does not hold 32 bytes.
    #[error("the key's base64 does not hold 32 bytes: copy the whole line of the `.pub` file")]
    Length,
    /// The 32 bytes are no point of the curve, or one of small order.
    #[error(
        "the key is not a usable ed25519 point: it was damaged or made to cheat; make a new one with `casemate keys init`"
    )]
    Point,
    /// The comment holds something else than printable characters.
    #[error("the key's comment holds a character that cannot be printed: use plain text")]
    Comment,
}

/// The id of a public key: SHA-256 over its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(Sha256Digest);

impl FromStr for KeyId {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyId({self})")
    }
}

/// A public key with its comment. `Display` writes the `*.pub` line without the line end, `FromStr` reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    comment: String,
}

impl PublicKey {
    /// Takes the 32 bytes of RFC 8032 and a comment of printable characters.
    pub fn new(bytes: &[u8; 32], comment: &str) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?;
        if key.is_weak() {
            return Err(KeyError::Point);
        }
        if comment.len() > LONGEST_LINE || comment.chars().any(char::is_control) {
            return Err(KeyError::Comment);
        }
        Ok(Self { key, comment: comment.trim().to_owned() })
    }

    /// The key id.
    pub fn id(&self) -> KeyId {
        KeyId(Sha256Digest::of(self.key.as_bytes()))
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The comment, possibly empty.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    pub(crate) fn verifying_key(&self) -> &VerifyingKey {
        &self.key
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        if line.len() > LONGEST_LINE {
            return Err(KeyError::Shape);
        }
        let mut words = line.splitn(3, ' ');
        let (Some(kind), Some(encoded)) = (words.next(), words.next()) else {
            return Err(KeyError::Shape);
        };
        if kind != KEY_TYPE {
            return Err(KeyError::Type { found: kind.chars().take(40).collect() });
        }
        let bytes = STANDARD.decode(encoded).map_err(|_| KeyError::Length)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Length)?;
        Self::new(&bytes, words.next().unwrap_or_default())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{KEY_TYPE} {}", STANDARD.encode(self.key.as_bytes()))?;
        if self.comment.is_empty() { Ok(()) } else { write!(out, " {}", self.comment) }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublicKey({self})")
    }
}

//! Private keys and signing (feature `sign`). Only the builder turns this on.
//!
//! Random bytes come from the caller: this file reads no random device, so that tests and stages stay repeatable.

use std::fmt;

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use thiserror::Error;

use crate::key::{KeyError, PublicKey};
use crate::signature::{Context, Entry, Envelope, signed_message};
use crate::verify::VerifyError;

/// Why a private key could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SigningKeyError {
    /// Not a PKCS#8 PEM with an ed25519 key.
    #[error("not an ed25519 private key in PKCS#8 PEM (RFC 8410): {reason}; make keys with `casemate keys init`")]
    Pem {
        /// What the decoder says; it never holds key bytes.
        reason: String,
    },
    /// The public half is not usable.
    #[error(transparent)]
    Public(#[from] KeyError),
}

/// A private key; it never prints itself and wipes its bytes when dropped.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    public: PublicKey,
}

impl SigningKey {
    /// Makes a key from 32 random bytes, which must come from the kernel's random source.
    pub fn from_random(bytes: &[u8; 32], comment: &str) -> Result<Self, SigningKeyError> {
        Self::new(ed25519_dalek::SigningKey::from_bytes(bytes), comment)
    }

    /// Reads a PKCS#8 PEM text. The file holds no comment, so the caller gives one.
    pub fn from_pem(text: &str, comment: &str) -> Result<Self, SigningKeyError> {
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(text)
            .map_err(|error| SigningKeyError::Pem { reason: error.to_string() })?;
        Self::new(key, comment)
    }

    /// Writes the PKCS#8 PEM text. The caller stores it with mode 0600.
    pub fn to_pem(&self) -> Result<String, SigningKeyError> {
        let text = self
            .key
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| SigningKeyError::Pem { reason: error.to_string() })?;
        Ok(text.to_string())
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    fn new(key: ed25519_dalek::SigningKey, comment: &str) -> Result<Self, SigningKeyError> {
        let public = PublicKey::new(key.verifying_key().as_bytes(), comment)?;
        Ok(Self { key, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey({})", self.public.id())
    }
}

/// Signs `document` as a `context` with each of `keys`.
pub fn sign(document: &[u8], context: Context, keys: &[&SigningKey]) -> Envelope {
    let message = signed_message(context, document);
    let entries =
        keys.iter().map(|key| Entry { key: key.public.id(), signature: key.key.sign(&message).to_bytes() }).collect();
    Envelope { context, entries }
}

/// Adds the signature of `key` to those that are there: in the order of the key ids, so that it is the same whoever
/// signed first, and each key once. Entries of an older state of the document are not looked at: the caller checks them
/// with [`crate::KeySet::standing`].
pub fn countersign(
    document: &[u8],
    context: Context,
    envelope: Option<Envelope>,
    key: &SigningKey,
) -> Result<Envelope, VerifyError> {
    let mut signed = sign(document, context, &[key]);
    if let Some(before) = envelope {
        if before.context != context {
            return Err(VerifyError::WrongContext { expected: context, found: before.context });
        }
        signed.entries.extend(before.entries.into_iter().filter(|entry| entry.key != key.public.id()));
    }
    signed.entries.sort_by_key(|entry| entry.key);
    Ok(signed)
}

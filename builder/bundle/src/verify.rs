//! The only door from bytes to trusted bytes: [`verify`] makes [`Verified`], nothing else can.
//!
//! It holds the rules of `docs/formats/signature.md`, "Rules for a verifier", in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::ops::Deref;

use ed25519_dalek::Signature;
use thiserror::Error;

use crate::key::{KeyId, PublicKey};
use crate::signature::{Context, Envelope, EnvelopeError, signed_message};

/// Why a document was not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// More bytes than a document of this kind may have.
    #[error("the document has {size} bytes, a `{context}` may have {largest}: make it smaller")]
    DocumentTooLarge {
        /// Size in bytes.
        size: usize,
        /// Largest size in bytes.
        largest: usize,
        /// The expected kind.
        context: Context,
    },
    /// The envelope cannot be read.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A signature for another kind of document.
    #[error(
        "the signature is for a `{found}`, not for a `{expected}`: take the `.sig` file that belongs to this document"
    )]
    WrongContext {
        /// What the caller expects.
        expected: Context,
        /// What the envelope says.
        found: Context,
    },
    /// A trusted key is named, but its signature does not fit the document.
    #[error(
        "the signature of key {key} does not fit the document: the document was changed after it was signed; sign it again"
    )]
    BadSignature {
        /// The key.
        key: KeyId,
    },
    /// Too few trusted keys signed.
    #[error(
        "{good} of {needed} needed signatures come from a trusted key; signed by: {}; trusted: {}; sign with a trusted key",
        list(present),
        list(trusted)
    )]
    NotTrusted {
        /// How many distinct trusted keys signed.
        good: usize,
        /// How many must.
        needed: usize,
        /// Key ids in the envelope.
        present: BTreeSet<KeyId>,
        /// Key ids that would count.
        trusted: BTreeSet<KeyId>,
    },
}

/// The keys whose signatures count for one kind of document.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys(BTreeMap<KeyId, PublicKey>);

impl TrustedKeys {
    /// Takes the keys; the same key given twice is there once.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self(keys.into_iter().map(|key| (key.id(), key)).collect())
    }

    /// The trusted keys in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.values()
    }

    /// Whether no key is trusted, so that nothing can be verified.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<PublicKey> for TrustedKeys {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        Self::new(keys)
    }
}

/// A value whose bytes were signed by enough trusted keys. It can be read, not changed, and made only by [`verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    context: Context,
    signed_by: BTreeSet<KeyId>,
}

impl<T> Verified<T> {
    /// The trusted keys that signed.
    pub fn signed_by(&self) -> &BTreeSet<KeyId> {
        &self.signed_by
    }

    /// The kind of document that was signed.
    pub fn context(&self) -> Context {
        self.context
    }

    /// Gives up the proof and keeps the value.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Parses the value further; only this crate may, so that the result is a function of the signed bytes alone.
    pub(crate) fn parse_with<U, E>(&self, parse: impl FnOnce(&T) -> Result<U, E>) -> Result<Verified<U>, E> {
        let value = parse(&self.value)?;
        Ok(Verified { value, context: self.context, signed_by: self.signed_by.clone() })
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Checks that at least `threshold` distinct keys of `trusted` signed `document` as a `context`.
///
/// Entries of unknown keys are skipped; a bad signature that names a trusted key is an error even when others are good,
/// because it means that somebody changed the document or the envelope.
pub fn verify(
    document: &[u8],
    envelope: &[u8],
    context: Context,
    trusted: &TrustedKeys,
    threshold: NonZeroUsize,
) -> Result<Verified<Vec<u8>>, VerifyError> {
    let largest = context.largest_document();
    if document.len() > largest {
        return Err(VerifyError::DocumentTooLarge { size: document.len(), largest, context });
    }
    let envelope = Envelope::parse(envelope)?;
    if envelope.context != context {
        return Err(VerifyError::WrongContext { expected: context, found: envelope.context });
    }
    let signed_by = good_signers(&envelope, &signed_message(context, document), trusted)?;
    if signed_by.len() < threshold.get() {
        return Err(VerifyError::NotTrusted {
            good: signed_by.len(),
            needed: threshold.get(),
            present: envelope.entries.iter().map(|entry| entry.key).collect(),
            trusted: trusted.0.keys().copied().collect(),
        });
    }
    Ok(Verified { value: document.to_vec(), context, signed_by })
}

/// The trusted keys with a good signature in the envelope; a bad one that names a trusted key is an error.
pub(crate) fn good_signers(
    envelope: &Envelope,
    message: &[u8],
    trusted: &TrustedKeys,
) -> Result<BTreeSet<KeyId>, VerifyError> {
    let mut signers = BTreeSet::new();
    for entry in &envelope.entries {
        let Some(key) = trusted.0.get(&entry.key) else {
            continue;
        };
        // An exact copy of a good entry counts once; checking each again costs at most 64 KiB of envelope.
        key.verifying_key()
            .verify_strict(message, &Signature::from_bytes(&entry.signature))
            .map_err(|_| VerifyError::BadSignature { key: entry.key })?;
        signers.insert(entry.key);
    }
    Ok(signers)
}

fn list(keys: &BTreeSet<KeyId>) -> String {
    if keys.is_empty() {
        return "nobody".to_owned();
    }
    keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")
}

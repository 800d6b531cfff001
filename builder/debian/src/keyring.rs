//! Whose signatures the archive is believed by, and the policy for them.
//!
//! One good signature is enough: made by a carried certificate's primary key or signing subkey, over SHA-256 or stronger,
//! while that key was neither expired nor revoked. The arithmetic is the `pgp` crate's, the policy is ours.
//! Only this file can make a [`Verified`] value; it reads no file and no clock.

use std::{fmt, ops::Deref};

use pgp::{
    composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey},
    packet::{Signature, SignatureType},
    types::KeyDetails,
};

use crate::{
    clearsign::{ClearSignError, ClearSigned},
    date::UnixTime,
    signature_policy::{check_hash, check_primary, check_signature, check_subkey, fits, is_issuer, issuer},
};

/// Debian's archive keys: trixie, and bookworm's because a release is signed by the keys of its predecessor too.
const DEBIAN_KEYS: [&[u8]; 6] = [
    include_bytes!("../keys/debian-archive-trixie-automatic.pgp"),
    include_bytes!("../keys/debian-archive-trixie-security-automatic.pgp"),
    include_bytes!("../keys/debian-archive-trixie-stable.pgp"),
    include_bytes!("../keys/debian-archive-bookworm-automatic.pgp"),
    include_bytes!("../keys/debian-archive-bookworm-security-automatic.pgp"),
    include_bytes!("../keys/debian-archive-bookworm-stable.pgp"),
];

/// A signature block larger than this is no signature block.
const SIGNATURE_LIMIT: usize = 256 * 1024;

/// A value whose bytes were signed by a trusted key.
///
/// The constructor is private to the verifier, so that holding the value is the proof.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    value: T,
    signer: String,
}

/// The certificates that may sign the archive.
#[derive(Clone)]
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

/// The carried keys cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read an OpenPGP certificate: {0}; replace the key file")]
pub struct KeyringError(String);

/// The text is not signed by a trusted key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The clear-signed frame is malformed.
    #[error(transparent)]
    Frame(#[from] ClearSignError),
    /// The signature block is malformed.
    #[error("cannot read the signature block: {0}")]
    Malformed(String),
    /// The signed bytes are not text.
    #[error("the signed file is not UTF-8 text")]
    NotText,
    /// None of the signatures is good.
    #[error("no good signature by a trusted key: {}", join(.0))]
    Untrusted(Vec<Refusal>),
}

/// Why one signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Made by a key that is not carried.
    #[error("key {0} is not among the carried keys")]
    UnknownKey(String),
    /// The bytes are not the ones that were signed.
    #[error("the signature of key {0} does not fit the text: the file was changed")]
    Mismatch(String),
    /// A digest that can be forged.
    #[error("key {key} signed over {hash}, which is weaker than SHA-256")]
    WeakHash {
        /// The signing key.
        key: String,
        /// The digest.
        hash: String,
    },
    /// The key had expired, was revoked, may not sign, or did not exist when the signature was made.
    #[error("key {key} was not valid when it signed: {reason}")]
    Key {
        /// The signing key.
        key: String,
        /// What was wrong with it.
        reason: &'static str,
    },
    /// The signature itself is out of its time, or of a kind that does not sign documents.
    #[error("the signature of key {key} does not count: {reason}")]
    Signature {
        /// The signing key.
        key: String,
        /// What was wrong with it.
        reason: &'static str,
    },
}

impl<T> Verified<T> {
    /// The fingerprint of the key that signed.
    pub fn signer(&self) -> &str {
        &self.signer
    }

    /// Reads what was signed as something else; the proof stays with it.
    pub(crate) fn try_map<U, E>(self, map: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        Ok(Verified { value: map(self.value)?, signer: self.signer })
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Keyring {
    /// The keys of the Debian archive that this program carries.
    pub fn debian() -> Result<Self, KeyringError> {
        Self::from_certificates(&DEBIAN_KEYS)
    }

    /// Reads binary certificates, one or several in each slice.
    pub fn from_certificates(blobs: &[&[u8]]) -> Result<Self, KeyringError> {
        let mut certificates = Vec::new();
        for blob in blobs {
            for certificate in SignedPublicKey::from_bytes_many(*blob).map_err(|e| KeyringError(e.to_string()))? {
                certificates.push(certificate.map_err(|e| KeyringError(e.to_string()))?);
            }
        }
        Ok(Self { certificates })
    }

    /// Verifies a clear-signed message (`InRelease`) and gives the signed text.
    pub fn verify_clearsigned(&self, message: &[u8], now: UnixTime) -> Result<Verified<String>, SignatureError> {
        let ClearSigned { text, signature } = ClearSigned::parse(message)?;
        let signer = self.find_good(&parse_signatures(&signature)?, &[SignatureType::Text], text.as_bytes(), now)?;
        Ok(Verified { value: text, signer })
    }

    /// Verifies `bytes` (Release) by an armored detached signature (Release.gpg).
    pub fn verify_detached(
        &self,
        bytes: &[u8],
        signature: &[u8],
        now: UnixTime,
    ) -> Result<Verified<String>, SignatureError> {
        let signature = str::from_utf8(signature).map_err(|_| SignatureError::Malformed("not armored".into()))?;
        let signer = self.find_good(&parse_signatures(signature)?, &[SignatureType::Binary], bytes, now)?;
        let text = str::from_utf8(bytes).map_err(|_| SignatureError::NotText)?;
        Ok(Verified { value: text.to_owned(), signer })
    }

    fn find_good(
        &self,
        signatures: &[Signature],
        kinds: &[SignatureType],
        bytes: &[u8],
        now: UnixTime,
    ) -> Result<String, SignatureError> {
        let mut refusals = Vec::new();
        for signature in signatures {
            match self.check_one(signature, kinds, bytes, now) {
                Ok(signer) => return Ok(signer),
                Err(refusal) => refusals.push(refusal),
            }
        }
        Err(SignatureError::Untrusted(refusals))
    }

    fn check_one(
        &self,
        signature: &Signature,
        kinds: &[SignatureType],
        bytes: &[u8],
        now: UnixTime,
    ) -> Result<String, Refusal> {
        let key = issuer(signature);
        let (certificate, subkey) = self.find_key(signature).ok_or_else(|| Refusal::UnknownKey(key.clone()))?;
        check_hash(signature, &key)?;
        let made =
            check_signature(signature, kinds, now).map_err(|reason| Refusal::Signature { key: key.clone(), reason })?;
        let fits = match subkey {
            Some(subkey) => fits(signature, &subkey.key, bytes),
            None => fits(signature, &certificate.primary_key, bytes),
        };
        if !fits {
            return Err(Refusal::Mismatch(key));
        }
        check_primary(certificate, made, subkey.is_none())
            .and_then(|()| subkey.map_or(Ok(()), |subkey| check_subkey(certificate, subkey, made)))
            .map_err(|reason| Refusal::Key { key, reason })?;
        Ok(certificate.primary_key.fingerprint().to_string())
    }

    fn find_key(&self, signature: &Signature) -> Option<(&SignedPublicKey, Option<&SignedPublicSubKey>)> {
        self.certificates.iter().find_map(|certificate| {
            if is_issuer(signature, &certificate.primary_key) {
                return Some((certificate, None));
            }
            let subkey = certificate.public_subkeys.iter().find(|subkey| is_issuer(signature, &subkey.key));
            subkey.map(|subkey| (certificate, Some(subkey)))
        })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.certificates.iter().map(|c| c.primary_key.fingerprint().to_string())).finish()
    }
}

fn parse_signatures(armored: &str) -> Result<Vec<Signature>, SignatureError> {
    let malformed = |error: pgp::errors::Error| SignatureError::Malformed(error.to_string());
    if armored.len() > SIGNATURE_LIMIT {
        return Err(SignatureError::Malformed(format!("it is longer than {SIGNATURE_LIMIT} bytes")));
    }
    let (signatures, _) = DetachedSignature::from_string_many(armored).map_err(malformed)?;
    signatures.map(|found| found.map(|detached| detached.signature).map_err(malformed)).collect()
}

fn join(refusals: &[Refusal]) -> String {
    if refusals.is_empty() {
        return "the file has no signature".to_owned();
    }
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

//! Whose signatures the archive is believed by, and the policy for them.
//!
//! One good signature is enough: made by a carried certificate's primary key or signing subkey, over SHA-256 or stronger,
//! while that key was neither expired nor revoked. The OpenPGP arithmetic is rPGP's, the policy is ours.
//! Only this file can make a [`Verified`] value; it reads no file and no clock.

use std::{fmt, ops::Deref};

use pgp::{
    composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey},
    crypto::hash::HashAlgorithm,
    packet::{Signature, SignatureType, SubpacketData},
    types::{KeyDetails, Tag, VerifyingKey},
};

use crate::{
    clearsign::{ClearSignError, ClearSigned},
    date::{DAY, UnixTime},
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
    pub(crate) fn try_map<U, E>(
        self,
        map: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<Verified<U>, E> {
        Ok(Verified {
            value: map(self.value)?,
            signer: self.signer,
        })
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
            for certificate in
                SignedPublicKey::from_bytes_many(*blob).map_err(|e| KeyringError(e.to_string()))?
            {
                certificates.push(certificate.map_err(|e| KeyringError(e.to_string()))?);
            }
        }
        Ok(Self { certificates })
    }

    /// Verifies a clear-signed message (InRelease) and gives the signed text.
    pub fn verify_clearsigned(
        &self,
        message: &[u8],
        now: UnixTime,
    ) -> Result<Verified<String>, SignatureError> {
        let ClearSigned { text, signature } = ClearSigned::parse(message)?;
        let signer = self.find_good(
            &parse_signatures(&signature)?,
            &[SignatureType::Text],
            text.as_bytes(),
            now,
        )?;
        Ok(Verified {
            value: text,
            signer,
        })
    }

    /// Verifies `bytes` (Release) by an armored detached signature (Release.gpg).
    pub fn verify_detached(
        &self,
        bytes: &[u8],
        signature: &[u8],
        now: UnixTime,
    ) -> Result<Verified<String>, SignatureError> {
        let signature = str::from_utf8(signature)
            .map_err(|_| SignatureError::Malformed("not armored".into()))?;
        let signer = self.find_good(
            &parse_signatures(signature)?,
            &[SignatureType::Binary],
            bytes,
            now,
        )?;
        let text = str::from_utf8(bytes).map_err(|_| SignatureError::NotText)?;
        Ok(Verified {
            value: text.to_owned(),
            signer,
        })
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
        let (certificate, subkey) = self
            .find_key(signature)
            .ok_or_else(|| Refusal::UnknownKey(key.clone()))?;
        check_hash(signature, &key)?;
        let made = check_signature(signature, kinds, now).map_err(|reason| Refusal::Signature {
            key: key.clone(),
            reason,
        })?;
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

    fn find_key(
        &self,
        signature: &Signature,
    ) -> Option<(&SignedPublicKey, Option<&SignedPublicSubKey>)> {
        self.certificates.iter().find_map(|certificate| {
            if is_issuer(signature, &certificate.primary_key) {
                return Some((certificate, None));
            }
            let subkey = certificate
                .public_subkeys
                .iter()
                .find(|subkey| is_issuer(signature, &subkey.key));
            subkey.map(|subkey| (certificate, Some(subkey)))
        })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(
                self.certificates
                    .iter()
                    .map(|c| c.primary_key.fingerprint().to_string()),
            )
            .finish()
    }
}

fn parse_signatures(armored: &str) -> Result<Vec<Signature>, SignatureError> {
    let malformed = |error: pgp::errors::Error| SignatureError::Malformed(error.to_string());
    if armored.len() > SIGNATURE_LIMIT {
        return Err(SignatureError::Malformed(format!(
            "it is longer than {SIGNATURE_LIMIT} bytes"
        )));
    }
    let (signatures, _) = DetachedSignature::from_string_many(armored).map_err(malformed)?;
    signatures
        .map(|found| found.map(|detached| detached.signature).map_err(malformed))
        .collect()
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(ToString::to_string);
    fingerprint
        .or_else(|| signature.issuer_key_id().first().map(ToString::to_string))
        .unwrap_or_else(|| "(unnamed)".into())
}

/// A signature that names no issuer is refused as unknown instead of being tried against every key.
fn is_issuer(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        return signature.issuer_key_id().contains(&&key.legacy_key_id());
    }
    fingerprints.contains(&&key.fingerprint())
}

fn check_hash(signature: &Signature, key: &str) -> Result<(), Refusal> {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    match signature.hash_alg() {
        Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512) => Ok(()),
        other => {
            let hash =
                other.map_or_else(|| "an unknown digest".to_owned(), |hash| hash.to_string());
            Err(Refusal::WeakHash {
                key: key.to_owned(),
                hash,
            })
        }
    }
}

/// Checks what the signature says of itself and gives the second it was made at.
fn check_signature(
    signature: &Signature,
    kinds: &[SignatureType],
    now: UnixTime,
) -> Result<u64, &'static str> {
    let config = signature.config().ok_or("its version is unknown")?;
    if !kinds.contains(&config.typ) {
        return Err("it does not sign a document");
    }
    // RFC 9580 section 5.2.3.7: a critical subpacket that is not understood makes the signature invalid.
    let unknown = |data: &SubpacketData| {
        matches!(
            data,
            SubpacketData::Other(..) | SubpacketData::Experimental(..)
        )
    };
    if config
        .hashed_subpackets()
        .any(|packet| packet.is_critical && unknown(&packet.data))
    {
        return Err("it has a critical part that is not understood");
    }
    let made = u64::from(signature.created().ok_or("it has no date")?.as_secs());
    if made > now.plus(DAY).0 {
        return Err("it was made in the future; check this machine's clock");
    }
    match signature
        .signature_expiration_time()
        .map(|life| u64::from(life.as_secs()))
    {
        Some(life) if life > 0 && made + life < now.0 => Err("it has expired"),
        _ => Ok(made),
    }
}

fn fits(signature: &Signature, key: &impl VerifyingKey, bytes: &[u8]) -> bool {
    signature.verify(key, bytes).is_ok()
}

/// Checks that the primary key lived at `made`, by its newest self-signature of that time.
fn check_primary(
    certificate: &SignedPublicKey,
    made: u64,
    must_sign: bool,
) -> Result<(), &'static str> {
    let key = &certificate.primary_key;
    // A revocation counts whenever it was made: it may be dated after a theft that it is there to stop.
    if certificate
        .details
        .revocation_signatures
        .iter()
        .any(|signature| signature.verify_key(key).is_ok())
    {
        return Err("it was revoked");
    }
    let by_users = certificate.details.users.iter().flat_map(|user| {
        let is_own = |s: &&Signature| {
            s.is_certification() && s.verify_certification(key, Tag::UserId, &user.id).is_ok()
        };
        user.signatures.iter().filter(is_own)
    });
    let direct = certificate
        .details
        .direct_signatures
        .iter()
        .filter(|signature| signature.verify_key(key).is_ok());
    let own = newest(by_users.chain(direct), made).ok_or("it had no self-signature")?;
    if must_sign && !own.key_flags().sign() {
        return Err("it may not sign documents");
    }
    check_life(u64::from(key.created_at().as_secs()), own, made)
}

fn check_subkey(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    made: u64,
) -> Result<(), &'static str> {
    let primary = &certificate.primary_key;
    let bound = || {
        subkey.signatures.iter().filter(|signature| {
            signature
                .verify_subkey_binding(primary, &subkey.key)
                .is_ok()
        })
    };
    if bound().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err("it was revoked");
    }
    let bindings =
        bound().filter(|signature| signature.typ() == Some(SignatureType::SubkeyBinding));
    let binding = newest(bindings, made).ok_or("it is not bound to its certificate")?;
    // Without the signature back, a foreign signing key could be bound to a certificate that never owned it.
    let back = binding.embedded_signature();
    if !binding.key_flags().sign()
        || !back.is_some_and(|b| b.verify_primary_key_binding(&subkey.key, primary).is_ok())
    {
        return Err("it may not sign documents");
    }
    check_life(u64::from(subkey.key.created_at().as_secs()), binding, made)
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>, made: u64) -> Option<&'a Signature> {
    let created = |signature: &&Signature| {
        signature
            .created()
            .map_or(0, |time| u64::from(time.as_secs()))
    };
    signatures
        .filter(|signature| created(signature) <= made)
        .max_by_key(created)
}

fn check_life(born: u64, own: &Signature, made: u64) -> Result<(), &'static str> {
    match own
        .key_expiration_time()
        .map(|life| u64::from(life.as_secs()))
    {
        _ if made < born => Err("it did not exist yet"),
        Some(life) if life > 0 && made >= born + life => Err("it had expired"),
        _ => Ok(()),
    }
}

fn join(refusals: &[Refusal]) -> String {
    if refusals.is_empty() {
        return "the file has no signature".to_owned();
    }
    refusals
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

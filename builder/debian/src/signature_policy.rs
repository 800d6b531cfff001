//! The policy for signatures and keys: which ones count.
//!
//! Digest SHA-256 or stronger; key or subkey bound, allowed to sign, neither expired at the time of the signature nor ever revoked.
//! The arithmetic is the `pgp` crate's. Nothing here reads a clock.

use pgp::{
    composed::{SignedPublicKey, SignedPublicSubKey},
    crypto::hash::HashAlgorithm,
    packet::{Signature, SignatureType, SubpacketData},
    types::{KeyDetails, Tag, VerifyingKey},
};

use crate::{
    date::{DAY, UnixTime},
    keyring::Refusal,
};

/// The key that a signature names, for messages.
pub(crate) fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(ToString::to_string);
    fingerprint
        .or_else(|| signature.issuer_key_id().first().map(ToString::to_string))
        .unwrap_or_else(|| "(unnamed)".into())
}

/// A signature that names no issuer is refused as unknown instead of being tried against every key.
pub(crate) fn is_issuer(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        return signature.issuer_key_id().contains(&&key.legacy_key_id());
    }
    fingerprints.contains(&&key.fingerprint())
}

/// Refuses digests that can be forged.
pub(crate) fn check_hash(signature: &Signature, key: &str) -> Result<(), Refusal> {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    match signature.hash_alg() {
        Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512) => Ok(()),
        other => {
            let hash = other.map_or_else(|| "an unknown digest".to_owned(), |hash| hash.to_string());
            Err(Refusal::WeakHash { key: key.to_owned(), hash })
        }
    }
}

/// Checks what the signature says of itself and gives the second it was made at.
pub(crate) fn check_signature(
    signature: &Signature,
    kinds: &[SignatureType],
    now: UnixTime,
) -> Result<u64, &'static str> {
    let config = signature.config().ok_or("its version is unknown")?;
    if !kinds.contains(&config.typ) {
        return Err("it does not sign a document");
    }
    // RFC 9580 section 5.2.3.7: a critical subpacket that is not understood makes the signature invalid.
    let unknown = |data: &SubpacketData| matches!(data, SubpacketData::Other(..) | SubpacketData::Experimental(..));
    if config.hashed_subpackets().any(|packet| packet.is_critical && unknown(&packet.data)) {
        return Err("it has a critical part that is not understood");
    }
    let made = u64::from(signature.created().ok_or("it has no date")?.as_secs());
    if made > now.plus(DAY).0 {
        return Err("it was made in the future; check this machine's clock");
    }
    match signature.signature_expiration_time().map(|life| u64::from(life.as_secs())) {
        Some(life) if life > 0 && made + life < now.0 => Err("it has expired"),
        _ => Ok(made),
    }
}

/// Whether the signature is one of these bytes by this key.
pub(crate) fn fits(signature: &Signature, key: &impl VerifyingKey, bytes: &[u8]) -> bool {
    signature.verify(key, bytes).is_ok()
}

/// Checks that the primary key lived at `made`, by its newest self-signature of that time.
pub(crate) fn check_primary(certificate: &SignedPublicKey, made: u64, must_sign: bool) -> Result<(), &'static str> {
    let key = &certificate.primary_key;
    // A revocation counts whenever it was made: it may be dated after a theft that it is there to stop.
    if certificate.details.revocation_signatures.iter().any(|signature| signature.verify_key(key).is_ok()) {
        return Err("it was revoked");
    }
    let by_users = certificate.details.users.iter().flat_map(|user| {
        let is_own =
            |s: &&Signature| s.is_certification() && s.verify_certification(key, Tag::UserId, &user.id).is_ok();
        user.signatures.iter().filter(is_own)
    });
    let direct = certificate.details.direct_signatures.iter().filter(|signature| signature.verify_key(key).is_ok());
    let own = newest(by_users.chain(direct), made).ok_or("it had no self-signature")?;
    if must_sign && !own.key_flags().sign() {
        return Err("it may not sign documents");
    }
    check_life(u64::from(key.created_at().as_secs()), own, made)
}

/// Checks that a subkey was bound, might sign and lived at `made`.
pub(crate) fn check_subkey(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    made: u64,
) -> Result<(), &'static str> {
    let primary = &certificate.primary_key;
    let bound =
        || subkey.signatures.iter().filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok());
    if bound().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err("it was revoked");
    }
    let bindings = bound().filter(|signature| signature.typ() == Some(SignatureType::SubkeyBinding));
    let binding = newest(bindings, made).ok_or("it is not bound to its certificate")?;
    // Without the signature back, a foreign signing key could be bound to a certificate that never owned it.
    let back = binding.embedded_signature();
    if !binding.key_flags().sign() || back.is_none_or(|b| b.verify_primary_key_binding(&subkey.key, primary).is_err()) {
        return Err("it may not sign documents");
    }
    check_life(u64::from(subkey.key.created_at().as_secs()), binding, made)
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>, made: u64) -> Option<&'a Signature> {
    let created = |signature: &&Signature| signature.created().map_or(0, |time| u64::from(time.as_secs()));
    signatures.filter(|signature| created(signature) <= made).max_by_key(created)
}

fn check_life(born: u64, own: &Signature, made: u64) -> Result<(), &'static str> {
    match own.key_expiration_time().map(|life| u64::from(life.as_secs())) {
        _ if made < born => Err("it did not exist yet"),
        Some(life) if life > 0 && made >= born + life => Err("it had expired"),
        _ => Ok(()),
    }
}

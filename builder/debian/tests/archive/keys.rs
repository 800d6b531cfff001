//! Throw-away `OpenPGP` keys and signatures, with every mistake that a test wants to see refused.

use pgp::{
    composed::{
        ArmorOptions, CleartextSignedMessage, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
        SignedSecretKey, SubkeyParamsBuilder,
    },
    crypto::hash::HashAlgorithm,
    packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId},
    ser::Serialize as _,
    types::{
        Duration, KeyDetails as _, KeyVersion, PacketHeaderVersion, Password, SignedUser, SigningKey, Tag, Timestamp,
    },
};
use rand::thread_rng;

/// The second at which the tests take place: 2026-09-13 07:46:40 UTC.
pub(crate) const NOW: u32 = 1_789_285_600;
/// A year before.
pub(crate) const BORN: u32 = NOW - 365 * 86_400;

/// A key pair with a signing subkey, born a year ago.
pub(crate) struct Key(pub(crate) SignedSecretKey);

impl Key {
    pub(crate) fn new() -> Self {
        Self::of_type(KeyType::Ed25519Legacy)
    }

    /// A pair with a primary key that can sign over weak digests.
    pub(crate) fn old_fashioned() -> Self {
        Self::of_type(KeyType::Rsa(2048))
    }

    fn of_type(primary: KeyType) -> Self {
        let subkey = SubkeyParamsBuilder::default()
            .version(KeyVersion::V4)
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .created_at(Timestamp::from_secs(BORN))
            .build()
            .unwrap();
        let mut params = SecretKeyParamsBuilder::default();
        params
            .version(KeyVersion::V4)
            .key_type(primary)
            .can_certify(true)
            .can_sign(true)
            .created_at(Timestamp::from_secs(BORN))
            .primary_user_id("Archive <archive@example.org>".into())
            .subkey(subkey);
        let mut key = Self(params.build().unwrap().generate(thread_rng()).unwrap());
        key.certify(None, BORN);
        key.bind();
        key
    }

    /// Replaces the binding of the subkey, which the library dates by the clock, by one of the day it was born.
    fn bind(&mut self) {
        let (primary, subkey) = (&self.0.primary_key, &self.0.secret_subkeys[0].key);
        let back = config(subkey, SignatureType::KeyBinding, HashAlgorithm::Sha256, BORN);
        let back = back.sign_primary_key_binding(subkey, subkey.public_key(), &Password::empty(), primary.public_key());
        let mut binding = config(primary, SignatureType::SubkeyBinding, HashAlgorithm::Sha256, BORN);
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        for data in [SubpacketData::KeyFlags(flags), SubpacketData::EmbeddedSignature(Box::new(back.unwrap()))] {
            binding.hashed_subpackets.push(Subpacket::regular(data).unwrap());
        }
        let binding = binding
            .sign_subkey_binding(primary, primary.public_key(), &Password::empty(), subkey.public_key())
            .unwrap();
        self.0.secret_subkeys[0].signatures = vec![binding];
    }

    /// Replaces the self-signature by one that was made at `made` and lets the key live for `life` seconds.
    pub(crate) fn certify(&mut self, life: Option<u32>, made: u32) {
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        flags.set_certify(true);
        let mut parts = vec![
            SubpacketData::SignatureCreationTime(Timestamp::from_secs(made)),
            SubpacketData::KeyFlags(flags),
            SubpacketData::IssuerFingerprint(self.0.primary_key.fingerprint()),
        ];
        parts.extend(life.map(|life| SubpacketData::KeyExpirationTime(Duration::from_secs(life))));
        let primary = &self.0.primary_key;
        let mut config = SignatureConfig::from_key(thread_rng(), primary, SignatureType::CertPositive).unwrap();
        config.hashed_subpackets = parts.into_iter().map(|data| Subpacket::regular(data).unwrap()).collect();
        let id = UserId::from_str(PacketHeaderVersion::New, "Archive <archive@example.org>").unwrap();
        let public = primary.public_key();
        let signature = config.sign_certification(primary, public, &Password::empty(), Tag::UserId, &id).unwrap();
        self.0.details.users = vec![SignedUser::new(id, vec![signature])];
    }

    /// Adds a revocation of the whole key.
    pub(crate) fn revoke(&mut self) {
        let primary = &self.0.primary_key;
        let config = config(primary, SignatureType::KeyRevocation, HashAlgorithm::Sha256, NOW);
        let signature = config.sign_key(primary, &Password::empty(), primary.public_key()).unwrap();
        self.0.details.revocation_signatures.push(signature);
    }

    /// Adds a revocation of the subkey.
    pub(crate) fn revoke_subkey(&mut self) {
        let (primary, subkey) = (&self.0.primary_key, &self.0.secret_subkeys[0].key);
        let config = config(primary, SignatureType::SubkeyRevocation, HashAlgorithm::Sha256, NOW);
        let signature =
            config.sign_subkey_binding(primary, primary.public_key(), &Password::empty(), subkey.public_key()).unwrap();
        self.0.secret_subkeys[0].signatures.push(signature);
    }

    pub(crate) fn public(&self) -> SignedPublicKey {
        self.0.to_public_key()
    }

    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.public().to_bytes().unwrap()
    }

    /// A clear-signed message, signed now by the subkey.
    pub(crate) fn clearsign(&self, text: &str) -> String {
        clearsign_with(&self.0.secret_subkeys[0].key, text, HashAlgorithm::Sha256, NOW)
    }

    /// A clear-signed message, signed at `made` by the primary key over a digest of choice.
    pub(crate) fn clearsign_by_primary(&self, text: &str, hash: HashAlgorithm, made: u32) -> String {
        clearsign_with(&self.0.primary_key, text, hash, made)
    }

    /// A detached signature, armored.
    pub(crate) fn detach(&self, bytes: &[u8]) -> String {
        let key = &self.0.primary_key;
        let signature =
            config(key, SignatureType::Binary, HashAlgorithm::Sha256, NOW).sign(key, &Password::empty(), bytes);
        DetachedSignature::new(signature.unwrap()).to_armored_string(ArmorOptions::default()).unwrap()
    }
}

fn clearsign_with(key: &impl SigningKey, text: &str, hash: HashAlgorithm, made: u32) -> String {
    let message =
        CleartextSignedMessage::new(text, config(key, SignatureType::Text, hash, made), key, &Password::empty());
    message.unwrap().to_armored_string(ArmorOptions::default()).unwrap()
}

fn config(key: &impl SigningKey, kind: SignatureType, hash: HashAlgorithm, made: u32) -> SignatureConfig {
    let mut config = SignatureConfig::from_key(thread_rng(), key, kind).unwrap();
    config.hash_alg = hash;
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(made))).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    config
}

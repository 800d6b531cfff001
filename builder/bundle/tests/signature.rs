//! The tamper zoo of signatures: every way to get a document past the verifier without a trusted key is refused.

#![expect(clippy::unwrap_used, reason = "a test's own helpers may panic")]

use std::num::NonZeroUsize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bundle::{Context, Envelope, PublicKey, SigningKey, TrustedKeys, Verified, VerifyError, sign, verify};
use proptest::prelude::*;

const ONE: NonZeroUsize = NonZeroUsize::MIN;
const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();
const DOCUMENT: &[u8] = b"schema = 1\nserial = 7\n";

/// Order of the base point, little endian (RFC 8032 5.1).
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_random(&[seed; 32], "test").unwrap()
}

fn trusted(keys: &[&SigningKey]) -> TrustedKeys {
    keys.iter().map(|key| key.public().clone()).collect()
}

fn check(
    document: &[u8],
    envelope: &Envelope,
    keys: &[&SigningKey],
    threshold: NonZeroUsize,
) -> Result<Verified<Vec<u8>>, VerifyError> {
    verify(document, envelope.to_json().as_bytes(), Context::Host, &trusted(keys), threshold)
}

#[test]
fn accepts_what_a_trusted_key_signed_and_names_it() {
    let key = key(1);
    let verified = check(DOCUMENT, &sign(DOCUMENT, Context::Host, &[&key]), &[&key], ONE).unwrap();
    assert_eq!(verified.as_slice(), DOCUMENT);
    assert!(verified.signed_by().iter().eq([&key.public().id()]));
}

#[test]
fn refuses_every_flipped_bit_of_document_and_signature() {
    let key = key(1);
    let envelope = sign(DOCUMENT, Context::Host, &[&key]);
    for bit in 0..DOCUMENT.len() * 8 {
        let mut changed = DOCUMENT.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&changed, &envelope, &[&key], ONE).is_err(), "bit {bit} of the document");
    }
    for bit in 0..64 * 8 {
        let mut changed = envelope.clone();
        changed.entries[0].signature[bit / 8] ^= 1 << (bit % 8);
        assert!(check(DOCUMENT, &changed, &[&key], ONE).is_err(), "bit {bit} of the signature");
    }
}

#[test]
fn refuses_shortened_and_lengthened_documents() {
    let key = key(1);
    let envelope = sign(DOCUMENT, Context::Host, &[&key]);
    for bad in [&DOCUMENT[1..], &DOCUMENT[..DOCUMENT.len() - 1], b"", &[DOCUMENT, b"\0"].concat()] {
        assert!(matches!(check(bad, &envelope, &[&key], ONE), Err(VerifyError::BadSignature { .. })));
    }
}

#[test]
fn refuses_a_signature_made_for_another_kind_of_document() {
    let key = key(1);
    let envelope = sign(DOCUMENT, Context::Manifest, &[&key]);
    let error = check(DOCUMENT, &envelope, &[&key], ONE).unwrap_err();
    assert_eq!(error, VerifyError::WrongContext { expected: Context::Host, found: Context::Manifest });
    // Changing the word in the envelope does not help: the context is signed.
    let relabelled = Envelope { context: Context::Host, ..envelope };
    assert!(matches!(check(DOCUMENT, &relabelled, &[&key], ONE), Err(VerifyError::BadSignature { .. })));
}

#[test]
fn refuses_documents_signed_by_an_unknown_key_and_names_both_sides() {
    let (stranger, known) = (key(1), key(2));
    let message =
        check(DOCUMENT, &sign(DOCUMENT, Context::Host, &[&stranger]), &[&known], ONE).unwrap_err().to_string();
    assert!(
        message.contains(&stranger.public().id().to_string()) && message.contains(&known.public().id().to_string()),
        "{message}"
    );
}

#[test]
fn refuses_a_stranger_s_signature_under_the_id_of_a_trusted_key() {
    let (stranger, known) = (key(1), key(2));
    let mut envelope = sign(DOCUMENT, Context::Host, &[&stranger]);
    envelope.entries[0].key = known.public().id();
    assert!(matches!(check(DOCUMENT, &envelope, &[&known], ONE), Err(VerifyError::BadSignature { .. })));
}

#[test]
fn refuses_an_envelope_without_signatures_and_a_host_without_keys() {
    let key = key(1);
    assert!(check(DOCUMENT, &sign(DOCUMENT, Context::Host, &[]), &[&key], ONE).is_err());
    assert!(check(DOCUMENT, &sign(DOCUMENT, Context::Host, &[&key]), &[], ONE).is_err());
}

#[test]
fn one_key_counts_once_however_often_it_appears() {
    let (first, second) = (key(1), key(2));
    let twice = sign(DOCUMENT, Context::Host, &[&first, &first]);
    assert!(matches!(
        check(DOCUMENT, &twice, &[&first, &second], TWO),
        Err(VerifyError::NotTrusted { good: 1, needed: 2, .. })
    ));
    assert!(check(DOCUMENT, &sign(DOCUMENT, Context::Host, &[&first, &second]), &[&first, &second], TWO).is_ok());
}

#[test]
fn the_same_key_trusted_under_two_comments_is_one_key() {
    let key = key(1);
    let again = PublicKey::new(key.public().as_bytes(), "another comment").unwrap();
    let keys = TrustedKeys::new([key.public().clone(), again]);
    let envelope = sign(DOCUMENT, Context::Host, &[&key, &key]).to_json();
    assert!(verify(DOCUMENT, envelope.as_bytes(), Context::Host, &keys, TWO).is_err());
}

#[test]
fn a_bad_signature_of_a_trusted_key_is_refused_beside_a_good_one() {
    let (first, second) = (key(1), key(2));
    let mut envelope = sign(DOCUMENT, Context::Host, &[&first, &second]);
    envelope.entries[1].signature[0] ^= 1;
    assert!(check(DOCUMENT, &envelope, &[&first, &second], ONE).is_err());
    // The same entry of a key that nobody trusts changes nothing.
    assert!(check(DOCUMENT, &envelope, &[&first], ONE).is_ok());
}

#[test]
fn refuses_the_second_form_of_a_signature() {
    let key = key(1);
    let mut envelope = sign(DOCUMENT, Context::Host, &[&key]);
    let mut carry = 0_u16;
    for (byte, add) in envelope.entries[0].signature[32..].iter_mut().zip(L) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = u8::try_from(carry & 0xff).unwrap();
        carry >>= 8;
    }
    assert_eq!(carry, 0, "S + L fits in 32 bytes");
    assert!(matches!(check(DOCUMENT, &envelope, &[&key], ONE), Err(VerifyError::BadSignature { .. })));
}

#[test]
fn refuses_keys_of_small_order() {
    let identity = {
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    };
    let order_two = {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xec;
        bytes[31] = 0x7f;
        bytes
    };
    for bytes in [identity, order_two, [0; 32]] {
        assert!(PublicKey::new(&bytes, "").is_err());
        assert!(format!("casemate-ed25519 {} x", STANDARD.encode(bytes)).parse::<PublicKey>().is_err());
    }
}

#[test]
fn refuses_malformed_envelopes() {
    let good = sign(DOCUMENT, Context::Host, &[&key(1)]).to_json();
    assert!(Envelope::parse(good.as_bytes()).is_ok());
    let id = key(1).public().id().to_string();
    let cases = [
        good.replace("\"schema\": 1", "\"schema\": 2"),
        good.replace("\"schema\": 1,", ""),
        good.replace("\"schema\": 1,", "\"schema\": 1, \"schema\": 1,"),
        good.replace("\"schema\": 1,", "\"schema\": 1, \"more\": 1,"),
        good.replace("\"key\"", "\"extra\": 0, \"key\""),
        good.replace("casemate/host", "casemate/hosts"),
        good.replace(&id, &id.to_uppercase()),
        good.replace(&id, &id[..62]),
        good.replace("==\"", "\""),
        good.replace("\"signature\": \"", "\"signature\": \"AAAA"),
        format!("{good}{good}"),
        good[..good.len() / 2].to_owned(),
        String::new(),
        " ".repeat(64 * 1024) + &good,
    ];
    for bad in cases {
        assert!(Envelope::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn refuses_documents_over_the_limit_before_anything_else() {
    let huge = vec![b' '; 1024 * 1024 + 1];
    let error = verify(&huge, b"", Context::Host, &TrustedKeys::default(), ONE).unwrap_err();
    assert!(matches!(error, VerifyError::DocumentTooLarge { .. }));
}

#[test]
fn the_signed_message_is_the_one_of_the_specification() {
    use ed25519_dalek::Signer as _;
    let mut message = b"casemate signature v1\0casemate/host\0".to_vec();
    message.extend((DOCUMENT.len() as u64).to_be_bytes());
    message.extend(DOCUMENT);
    let raw = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    assert_eq!(sign(DOCUMENT, Context::Host, &[&key(1)]).entries[0].signature, raw.sign(&message).to_bytes());
}

#[test]
fn keys_survive_their_files() {
    let key = key(9);
    let read = SigningKey::from_pem(&key.to_pem().unwrap(), "test").unwrap();
    assert_eq!(read.public(), key.public());
    assert_eq!(format!("{}\n", key.public()).parse::<PublicKey>().unwrap(), *key.public());
    assert!(!format!("{key:?}").contains("09090909"));
    for bad in [
        "",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        &key.to_pem().unwrap().replace("PRIVATE", "PUBLIC"),
    ] {
        assert!(SigningKey::from_pem(bad, "").is_err(), "{bad}");
    }
}

#[test]
fn refuses_malformed_key_lines() {
    let line = key(1).public().to_string();
    for bad in [
        "",
        "casemate-ed25519",
        &line.replace("casemate-", "ssh-"),
        &line.replace(' ', "\t"),
        &line.replace("= test", " test"),
        &format!("{line}\nmore"),
        &format!("{line}\u{1b}"),
        &"x".repeat(600),
    ] {
        assert!(bad.parse::<PublicKey>().is_err(), "{bad:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn foreign_bytes_never_panic_and_never_verify(document in any::<Vec<u8>>(), envelope in any::<Vec<u8>>(), text in "\\PC{0,100}") {
        let key = key(1);
        prop_assert!(verify(&document, &envelope, Context::Host, &trusted(&[&key]), ONE).is_err());
        drop(text.parse::<PublicKey>());
        drop(bundle::Manifest::parse_unverified(&envelope));
    }
}

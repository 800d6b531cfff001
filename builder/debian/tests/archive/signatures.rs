//! Whose signatures are believed.

use debian::{
    date::UnixTime,
    keyring::{Keyring, Refusal, SignatureError},
};
use pgp::crypto::hash::HashAlgorithm;

use crate::keys::{BORN, Key, NOW};

const TEXT: &str = "Origin: test\nSuite: stable\n-----\n";

fn verify(key: &Key, message: &str) -> Result<String, SignatureError> {
    let keyring = Keyring::from_certificates(&[&key.certificate()]).unwrap();
    keyring.verify_clearsigned(message.as_bytes(), UnixTime(NOW.into())).map(|text| text.to_string())
}

fn refusal(key: &Key, message: &str) -> Refusal {
    match verify(key, message) {
        Err(SignatureError::Untrusted(mut refusals)) => refusals.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn accepts_text_signed_by_subkey_or_primary_key() {
    let key = Key::new();
    assert_eq!(verify(&key, &key.clearsign(TEXT)).unwrap(), TEXT);
    assert!(verify(&key, &key.clearsign_by_primary(TEXT, HashAlgorithm::Sha512, NOW)).is_ok());
}

#[test]
fn one_good_signature_among_unknown_ones_is_enough() {
    let (known, unknown) = (Key::new(), Key::new());
    let keyring = Keyring::from_certificates(&[&known.certificate()]).unwrap();
    let now = UnixTime(NOW.into());
    // Two signatures stand in one armored block; here they are put together from their bytes.
    let bytes = [dearmor(&unknown.detach(b"x")), dearmor(&known.detach(b"x"))].concat();
    assert!(keyring.verify_detached(b"x", armor(&bytes).as_bytes(), now).is_ok());
    assert!(keyring.verify_detached(b"x", unknown.detach(b"x").as_bytes(), now).is_err());
}

#[test]
fn accepts_a_detached_signature_and_refuses_it_for_other_bytes() {
    let key = Key::new();
    let keyring = Keyring::from_certificates(&[&key.certificate()]).unwrap();
    let signature = key.detach(TEXT.as_bytes());
    let check = |bytes: &[u8]| keyring.verify_detached(bytes, signature.as_bytes(), UnixTime(NOW.into()));
    assert_eq!(*check(TEXT.as_bytes()).unwrap(), TEXT);
    assert!(check(b"Origin: other\n").is_err());
}

#[test]
fn refuses_unsigned_text() {
    assert!(matches!(verify(&Key::new(), TEXT), Err(SignatureError::Frame(_))));
}

#[test]
fn refuses_text_signed_by_an_unknown_key() {
    let stranger = Key::new();
    assert!(matches!(refusal(&Key::new(), &stranger.clearsign(TEXT)), Refusal::UnknownKey(_)));
}

#[test]
fn refuses_changed_text() {
    let key = Key::new();
    let changed = key.clearsign(TEXT).replace("stable", "static");
    assert!(matches!(refusal(&key, &changed), Refusal::Mismatch(_)));
}

#[test]
fn refuses_text_before_or_after_the_signed_part() {
    let key = Key::new();
    let good = key.clearsign(TEXT);
    for message in [format!("{good}Suite: other\n"), format!("Suite: other\n{good}"), format!("{good}{good}")] {
        assert!(matches!(verify(&key, &message), Err(SignatureError::Frame(_))));
    }
}

#[test]
fn refuses_a_signature_made_after_the_key_expired() {
    let mut key = Key::new();
    key.certify(Some(NOW - BORN), BORN);
    let late = key.clearsign_by_primary(TEXT, HashAlgorithm::Sha256, NOW);
    assert!(matches!(refusal(&key, &late), Refusal::Key { reason: "it had expired", .. }));
    assert!(matches!(refusal(&key, &key.clearsign(TEXT)), Refusal::Key { reason: "it had expired", .. }));
    let in_time = key.clearsign_by_primary(TEXT, HashAlgorithm::Sha256, NOW - 1);
    assert!(verify(&key, &in_time).is_ok());
}

#[test]
fn refuses_a_signature_older_than_its_key() {
    let key = Key::new();
    let early = key.clearsign_by_primary(TEXT, HashAlgorithm::Sha256, BORN - 1);
    assert!(matches!(refusal(&key, &early), Refusal::Key { .. }));
}

#[test]
fn refuses_a_revoked_key() {
    let mut key = Key::new();
    key.revoke();
    assert!(matches!(refusal(&key, &key.clearsign(TEXT)), Refusal::Key { reason: "it was revoked", .. }));
}

#[test]
fn refuses_a_revoked_subkey_and_still_accepts_its_primary_key() {
    let mut key = Key::new();
    key.revoke_subkey();
    assert!(matches!(refusal(&key, &key.clearsign(TEXT)), Refusal::Key { reason: "it was revoked", .. }));
    assert!(verify(&key, &key.clearsign_by_primary(TEXT, HashAlgorithm::Sha256, NOW)).is_ok());
}

#[test]
fn refuses_a_subkey_without_its_binding() {
    let mut key = Key::new();
    let message = key.clearsign(TEXT);
    key.0.secret_subkeys[0].signatures[0] = Key::new().0.secret_subkeys[0].signatures[0].clone();
    assert!(matches!(refusal(&key, &message), Refusal::Key { reason: "it is not bound to its certificate", .. }));
}

#[test]
fn refuses_a_signature_over_a_weak_digest() {
    let key = Key::old_fashioned();
    let weak = key.clearsign_by_primary(TEXT, HashAlgorithm::Sha1, NOW);
    assert!(matches!(refusal(&key, &weak), Refusal::WeakHash { .. }));
}

#[test]
fn refuses_a_signature_of_the_future() {
    let key = Key::new();
    let future = key.clearsign_by_primary(TEXT, HashAlgorithm::Sha256, NOW + 2 * 86_400);
    assert!(matches!(refusal(&key, &future), Refusal::Signature { .. }));
}

#[test]
fn damaged_signature_blocks_are_refused_without_a_panic() {
    let key = Key::new();
    let good = key.clearsign(TEXT);
    let begin = good.find("-----BEGIN PGP SIGNATURE-----").unwrap() + 30;
    for at in (begin..good.len() - 30).step_by(3) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let _ = verify(&key, &String::from_utf8(bytes).unwrap());
    }
    let cut = good.replace("-----END PGP SIGNATURE-----", "");
    assert!(verify(&key, &cut).is_err());
}

#[test]
fn the_carried_keys_of_debian_are_readable() {
    let keyring = Keyring::debian().unwrap();
    assert!(format!("{keyring:?}").contains("04b54c3cdca79751b16bc6b5225629df75b188bd"), "{keyring:?}");
}

fn dearmor(armored: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut pgp::armor::Dearmor::new(armored.as_bytes()), &mut bytes).unwrap();
    bytes
}

fn armor(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    pgp::armor::write(&Raw(bytes), pgp::armor::BlockType::Signature, &mut out, None, true).unwrap();
    String::from_utf8(out).unwrap()
}

struct Raw<'a>(&'a [u8]);

impl pgp::ser::Serialize for Raw<'_> {
    fn to_writer<W: std::io::Write>(&self, writer: &mut W) -> pgp::errors::Result<()> {
        Ok(writer.write_all(self.0)?)
    }

    fn write_len(&self) -> usize {
        self.0.len()
    }
}

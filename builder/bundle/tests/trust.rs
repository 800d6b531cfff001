//! What updates are trusted by: every way to lead a host astray without the keys is refused, and with what reason.

#![expect(clippy::unwrap_used, reason = "a test's own helpers may panic")]

use std::num::NonZeroU32;

use bundle::{
    Accepted, Clock, Context, Freshness, Judge, KeySet, Newest, Part, SchemaVersion, Seen, Sha256Digest, SigningKey,
    TrustRoot, countersign, sign,
};
use proptest::prelude::*;

const DAY: u64 = 24 * 60 * 60;
const NOW: u64 = 1_800_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_random(&[seed; 32], "test").unwrap()
}

fn set(keys: &[&SigningKey], threshold: usize) -> KeySet {
    KeySet::new(keys.iter().map(|key| key.public().clone()).collect(), threshold).unwrap()
}

/// Offline keys 1 to 3, two of which must sign, and release key 9.
fn root(version: u32) -> TrustRoot {
    TrustRoot {
        schema: SchemaVersion,
        image: "webhost".parse().unwrap(),
        version: NonZeroU32::new(version).unwrap(),
        root: set(&[&key(1), &key(2), &key(3)], 2),
        release: set(&[&key(9)], 1),
    }
}

fn signed(root: &TrustRoot, keys: &[&SigningKey]) -> (String, String) {
    let json = root.to_json();
    let envelope = sign(json.as_bytes(), Context::TrustRoot, keys).to_json();
    (json, envelope)
}

/// What becomes of a root that claims to follow `old`: nothing, or the reason why not.
fn follow(old: &TrustRoot, new: &TrustRoot, keys: &[&SigningKey]) -> Result<TrustRoot, String> {
    let (json, envelope) = signed(new, keys);
    let followed = old.successor(json.as_bytes(), envelope.as_bytes());
    followed.map(bundle::Verified::into_inner).map_err(|error| error.to_string())
}

fn newest() -> Newest {
    Newest {
        schema: SchemaVersion,
        image: "webhost".parse().unwrap(),
        channel: "stable".parse().unwrap(),
        sequence: 7,
        issued: NOW - DAY,
        expires: NOW + 6 * DAY,
        version: "0.2.0".parse().unwrap(),
        manifest: Sha256Digest::of(b"manifest"),
        bundle: Part { file: "webhost_0.2.0.tar".parse().unwrap(), size: 1, sha256: Sha256Digest::of(b"bundle") },
        floor: None,
    }
}

fn judge(statement: &Newest, keys: &[&SigningKey], seen: Option<&Seen>, clock: Clock) -> Result<Accepted, String> {
    let json = statement.to_json().map_err(|error| error.to_string())?;
    let envelope = sign(json.as_bytes(), Context::Newest, keys).to_json();
    let (root, channel) = (root(1), "stable".parse().unwrap());
    let judge = Judge { root: &root, channel: &channel, seen, clock };
    judge.accept(json.as_bytes(), envelope.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_sealed_root_is_read_if_its_own_keys_signed_it() {
    let (json, envelope) = signed(&root(1), &[&key(1), &key(3)]);
    assert_eq!(*TrustRoot::sealed(json.as_bytes(), envelope.as_bytes()).unwrap(), root(1));
    let (json, envelope) = signed(&root(1), &[&key(1)]);
    assert!(TrustRoot::sealed(json.as_bytes(), envelope.as_bytes()).is_err());
}

#[test]
fn keys_are_exchanged_by_those_of_both_versions() {
    let rotated = TrustRoot { root: set(&[&key(3), &key(4), &key(5)], 2), release: set(&[&key(8)], 1), ..root(2) };
    let good = follow(&root(1), &rotated, &[&key(1), &key(3), &key(4)]).unwrap();
    assert_eq!(good, rotated);
    let old_only = follow(&root(1), &rotated, &[&key(1), &key(2)]).unwrap_err();
    assert!(old_only.contains("its own root keys"), "{old_only}");
    let new_only = follow(&root(1), &rotated, &[&key(4), &key(5)]).unwrap_err();
    assert!(new_only.contains("of the version before"), "{new_only}");
    // One after the other leads to where a host that was away for long must come.
    let third = TrustRoot { version: NonZeroU32::new(3).unwrap(), ..rotated.clone() };
    assert_eq!(follow(&rotated, &third, &[&key(4), &key(5)]).unwrap(), third);
    let skipped = follow(&root(1), &third, &[&key(1), &key(2), &key(3), &key(4)]).unwrap_err();
    assert!(skipped.contains("has version 3, the next one is 2"), "{skipped}");
}

#[test]
fn neither_an_old_root_nor_one_of_another_image_follows() {
    let all = [&key(1), &key(2)];
    for version in [1, 2, 4, u32::MAX] {
        assert!(follow(&root(2), &root(version), &all).is_err(), "version {version}");
    }
    let other = TrustRoot { image: "minimal".parse().unwrap(), ..root(3) };
    assert!(follow(&root(2), &other, &all).unwrap_err().contains("image `minimal`"));
    assert!(follow(&root(u32::MAX), &root(1), &all).is_err());
}

#[test]
fn a_key_that_signs_twice_counts_once_and_release_keys_make_no_root() {
    for keys in [&[&key(1), &key(1)][..], &[&key(1), &key(9)], &[]] {
        let error = follow(&root(1), &root(2), keys).unwrap_err();
        assert!(error.contains("of 2 needed signatures"), "{error}");
    }
}

#[test]
fn a_threshold_that_nobody_can_reach_or_everybody_is_refused() {
    let keys: Vec<_> = (1..=17).map(|seed| key(seed).public().clone()).collect();
    for (count, threshold) in [(0, 0), (0, 1), (1, 0), (2, 3), (17, 1)] {
        assert!(KeySet::new(keys[..count].to_vec(), threshold).is_err(), "{threshold} of {count}");
    }
    assert!(KeySet::new(keys[..16].to_vec(), 16).is_ok());
    let twice = KeySet::new(vec![keys[0].clone(), keys[0].clone()], 2).unwrap_err().to_string();
    assert!(twice.contains("stands there twice"), "{twice}");
    // The same by the file.
    let json = root(1).to_json();
    let line = key(1).public().to_string();
    let doubled = json.replace(&key(2).public().to_string(), &line);
    let envelope = sign(doubled.as_bytes(), Context::TrustRoot, &[&key(1), &key(3)]).to_json();
    let error = TrustRoot::sealed(doubled.as_bytes(), envelope.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("stands there twice"), "{error}");
}

#[test]
fn a_statement_in_its_time_is_accepted_and_remembered() {
    let accepted = judge(&newest(), &[&key(9)], None, Clock::Synchronised(NOW)).unwrap();
    assert_eq!((*accepted.newest).clone(), newest());
    assert_eq!(accepted.freshness, Freshness::Proven);
    assert_eq!(accepted.seen.sequence, 7);
    // The same once more is no replay, and the next one is none.
    assert!(judge(&newest(), &[&key(9)], Some(&accepted.seen), Clock::Synchronised(NOW)).is_ok());
    let next = Newest { sequence: 8, ..newest() };
    assert!(judge(&next, &[&key(9)], Some(&accepted.seen), Clock::Synchronised(NOW)).is_ok());
}

#[test]
fn who_keeps_back_what_is_new_is_noticed_when_the_statement_ends() {
    let end = newest().expires;
    assert!(judge(&newest(), &[&key(9)], None, Clock::Synchronised(end - 1)).is_ok());
    for late in [end, end + 5, u64::MAX] {
        let error = judge(&newest(), &[&key(9)], None, Clock::Synchronised(late)).unwrap_err();
        assert!(error.contains("has ended"), "{error}");
    }
    // A host that does not know the time can only say so.
    let unknown = judge(&newest(), &[&key(9)], None, Clock::Unproven).unwrap();
    assert_eq!(unknown.freshness, Freshness::Unproven);
}

#[test]
fn what_was_new_once_and_a_second_statement_with_one_number_are_refused() {
    let seen = judge(&newest(), &[&key(9)], None, Clock::Unproven).unwrap().seen;
    let older = Newest { sequence: 6, ..newest() };
    assert!(judge(&older, &[&key(9)], Some(&seen), Clock::Unproven).unwrap_err().contains("number 7 was seen"));
    let other = Newest { version: "0.3.0".parse().unwrap(), ..newest() };
    assert!(judge(&other, &[&key(9)], Some(&seen), Clock::Unproven).unwrap_err().contains("two different statements"));
}

#[test]
fn only_release_keys_say_what_is_newest_and_of_this_image_and_channel() {
    for keys in [&[&key(1), &key(2), &key(3)][..], &[&key(8)], &[]] {
        assert!(judge(&newest(), keys, None, Clock::Unproven).is_err());
    }
    let image = Newest { image: "minimal".parse().unwrap(), ..newest() };
    assert!(judge(&image, &[&key(9)], None, Clock::Unproven).unwrap_err().contains("image `minimal`"));
    let channel = Newest { channel: "testing".parse().unwrap(), ..newest() };
    assert!(judge(&channel, &[&key(9)], None, Clock::Unproven).unwrap_err().contains("channel `testing`"));
    // A manifest's signature says nothing of what is newest.
    let json = newest().to_json().unwrap();
    let envelope = sign(json.as_bytes(), Context::Manifest, &[&key(9)]).to_json();
    let (root, channel) = (root(1), "stable".parse().unwrap());
    let judge = Judge { root: &root, channel: &channel, seen: None, clock: Clock::Unproven };
    assert!(judge.accept(json.as_bytes(), envelope.as_bytes()).unwrap_err().to_string().contains("signature is for"));
}

#[test]
fn a_statement_holds_for_a_time_and_not_for_ever() {
    for (issued, expires) in [(NOW, NOW), (NOW, NOW - 1), (NOW, NOW + 93 * DAY), (0, u64::MAX)] {
        let term = Newest { issued, expires, ..newest() };
        assert!(term.to_json().is_err(), "from {issued} to {expires}");
        // Nor is one read that somebody else wrote.
        let written = newest().to_json().unwrap();
        let text = written
            .replace(&format!("\"issued\": {}", newest().issued), &format!("\"issued\": {issued}"))
            .replace(&format!("\"expires\": {}", newest().expires), &format!("\"expires\": {expires}"));
        assert!(Newest::parse_unverified(text.as_bytes()).is_err(), "from {issued} to {expires}");
    }
}

#[test]
fn a_floor_above_the_version_that_is_newest_is_refused() {
    let floor = |floor: &str| Newest { floor: Some(floor.parse().unwrap()), ..newest() };
    assert!(judge(&floor("0.2.0"), &[&key(9)], None, Clock::Unproven).is_ok());
    assert!(judge(&floor("0.2.0~rc1"), &[&key(9)], None, Clock::Unproven).is_ok());
    let error = judge(&floor("0.2.1"), &[&key(9)], None, Clock::Unproven).unwrap_err();
    assert!(error.contains("floor 0.2.1 is newer"), "{error}");
}

#[test]
fn several_people_sign_one_after_the_other_and_in_any_order() {
    let json = root(1).to_json();
    let signed_by = |seeds: &[u8]| {
        let all = seeds.iter().fold(None, |envelope, &seed| {
            Some(countersign(json.as_bytes(), Context::TrustRoot, envelope, &key(seed)).unwrap())
        });
        all.unwrap()
    };
    let once = signed_by(&[1, 3]);
    assert_eq!(signed_by(&[3, 1]), once);
    assert_eq!(signed_by(&[3, 1, 3, 1]), once);
    assert_eq!(once.entries.len(), 2);
    assert!(TrustRoot::sealed(json.as_bytes(), once.to_json().as_bytes()).is_ok());

    let standing = root(1).root.standing(json.as_bytes(), &signed_by(&[3, 9]), Context::TrustRoot).unwrap();
    assert_eq!((standing.signed.as_slice(), standing.missing()), (&[key(3).public().clone()][..], 1));
    assert_eq!(standing.open, [key(1).public().clone(), key(2).public().clone()]);
    // A document that was changed after the first had signed shows before the second does.
    let changed = root(2).to_json();
    assert!(root(1).root.standing(changed.as_bytes(), &once, Context::TrustRoot).is_err());
    let other = sign(json.as_bytes(), Context::Newest, &[&key(1)]);
    assert!(countersign(json.as_bytes(), Context::TrustRoot, Some(other), &key(3)).is_err());
}

proptest! {
    #[test]
    fn whatever_the_bytes_are_nothing_panics(document in proptest::collection::vec(any::<u8>(), 0..400), envelope in "\\PC{0,200}") {
        let (root, channel) = (root(1), "stable".parse().unwrap());
        let judge = Judge { root: &root, channel: &channel, seen: None, clock: Clock::Unproven };
        prop_assert!(judge.accept(&document, envelope.as_bytes()).is_err());
        prop_assert!(TrustRoot::sealed(&document, envelope.as_bytes()).is_err());
        prop_assert!(root.successor(&document, envelope.as_bytes()).is_err());
    }
}

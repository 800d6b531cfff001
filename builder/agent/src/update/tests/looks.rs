//! What a host believes of a repository, and when it takes something from there.

use std::cell::Cell;
use std::collections::BTreeMap;

use bundle::Clock;
use bundle::Context;
use bundle::Newest;
use bundle::NewestError;
use bundle::Part;
use bundle::SchemaVersion;
use bundle::Sha256Digest;
use bundle::sign;
use bundle::write_newest;

use super::*;
use crate::update::Turn;
use crate::update::turn;

/// Something that happens to a repository.
type Damage<'a> = &'a dyn Fn(&mut Files);

/// When the host looks, for statements.
const NOW: u64 = 2_000_000_000;

/// Files of a repository.
#[derive(Default)]
struct Files {
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes that are still handed out before the connection breaks.
    left: Cell<Option<u64>>,
}

impl Repository for Files {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read>>> {
        let Some(bytes) = self.files.get(name).cloned() else { return Ok(None) };
        let whole = io::Cursor::new(bytes);
        Ok(Some(match self.left.get() {
            Some(left) => Box::new(whole.take(left)),
            None => Box::new(whole),
        }))
    }
}

impl Files {
    /// A repository with this version as the newest of `stable`.
    fn of(version: &Version) -> Self {
        let mut files = Self::default();
        files.publish(version, &statement(version, 1), 9);
        files
    }

    fn publish(&mut self, version: &Version, newest: &Newest, signer: u8) {
        let bundle = version.signed_by(&[&bench::key(signer)]);
        self.files.insert(format!("bundles/{}", newest.bundle.file), bundle);
        self.say(newest, signer);
    }

    fn say(&mut self, newest: &Newest, signer: u8) {
        let json = newest.to_json().unwrap();
        let envelope = sign(json.as_bytes(), Context::Newest, &[&bench::key(signer)]).to_json();
        let mut out = Vec::new();
        write_newest(&mut out, json.as_bytes(), envelope.as_bytes()).unwrap();
        self.files.insert("stable/newest.tar".to_owned(), out);
    }

    fn trust(&mut self, version: u32, release: u8) {
        let (json, envelope) = bench::trust_root(version, release);
        self.files.insert(format!("trust-root-{version}.json"), json.into_bytes());
        self.files.insert(format!("trust-root-{version}.json.sig"), envelope.into_bytes());
    }
}

fn statement(version: &Version, sequence: u64) -> Newest {
    let manifest = version.manifest.to_json().unwrap();
    let bundle = version.bundle();
    Newest {
        schema: SchemaVersion,
        image: "web".parse().unwrap(),
        channel: "stable".parse().unwrap(),
        sequence,
        issued: NOW - 1000,
        expires: NOW + 90 * 86_400,
        version: version.manifest.version.clone(),
        manifest: Sha256Digest::of(manifest.as_bytes()),
        bundle: Part {
            file: format!("web_{}.tar", version.manifest.version).parse().unwrap(),
            size: bundle.len() as u64,
            sha256: Sha256Digest::of(&bundle),
        },
        floor: None,
    }
}

fn see(bench: &Bench, repository: &Files) -> Result<Offer, UpdateError> {
    look(bench.host(), &bench.target, repository, &"stable".parse().unwrap())
}

fn take(bench: &Bench, repository: &Files) -> Result<Outcome, UpdateError> {
    let offer = see(bench, repository)?;
    apply_newest(bench.host(), &bench.target, repository, &offer, Wishes::default(), &|_| ())
}

fn standing(bench: &Bench, repository: &Files) -> Standing {
    see(bench, repository).unwrap().standing
}

#[test]
fn what_is_newest_is_found_taken_and_found_again() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    let repository = Files::of(&new);
    let before = bench.bytes();
    let offer = see(&bench, &repository).unwrap();
    assert_eq!((offer.newest.version.as_str(), &offer.standing), ("0.2.0", &Standing::New));
    assert!(bench.bytes() == before, "who only looks changes nothing");
    assert_eq!(take(&bench, &repository).unwrap(), Outcome::Applied("0.2.0".parse().unwrap()));
    assert_eq!(standing(&bench, &repository), Standing::Waits);
    bench.now_runs(&new);
    assert_eq!(standing(&bench, &repository), Standing::Runs);
    bench.now_runs(&Version::new("0.3.0"));
    assert_eq!(standing(&bench, &repository), Standing::Older);
    bench.now_runs(&Version::new("0.1.0"));
    for _ in 0..3 {
        firmware::count_start(&bench.esp());
    }
    assert_eq!(standing(&bench, &repository), Standing::Failed);
}

#[test]
fn a_repository_that_was_seen_is_not_believed_when_it_goes_back() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    let mut repository = Files::of(&new);
    repository.say(&statement(&new, 7), 9);
    see(&bench, &repository).unwrap();
    repository.say(&statement(&new, 6), 9);
    assert!(matches!(see(&bench, &repository), Err(UpdateError::Newest(NewestError::Replayed { seen: 7, found: 6 }))));
    repository.say(&statement(&Version::new("0.2.1"), 7), 9);
    assert!(matches!(see(&bench, &repository), Err(UpdateError::Newest(NewestError::TwoFaced { sequence: 7 }))));
    repository.say(&statement(&new, 8), 9);
    see(&bench, &repository).unwrap();
}

#[test]
fn what_nobody_vouches_for_is_refused_and_remembered_nowhere() {
    let (new, other) = (Version::new("0.2.0"), Version::new("0.3.0"));
    let mut of_another = statement(&new, 1);
    of_another.image = "mail".parse().unwrap();
    let mut of_testing = statement(&new, 1);
    of_testing.channel = "testing".parse().unwrap();
    let cut = |files: &mut Files| {
        files.files.get_mut("stable/newest.tar").unwrap().truncate(700);
    };
    let flip = |files: &mut Files| files.files.get_mut("stable/newest.tar").unwrap()[600] ^= 1;
    let cases: [(&str, Damage<'_>, &str); 9] = [
        ("another key", &|files| files.say(&statement(&new, 1), 8), "0 of 1"),
        ("another image", &|files| files.say(&of_another, 9), "image `mail`"),
        ("another channel", &|files| files.say(&of_testing, 9), "channel `testing`"),
        ("gone", &|files| drop(files.files.remove("stable/newest.tar")), "newest.tar"),
        ("cut off", &cut, "cut off"),
        ("one byte", &flip, "does not fit"),
        ("endless", &|files| drop(files.files.insert("stable/newest.tar".into(), vec![b'x'; 1 << 20])), "larger than"),
        (
            "a trust root by a stranger",
            &|files| {
                files.trust(2, 8);
                let document = files.files["trust-root-2.json"].clone();
                let forged = sign(&document, Context::TrustRoot, &[&bench::key(5)]).to_json();
                files.files.insert("trust-root-2.json.sig".into(), forged.into_bytes());
            },
            "trust-root-2.json",
        ),
        (
            "another trust root's signatures",
            &|files| {
                files.trust(2, 8);
                files.files.remove("trust-root-2.json.sig");
            },
            "trust-root-2.json",
        ),
    ];
    for (what, damage, expected) in cases {
        let (bench, mut repository) = (Bench::new(), Files::of(&new));
        damage(&mut repository);
        let (before, state) = (bench.bytes(), bench.state());
        let error = take(&bench, &repository).unwrap_err();
        assert!(error.to_string().contains(expected) && error.remedy().is_some(), "{what}: {error}");
        assert!(bench.bytes() == before && bench.state() == state, "{what}");
    }
    // Two good versions, and the repository hands out the one that was not asked for.
    let (bench, mut repository) = (Bench::new(), Files::of(&new));
    repository.files.insert("bundles/web_0.2.0.tar".into(), other.bundle());
    let before = bench.bytes();
    assert!(matches!(take(&bench, &repository), Err(UpdateError::OtherManifest { .. })));
    assert!(bench.bytes() == before);
}

#[test]
fn a_statement_that_has_ended_is_refused_by_who_knows_the_time() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    let mut old = statement(&new, 1);
    (old.issued, old.expires) = (1_700_000_000, 1_700_086_400);
    let mut repository = Files::default();
    repository.publish(&new, &old, 9);
    assert_eq!(see(&bench, &repository).unwrap().freshness, Freshness::Unproven);
    bench.tree.put("/run/systemd/timesync/synchronized", "");
    assert!(matches!(see(&bench, &repository), Err(UpdateError::Newest(NewestError::Expired { .. }))));
}

#[test]
fn keys_are_exchanged_through_all_trust_roots_in_their_order() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    let mut repository = Files::default();
    repository.publish(&new, &statement(&new, 900), 9);
    see(&bench, &repository).unwrap();
    for (version, release) in [(2, 8), (3, 8), (4, 7)] {
        repository.trust(version, release);
    }
    // The thief has the old key: what he signs counts no more, and neither do his numbers.
    assert!(matches!(see(&bench, &repository), Err(UpdateError::Newest(NewestError::Verify(_)))));
    repository.publish(&new, &statement(&new, 5), 7);
    assert_eq!(take(&bench, &repository).unwrap(), Outcome::Applied("0.2.0".parse().unwrap()));
    assert_eq!(bench.starts().unwrap(), "0.2.0");
    // What was kept counts without the repository too.
    bench.now_runs(&new);
    firmware::bless(&bench.esp());
    let next = Version::new("0.3.0");
    assert!(bench.apply(&next.bundle()).is_err());
    bench.apply(&next.signed_by(&[&bench::key(7)])).unwrap();
}

#[test]
fn the_floor_of_a_statement_counts_once_its_version_is_good() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    let mut raised = statement(&new, 1);
    raised.floor = Some("0.1.5".parse().unwrap());
    let mut repository = Files::default();
    repository.publish(&new, &raised, 9);
    take(&bench, &repository).unwrap();
    assert_eq!(bench.state().floor, None);
    firmware::count_start(&bench.esp());
    bench.now_runs(&new);
    crate::update::bless(bench.host(), &bench.target, &|_| ()).unwrap();
    assert_eq!(bench.state().floor, Some("0.1.5".parse().unwrap()));
}

#[test]
fn a_connection_that_breaks_leaves_the_running_version_and_the_next_try_succeeds() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    let repository = Files::of(&new);
    let offer = see(&bench, &repository).unwrap();
    let length = repository.files["bundles/web_0.2.0.tar"].len() as u64;
    for left in [0, 100, 5000, length / 2, length - 1] {
        repository.left.set(Some(left));
        apply_newest(bench.host(), &bench.target, &repository, &offer, Wishes::default(), &|_| ()).unwrap_err();
        assert_eq!(bench.starts().unwrap(), "0.1.0", "{left} of {length}");
    }
    repository.left.set(None);
    take(&bench, &repository).unwrap();
    assert_eq!(bench.starts().unwrap(), "0.2.0");
}

#[test]
fn a_version_is_taken_in_its_window_and_not_before_the_hosts_own_turn() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    let repository = Files::of(&new);
    let source = |window: Option<&str>, spread_hours| Source {
        repository: String::new(),
        channel: "stable".parse().unwrap(),
        roots: "/".into(),
        window: window.map(|window| window.parse().unwrap()),
        spread_hours,
    };
    let day = NOW / 86_400 * 86_400;
    let at = |offer: &Offer, source: &Source, seconds| turn(offer, source, "machine", Clock::Synchronised(seconds));
    let unproven = see(&bench, &repository).unwrap();
    let night = source(Some("03:00-05:00"), 0);
    assert_eq!(at(&unproven, &night, day + 4 * 3600), Turn::NoClock);
    bench.tree.put("/run/systemd/timesync/synchronized", "");
    let mut offer = see(&bench, &repository).unwrap();
    offer.since = Some(day);
    assert_eq!(turn(&offer, &night, "machine", Clock::Unproven), Turn::NoClock);
    assert_eq!(at(&offer, &source(None, 0), day + 4 * 3600), Turn::ByHand);
    assert_eq!(at(&offer, &night, day + 2 * 3600), Turn::Closed);
    assert_eq!(at(&offer, &night, day + 4 * 3600), Turn::Apply);
    let spread = source(Some("03:00-05:00"), 240);
    let Turn::Later(own) = at(&offer, &spread, day) else { panic!("it is nobody's turn yet") };
    assert!(own > day && own < day + 240 * 3600);
    assert!(matches!(at(&offer, &spread, own + 86_400), Turn::Apply | Turn::Closed));
    offer.standing = Standing::Waits;
    assert_eq!(at(&offer, &night, day + 4 * 3600), Turn::Restart);
    for done in [Standing::Runs, Standing::Older, Standing::Failed] {
        offer.standing = done;
        assert_eq!(at(&offer, &night, day + 4 * 3600), Turn::Nothing);
    }
}

#[test]
fn a_version_is_offered_since_a_statement_named_it_first() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    let mut repository = Files::of(&new);
    assert_eq!(see(&bench, &repository).unwrap().since, None);
    bench.tree.put("/run/systemd/timesync/synchronized", "");
    let since = see(&bench, &repository).unwrap().since.unwrap();
    bench.remember(&State {
        offered: bench.state().offered.map(|offered| Offered { since: 5, ..offered }),
        ..bench.state()
    });
    repository.say(&statement(&new, 2), 9);
    assert_eq!(see(&bench, &repository).unwrap().since, Some(5));
    let next = Version::new("0.3.0");
    repository.publish(&next, &statement(&next, 3), 9);
    assert!(see(&bench, &repository).unwrap().since.unwrap() >= since);
}

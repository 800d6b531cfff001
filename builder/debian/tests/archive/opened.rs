//! The whole archive half at once: a signed mirror made by the test, a lock, and the same lock offline.

use std::{io::Write as _, time::Duration};

use debian::{
    archive::{Access, Archive, ArchiveError},
    choice::Choices,
    date::UnixTime,
    fetch::{FetchError, Network},
    keyring::Keyring,
    lists::ListsError,
    lock::Lock,
    placeholder::Provided,
    release::Freshness,
    release_error::StaleError,
    resolve::Base,
    suite::{Component, Suite},
    wish::Wish,
};
use download::Http;
use formats::digest::Sha256Digest;
use tempfile::TempDir;

use crate::{
    keys::{Key, NOW},
    mirror_server::{MirrorServer, Serve},
    shelf::{names, packages},
};

struct Scene {
    server: MirrorServer,
    http: Http,
    cache: TempDir,
    key: Key,
}

const DATE: &str = "Sat, 12 Sep 2026 07:55:41 UTC";

impl Scene {
    fn new() -> Self {
        let http = Http::new(1, Duration::from_millis(1));
        let scene = Self { server: MirrorServer::start(), http, cache: tempfile::tempdir().unwrap(), key: Key::new() };
        scene.publish("debian", "trixie", DATE, &["aa 1; Depends: bb", "bb 1"]);
        scene.publish("debian", "trixie-updates", DATE, &[]);
        scene.publish("debian-security", "trixie-security", DATE, &["bb 1+deb13u1"]);
        scene
    }

    /// Publishes the security suite anew, with a date that the server knows it by.
    fn publish_dated(&self, items: &[&str], date: &'static str) {
        self.publish("debian-security", "trixie-security", DATE, items);
        let path = "/debian-security/dists/trixie-security/InRelease";
        self.server.date(path, date);
    }

    fn choose(&self, offline: bool) -> Result<Lock, ArchiveError> {
        self.with_access(offline, |access, choices| choices.choose(access, &wish()))
    }

    fn recent(&self, seconds_later: u64, limit: u64) -> Option<Lock> {
        self.with_access(true, |_, choices| choices.recent(&wish(), UnixTime(u64::from(NOW) + seconds_later), limit))
    }

    fn with_access<T>(&self, offline: bool, work: impl FnOnce(&Access<'_>, &Choices<'_>) -> T) -> T {
        let keyring = Keyring::from_certificates(&[&self.key.certificate()]).unwrap();
        let mirrors = self.server.mirrors();
        let network = if offline { Network::Offline } else { Network::Online(&self.http, &mirrors) };
        let (cache, now) = (self.cache.path(), UnixTime(NOW.into()));
        let access = Access { cache, network, keyring: &keyring, freshness: Freshness::default(), now };
        let suites = Suite::of_release(&"trixie".parse().unwrap(), &[Component::main()]);
        work(&access, &Choices::new(cache, &suites, "amd64".parse().unwrap()))
    }

    fn publish(&self, base: &str, suite: &str, date: &str, items: &[&str]) {
        let packed = pack(packages(items).as_bytes());
        let digest = Sha256Digest::of(&packed);
        let release = format!(
            "Suite: x\nCodename: {suite}\nDate: {date}\nAcquire-By-Hash: yes\nSHA256:\n {digest} {} main/binary-amd64/Packages.xz\n",
            packed.len()
        );
        self.server.put(&format!("/{base}/dists/{suite}/InRelease"), Serve::Well(self.key.clearsign(&release).into()));
        self.server
            .put(&format!("/{base}/dists/{suite}/main/binary-amd64/by-hash/SHA256/{digest}"), Serve::Well(packed));
    }

    fn lock(&self, offline: bool) -> Result<String, ArchiveError> {
        self.with_access(offline, |access, _| {
            let suites = Suite::of_release(&"trixie".parse().unwrap(), &[Component::main()]);
            let archive = Archive::open(access, &suites, &"amd64".parse().unwrap())?;
            Ok(archive.lock(&wish())?.render().unwrap())
        })
    }
}

fn wish() -> Wish {
    Wish::new(names("aa"), Base::Essential, Vec::new())
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn locks_the_highest_version_of_all_suites_and_offline_makes_the_same_lock() {
    let scene = Scene::new();
    let online = scene.lock(false).unwrap();
    assert!(
        online.contains("version = \"1+deb13u1\"") && online.contains("origin = \"trixie-security/main\""),
        "{online}"
    );
    scene.server.take_log();
    assert_eq!(scene.lock(true).unwrap(), online);
    assert!(scene.server.take_log().is_empty());
}

#[test]
fn a_name_that_is_provided_needs_no_package_and_is_no_package_of_the_lock() {
    let scene = Scene::new();
    let items = [
        "aa 1; Depends: tool (>= 2) | virtual",
        "tool 2; Provides: virtual; Conflicts: virtual",
        "zz 1; Breaks: virtual",
    ];
    scene.publish("debian", "trixie", DATE, &items);
    let provided = || vec![Provided { package: "virtual".parse().unwrap(), reason: "ours".into() }];
    let lock = |wanted: &str, provided| {
        scene.with_access(false, |access, choices| {
            choices.choose(access, &Wish::new(names(wanted), Base::Empty, provided))
        })
    };
    let chosen = |lock: Lock| lock.packages.iter().map(|package| package.name.to_string()).collect::<Vec<_>>();
    assert_eq!(chosen(lock("aa", Vec::new()).unwrap()), ["aa", "tool"]);
    let with = lock("aa", provided()).unwrap();
    assert_eq!(with.provided, provided());
    assert_eq!(chosen(with), ["aa"]);
    // What cannot stand beside the name is refused, as it would be beside a package.
    let error = lock("zz", provided()).unwrap_err().to_string();
    assert!(error.contains("conflicts with") && error.contains("casemate-placeholder"), "{error}");
}

#[test]
fn an_unchanged_release_is_not_sent_again_and_its_choice_is_not_made_again() {
    let scene = Scene::new();
    scene.publish_dated(&["bb 1+deb13u1"], "Sat, 12 Sep 2026 08:00:00 GMT");
    let first = scene.choose(false).unwrap();
    scene.server.take_log();
    // Without the Packages files nothing could be chosen.
    std::fs::remove_dir_all(scene.cache.path().join("lists/sha256")).unwrap();
    assert_eq!(scene.choose(false).unwrap(), first);
    let log = scene.server.take_log();
    assert!(log.contains(&"/debian-security/dists/trixie-security/InRelease unchanged".to_owned()), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("by-hash")), "{log:?}");
}

#[test]
fn a_changed_release_leads_to_a_new_choice() {
    let scene = Scene::new();
    scene.publish_dated(&["bb 1+deb13u1"], "Sat, 12 Sep 2026 08:00:00 GMT");
    let first = scene.choose(false).unwrap();
    scene.publish_dated(&["bb 1+deb13u2"], "Sat, 12 Sep 2026 09:00:00 GMT");
    let second = scene.choose(false).unwrap();
    assert_ne!(first.packages, second.packages);
    assert_eq!(scene.choose(true).unwrap(), second);
}

#[test]
fn a_damaged_release_in_the_cache_is_sent_again_whole() {
    let scene = Scene::new();
    scene.publish_dated(&["bb 1+deb13u1"], "Sat, 12 Sep 2026 08:00:00 GMT");
    let first = scene.choose(false).unwrap();
    std::fs::write(scene.cache.path().join("lists/trixie-security/InRelease"), "damaged").unwrap();
    assert_eq!(scene.choose(false).unwrap(), first);
}

#[test]
fn a_choice_is_recent_by_the_time_it_was_compared_with_the_archive() {
    let scene = Scene::new();
    assert_eq!(scene.recent(0, 100), None);
    let lock = scene.choose(false).unwrap();
    scene.server.take_log();
    assert_eq!(scene.recent(100, 100), Some(lock));
    assert_eq!(scene.recent(101, 100), None);
    assert!(scene.server.take_log().is_empty());
    // A lock that was changed or cut is none.
    for entry in std::fs::read_dir(scene.cache.path().join("locks")).unwrap() {
        let entry = entry.unwrap().path();
        let text = std::fs::read_to_string(&entry).unwrap();
        std::fs::write(&entry, text.replace("wanted = [\"aa\"]", "wanted = [\"bb\"]")).unwrap();
    }
    assert_eq!(scene.recent(0, 100), None);
}

#[test]
fn offline_without_a_cache_says_what_to_do() {
    let error = Scene::new().lock(true).unwrap_err().to_string();
    assert!(error.contains("no Release of `trixie` in the cache; run again without `--offline`"), "{error}");
}

#[test]
fn refuses_a_release_older_than_the_last_one_seen_even_when_the_cached_one_is_gone() {
    let scene = Scene::new();
    scene.lock(false).unwrap();
    std::fs::remove_file(scene.cache.path().join("lists/trixie/InRelease")).unwrap();
    scene.publish("debian", "trixie", "Sat, 12 Sep 2026 07:55:40 UTC", &["aa 1", "bb 1"]);
    let error = scene.lock(false).unwrap_err();
    let stale = |e: &ArchiveError| {
        matches!(e, ArchiveError::Lists(ListsError::Stale { source: StaleError::Rollback { .. }, .. }))
    };
    assert!(stale(&error), "{error}");
}

#[test]
fn refuses_a_mirror_signed_by_somebody_else() {
    let mut scene = Scene::new();
    scene.key = Key::new();
    let error = scene.lock(false).unwrap_err();
    assert!(matches!(error, ArchiveError::Lists(ListsError::Signature { .. })), "{error}");
    assert!(!scene.cache.path().join("lists/trixie/InRelease").exists());
}

#[test]
fn refuses_a_cached_release_that_was_changed() {
    let scene = Scene::new();
    scene.lock(false).unwrap();
    let path = scene.cache.path().join("lists/trixie/InRelease");
    let text = std::fs::read_to_string(&path).unwrap().replace("Acquire-By-Hash: yes", "Acquire-By-Hash: no");
    std::fs::write(path, text).unwrap();
    assert!(matches!(scene.lock(true), Err(ArchiveError::Lists(ListsError::Signature { .. }))));
}

#[test]
fn a_cached_index_that_was_changed_is_fetched_anew_and_offline_refused() {
    let scene = Scene::new();
    let sound = scene.lock(false).unwrap();
    for entry in walk(&scene.cache.path().join("lists/sha256")) {
        let mut bytes = std::fs::read(&entry).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&entry, bytes).unwrap();
    }
    let error = scene.lock(true).unwrap_err();
    assert!(matches!(&error, ArchiveError::Fetch(FetchError::Offline(_))), "{error}");
    assert!(error.to_string().contains("trixie/main/binary-amd64/Packages.xz"), "{error}");
    assert_eq!(scene.lock(false).unwrap(), sound);
}

#[test]
fn an_unknown_suite_is_named() {
    let scene = Scene::new();
    let server = MirrorServer::start();
    let empty = Scene { server, ..scene };
    let error = empty.lock(false).unwrap_err().to_string();
    assert!(error.contains("the mirror has no suite `trixie`"), "{error}");
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let list = |path: &std::path::Path| {
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    list(directory).iter().flat_map(|part| list(part)).collect()
}

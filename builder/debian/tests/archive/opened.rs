//! The whole archive half at once: a signed mirror made by the test, a lock, and the same lock offline.

use std::{io::Write as _, time::Duration};

use debian::{
    archive::{Access, Archive, ArchiveError},
    date::UnixTime,
    digest::Sha256Digest,
    fetch::Network,
    http::Http,
    keyring::Keyring,
    lists::ListsError,
    release::Freshness,
    release_error::StaleError,
    resolve::Base,
    suite::{Component, Suite},
};
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
        let keyring = Keyring::from_certificates(&[&self.key.certificate()]).unwrap();
        let mirrors = self.server.mirrors();
        let network = if offline { Network::Offline } else { Network::Online(&self.http, &mirrors) };
        let (cache, now) = (self.cache.path(), UnixTime(NOW.into()));
        let access = Access { cache, network, keyring: &keyring, freshness: Freshness::default(), now };
        let suites = Suite::of_release(&"trixie".parse().unwrap(), &[Component::main()]);
        let archive = Archive::open(&access, &suites, &"amd64".parse().unwrap())?;
        Ok(archive.lock(&names("aa"), Base::Essential)?.render().unwrap())
    }
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
fn refuses_a_cached_index_that_was_changed() {
    let scene = Scene::new();
    scene.lock(false).unwrap();
    for entry in walk(&scene.cache.path().join("lists/sha256")) {
        let mut bytes = std::fs::read(&entry).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&entry, bytes).unwrap();
    }
    assert!(matches!(scene.lock(true), Err(ArchiveError::Decompress { .. })));
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

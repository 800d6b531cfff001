//! Downloads into the store, from a mirror that cuts, lies and forgets.

use std::{fs, time::Duration};

use debian::{
    fetch::{Download, FetchError, Network, Progress, Silent, fetch_all},
    store::Store,
    suite::Site,
};
use download::Http;
use formats::digest::Sha256Digest;
use tempfile::TempDir;

use crate::mirror_server::{MirrorServer, Serve};

struct Scene {
    server: MirrorServer,
    http: Http,
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let http = Http::new(3, Duration::from_millis(1));
        Self { server: MirrorServer::start(), http, directory: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> Store {
        Store::open(self.directory.path()).unwrap()
    }

    fn fetch(&self, downloads: &[Download]) -> Result<Vec<Vec<u8>>, FetchError> {
        let mirrors = self.server.mirrors();
        let paths = fetch_all(&self.store(), downloads, Network::Online(&self.http, &mirrors), &Silent)?;
        Ok(paths.iter().map(|path| fs::read(path).unwrap()).collect())
    }

    fn is_stored(&self, download: &Download) -> bool {
        self.store().path(&download.sha256).exists()
    }
}

fn body() -> Vec<u8> {
    (0u32..50_000).flat_map(u32::to_le_bytes).collect()
}

fn download(name: &str, body: &[u8]) -> Download {
    Download {
        label: format!("{name} 1.0"),
        site: Site::Archive,
        path: format!("pool/{name}.deb").parse().unwrap(),
        size: body.len() as u64,
        sha256: Sha256Digest::of(body),
    }
}

#[test]
fn fetches_from_the_site_of_each_file_and_asks_for_none_twice() {
    let scene = Scene::new();
    let mut security = download("bb", b"second");
    security.site = Site::Security;
    scene.server.put("/debian/pool/aa.deb", Serve::Well(body()));
    scene.server.put("/debian-security/pool/bb.deb", Serve::Well(b"second".to_vec()));
    let downloads = [download("aa", &body()), security];
    assert_eq!(scene.fetch(&downloads).unwrap(), [body(), b"second".to_vec()]);
    assert_eq!(scene.server.take_log().len(), 2);
    assert_eq!(scene.fetch(&downloads).unwrap().len(), 2);
    assert!(scene.server.take_log().is_empty());
}

#[test]
fn a_cut_transfer_goes_on_where_it_was_cut() {
    let scene = Scene::new();
    scene.server.put("/debian/pool/aa.deb", Serve::Cut(body(), 80_000));
    assert_eq!(scene.fetch(&[download("aa", &body())]).unwrap(), [body()]);
    let log = scene.server.take_log();
    assert_eq!(log, ["/debian/pool/aa.deb", "/debian/pool/aa.deb from 80000", "/debian/pool/aa.deb from 160000"]);
}

#[test]
fn an_interrupted_run_is_resumed_by_the_next() {
    let scene = Scene::new();
    scene.server.put("/debian/pool/aa.deb", Serve::Cut(body(), 30_000));
    let wanted = download("aa", &body());
    assert!(matches!(scene.fetch(std::slice::from_ref(&wanted)), Err(FetchError::Transfer { .. })));
    assert!(!scene.is_stored(&wanted));
    scene.server.take_log();
    scene.server.put("/debian/pool/aa.deb", Serve::Well(body()));
    assert_eq!(scene.fetch(&[wanted]).unwrap(), [body()]);
    assert_eq!(scene.server.take_log(), ["/debian/pool/aa.deb from 120000"]);
}

#[test]
fn a_server_without_ranges_is_served_from_the_start() {
    let scene = Scene::new();
    let wanted = download("aa", &body());
    fs::write(partial(&scene, &wanted), &body()[..1000]).unwrap();
    scene.server.put("/debian/pool/aa.deb", Serve::Whole(body()));
    assert_eq!(scene.fetch(&[wanted]).unwrap(), [body()]);
}

#[test]
fn a_wrong_beginning_kept_from_before_is_thrown_away() {
    let scene = Scene::new();
    let wanted = download("aa", &body());
    fs::write(partial(&scene, &wanted), b"nonsense").unwrap();
    scene.server.put("/debian/pool/aa.deb", Serve::Well(body()));
    assert_eq!(scene.fetch(&[wanted]).unwrap(), [body()]);
}

fn partial(scene: &Scene, download: &Download) -> std::path::PathBuf {
    scene.store();
    scene.directory.path().join("partial").join(download.sha256.to_string())
}

#[test]
fn refuses_a_wrong_digest_and_does_not_store_it() {
    let scene = Scene::new();
    let wanted = download("aa", &body());
    let mut changed = body();
    changed[7] ^= 1;
    scene.server.put("/debian/pool/aa.deb", Serve::Well(changed));
    assert!(matches!(scene.fetch(std::slice::from_ref(&wanted)), Err(FetchError::Digest { .. })));
    assert!(!scene.is_stored(&wanted));
}

#[test]
fn refuses_a_body_that_is_longer_than_promised() {
    let scene = Scene::new();
    let wanted = download("aa", &body()[..1000]);
    scene.server.put("/debian/pool/aa.deb", Serve::Well(body()));
    assert!(matches!(scene.fetch(std::slice::from_ref(&wanted)), Err(FetchError::TooLong { size: 1000, .. })));
    assert!(!scene.is_stored(&wanted));
    assert_eq!(fs::metadata(partial(&scene, &wanted)).unwrap().len(), 0);
}

#[test]
fn names_every_package_that_the_mirror_no_longer_carries() {
    let scene = Scene::new();
    scene.server.put("/debian/pool/bb.deb", Serve::Well(b"b".to_vec()));
    let downloads = [download("cc", b"c"), download("bb", b"b"), download("aa", b"a")];
    let error = scene.fetch(&downloads).unwrap_err();
    assert!(matches!(&error, FetchError::Gone(labels) if *labels == ["aa 1.0", "cc 1.0"]), "{error}");
    assert!(error.to_string().contains("run `casemate lock IMAGE`"));
    assert!(scene.is_stored(&downloads[1]));
}

#[test]
fn offline_names_all_that_is_missing_and_the_remedy() {
    let scene = Scene::new();
    scene.server.put("/debian/pool/bb.deb", Serve::Well(b"b".to_vec()));
    scene.fetch(&[download("bb", b"b")]).unwrap();
    let offline = |downloads: &[Download]| fetch_all(&scene.store(), downloads, Network::Offline, &Silent);
    assert_eq!(offline(&[download("bb", b"b")]).unwrap().len(), 1);
    let error = offline(&[download("cc", b"c"), download("bb", b"b"), download("aa", b"a")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not in the cache: `cc 1.0`, `aa 1.0`; run again without `--offline` while the network is there"
    );
}

#[test]
fn progress_is_told_of_every_byte_and_file() {
    #[derive(Default)]
    struct Count(std::sync::Mutex<(usize, u64, u64, usize)>);
    impl Progress for Count {
        fn begin(&self, files: usize, bytes: u64) {
            *self.0.lock().unwrap() = (files, bytes, 0, 0);
        }
        fn advance(&self, bytes: u64) {
            self.0.lock().unwrap().2 += bytes;
        }
        fn finish(&self, _: &str) {
            self.0.lock().unwrap().3 += 1;
        }
    }
    let scene = Scene::new();
    let names: Vec<String> = (10..30).map(|number| format!("p{number}")).collect();
    for name in &names {
        scene.server.put(&format!("/debian/pool/{name}.deb"), Serve::Well(name.clone().into_bytes()));
    }
    let downloads: Vec<_> = names.iter().map(|name| download(name, name.as_bytes())).collect();
    let (count, mirrors) = (Count::default(), scene.server.mirrors());
    fetch_all(&scene.store(), &downloads, Network::Online(&scene.http, &mirrors), &count).unwrap();
    assert_eq!(*count.0.lock().unwrap(), (20, 60, 60, 20));
}

//! A repository through its life: published, refreshed, read back, its keys exchanged; and what is refused leaves it as
//! it was.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use bundle::{Clock, KeySet, Newest, SchemaVersion, Sha256Digest, TrustRoot, sign};
use tempfile::TempDir;

use super::*;
use crate::host_document::signature_path;
use crate::proof::Proof;
use crate::test_artifacts::{Artifacts, key};
use crate::trust_root::file_name;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 60 * 60;

/// An output of release key 7, and a repository whose root key is 1.
struct Bench {
    artifacts: Artifacts,
    dir: TempDir,
}

/// What is asked of `publish`.
struct Asked {
    repo: PathBuf,
    channel: &'static str,
    seeds: Vec<u8>,
    now: u64,
    floor: Option<&'static str>,
    term: Option<Term>,
    sequence: Option<u64>,
    proof: Proof,
    development: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            repo: PathBuf::new(),
            channel: "stable",
            seeds: vec![7],
            now: NOW,
            floor: None,
            term: None,
            sequence: None,
            proof: Proof::TestReport,
            development: true,
        }
    }
}

impl Bench {
    fn new() -> Self {
        let bench = Self { artifacts: Artifacts::new(), dir: tempfile::tempdir().unwrap() };
        bench.artifacts.report(&[("boots", true)], &key(7));
        bench.add_root(1, &[7], 1, &[1]);
        bench
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.repo().join("tiny").join(name)
    }

    /// Writes a trust root of root key 1 with these release keys, signed by `signers`.
    fn root_file(&self, version: u32, release: &[u8], threshold: usize, signers: &[u8]) -> PathBuf {
        let set = |seeds: &[u8], threshold| {
            KeySet::new(seeds.iter().map(|seed| key(*seed).public().clone()).collect(), threshold).unwrap()
        };
        let version = NonZeroU32::new(version).unwrap();
        let (image, root, release) = ("tiny".parse().unwrap(), set(&[1], 1), set(release, threshold));
        let root = TrustRoot { schema: SchemaVersion, image, version, root, release };
        let keys: Vec<_> = signers.iter().map(|seed| key(*seed)).collect();
        let envelope = sign(root.to_json().as_bytes(), bundle::Context::TrustRoot, &keys.iter().collect::<Vec<_>>());
        let path = self.dir.path().join(file_name(version));
        fs::write(&path, root.to_json()).unwrap();
        fs::write(signature_path(&path), envelope.to_json()).unwrap();
        path
    }

    fn add_root(&self, version: u32, release: &[u8], threshold: usize, signers: &[u8]) {
        trust(&self.root_file(version, release, threshold, signers), &self.repo()).unwrap();
    }

    /// Makes the output another version, tested as well.
    fn version(&self, version: &str) {
        self.artifacts.seal_again(|manifest| manifest.version = version.parse().unwrap());
        self.artifacts.report(&[("boots", true)], &key(7));
    }

    /// Publishes as is usual, but for what `change` does.
    fn publish_with(&self, change: impl FnOnce(&mut Asked)) -> anyhow::Result<Published> {
        let mut asked = Asked { repo: self.repo(), ..Asked::default() };
        change(&mut asked);
        let (channel, signers) = (asked.channel.parse().unwrap(), signers(&asked.seeds));
        let floor = asked.floor.map(|floor| floor.parse().unwrap());
        let request = PublishRequest {
            output: self.artifacts.path(),
            repo: &asked.repo,
            channel: &channel,
            floor: floor.as_ref(),
            term: asked.term,
            sequence: asked.sequence,
            signers: &signers,
            proof: asked.proof,
            development: asked.development,
        };
        publish(&request, asked.now)
    }

    fn publish(&self) -> anyhow::Result<Published> {
        self.publish_with(|_| {})
    }

    fn publish_to(&self, channel: &'static str) -> anyhow::Result<Published> {
        self.publish_with(|asked| asked.channel = channel)
    }

    fn refresh(&self, seeds: &[u8], now: u64) -> anyhow::Result<Vec<Published>> {
        let (repo, signers) = (self.repo(), signers(seeds));
        refresh(&RefreshRequest { repo: &repo, image: None, channel: None, term: None, signers: &signers }, now)
    }

    fn check(&self, now: u64) -> anyhow::Result<Vec<Checked>> {
        check(&CheckRequest { repo: &self.repo(), image: None, trust_root: None }, now)
    }

    /// The statement of `stable` as a host of trust root `version` reads it.
    fn newest(&self, version: u32) -> Newest {
        let repository = Repository::new(&self.repo(), "tiny".parse().unwrap());
        let roots = repository.trust_roots().unwrap();
        let root = roots.iter().find(|root| root.version.get() == version).unwrap();
        repository.judge(&"stable".parse().unwrap(), root, Clock::Unproven).unwrap().newest.into_inner()
    }

    /// Every file of the repository with its digest, but the lock.
    fn files(&self) -> BTreeMap<String, Sha256Digest> {
        let files = walkdir::WalkDir::new(self.repo()).into_iter().map(|entry| entry.unwrap());
        files
            .filter(|entry| entry.file_type().is_file() && entry.file_name() != LOCK)
            .map(|entry| {
                let name = entry.path().strip_prefix(self.repo()).unwrap().to_string_lossy().into_owned();
                (name, Sha256Digest::of(&fs::read(entry.path()).unwrap()))
            })
            .collect()
    }

    fn names(&self) -> Vec<String> {
        self.files().into_keys().collect()
    }
}

fn signers(seeds: &[u8]) -> Signers {
    Signers { keys: seeds.iter().map(|seed| key(*seed)).collect(), development: false }
}

/// The text of a refusal, which says what to do and ends with exit code 1.
fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
    let error = result.unwrap_err();
    let text = tools::failure::render(&error);
    assert!(text.contains("hint: ") && tools::failure::exit_kind(&error).code() == 1, "{text}");
    text
}

#[test]
fn what_was_published_is_what_a_host_finds() {
    let bench = Bench::new();
    let published = bench.publish().unwrap();
    assert!(published.written);
    let names = [
        "tiny/bundles/tiny_0.1.0.manifest.json",
        "tiny/bundles/tiny_0.1.0.manifest.json.sig",
        "tiny/bundles/tiny_0.1.0.tar",
        "tiny/stable/newest.tar",
        "tiny/trust-root-1.json",
        "tiny/trust-root-1.json.sig",
    ];
    assert_eq!(bench.names(), names);
    // One key signed the output and the same one publishes it: the bundle is that of the build.
    assert_eq!(bench.files()[names[2]], Sha256Digest::of(&fs::read(bench.artifacts.file("bundle.tar")).unwrap()));
    let newest = bench.newest(1);
    assert_eq!((newest.sequence, newest.issued, newest.expires), (1, NOW, NOW + 30 * DAY));
    assert_eq!(newest, published.newest);
    let [checked] = &bench.check(NOW).unwrap()[..] else { panic!("one image") };
    assert_eq!((checked.root.version.get(), checked.channels[0].seconds_left), (1, 30 * DAY));
}

#[test]
fn the_same_once_more_changes_nothing() {
    let bench = Bench::new();
    let first = bench.publish().unwrap().newest;
    let before = bench.files();
    let again = bench.publish_with(|asked| asked.now = NOW + DAY).unwrap();
    assert_eq!((again.written, &again.newest), (false, &first));
    assert_eq!(bench.files(), before);
}

#[test]
fn a_version_that_is_not_newer_is_refused() {
    let bench = Bench::new();
    bench.version("0.1.10");
    bench.publish().unwrap();
    let before = bench.files();
    for (version, wanted) in [
        ("0.1.9", "0.1.9 is not newer than 0.1.10"),
        ("0.1.10~rc1", "is not newer"),
        // Another text for the same place in the order.
        ("0.01.10", "is not newer"),
    ] {
        bench.version(version);
        let found = refusal(bench.publish());
        assert!(found.contains(wanted), "{found}");
    }
    bench.artifacts.seal_again(|manifest| {
        manifest.version = "0.1.10".parse().unwrap();
        manifest.source_date_epoch += 1;
    });
    bench.artifacts.report(&[("boots", true)], &key(7));
    let found = refusal(bench.publish());
    assert!(found.contains("was published already, from another build"), "{found}");
    assert_eq!(bench.files(), before);
}

#[test]
fn what_nobody_vouches_for_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let before = bench.files();
    let refused = |result: anyhow::Result<Published>, wanted: &str| {
        let found = refusal(result);
        assert!(found.contains(wanted), "{wanted}: {found}");
        assert_eq!(bench.files(), before, "{wanted}");
    };
    refused(bench.publish_with(|asked| asked.development = false), "made with development keys");
    refused(bench.publish_with(|asked| asked.seeds = vec![8]), "0 of 1 needed release keys of trust root 1");
    refused(bench.publish_to("bundles"), "no channel can be called `bundles`");
    bench.artifacts.report(&[("boots", false)], &key(7));
    refused(bench.publish(), "did not pass its tests (failed: boots)");
    bench.artifacts.report(&[("boots", true)], &key(8));
    refused(bench.publish(), "not proven");
    fs::remove_file(bench.artifacts.file("test-report.json")).unwrap();
    refused(bench.publish(), "there is no test report");
    let untested = |asked: &mut Asked| asked.proof = Proof::NotAsked;
    bench.artifacts.flip("root.erofs", 5000);
    refused(bench.publish_with(untested), "are not those of its manifest");
    bench.artifacts.flip("root.erofs", 5000);
    bench.artifacts.seal_again(|manifest| manifest.expires = Some(NOW));
    refused(bench.publish_with(untested), "has ended 0 s ago");
    bench.artifacts.change("manifest.json", |bytes| bytes.push(b' '));
    refused(bench.publish_with(untested), "does not fit the document");
    bench.artifacts.seal_again(|manifest| manifest.expires = None);
    assert!(bench.publish_with(untested).unwrap().written);
}

#[test]
fn without_a_trust_root_nothing_is_published_or_made() {
    let bench = Bench::new();
    let elsewhere = bench.dir.path().join("mistyped");
    let found = refusal(bench.publish_with(|asked| asked.repo = elsewhere.clone()));
    assert!(found.contains("holds no trust root") && found.contains("casemate repo trust"), "{found}");
    assert!(!elsewhere.exists());
}

#[test]
fn the_floor_rises_and_never_sinks() {
    let bench = Bench::new();
    let floor_of = |published: Published| published.newest.floor.map(|floor| floor.to_string());
    let publish = |floor: Option<&'static str>| bench.publish_with(|asked| asked.floor = floor);
    let found = refusal(publish(Some("0.1.1")));
    assert!(found.contains("floor 0.1.1 is newer than version 0.1.0"), "{found}");
    assert_eq!(floor_of(publish(None).unwrap()), None);
    // The same version with a floor is a new statement over the same bundle.
    let raised = publish(Some("0.1.0~rc1")).unwrap();
    assert_eq!((raised.written, raised.newest.sequence), (true, 2));
    bench.version("0.2.0");
    assert_eq!(floor_of(publish(None).unwrap()), Some("0.1.0~rc1".to_owned()));
    let found = refusal(publish(Some("0.0.9")));
    assert!(found.contains("is older than 0.1.0~rc1"), "{found}");
    bench.artifacts.seal_again(|manifest| {
        manifest.version = "0.3.0".parse().unwrap();
        manifest.floor = Some("0.2.0".parse().unwrap());
    });
    bench.artifacts.report(&[("boots", true)], &key(7));
    assert_eq!(floor_of(publish(None).unwrap()), Some("0.2.0".to_owned()));
}

#[test]
fn channels_share_bundles_and_count_for_themselves() {
    let bench = Bench::new();
    bench.publish_to("testing").unwrap();
    bench.version("0.2.0");
    bench.publish_to("testing").unwrap();
    let before = fs::metadata(bench.file("bundles/tiny_0.2.0.tar")).unwrap().modified().unwrap();
    let stable = bench.publish_to("stable").unwrap();
    assert_eq!((stable.newest.sequence, stable.newest.version.as_str()), (1, "0.2.0"));
    assert_eq!(fs::metadata(bench.file("bundles/tiny_0.2.0.tar")).unwrap().modified().unwrap(), before);
    assert_eq!(bench.check(NOW).unwrap()[0].channels.len(), 2);
}

#[test]
fn a_refreshed_statement_ends_later_and_counts_on() {
    let bench = Bench::new();
    let term = Some("10d".parse().unwrap());
    let first = bench.publish_with(|asked| asked.term = term).unwrap().newest;
    let later = NOW + 20 * DAY;
    assert!(refusal(bench.check(later)).contains("has ended"));
    let refreshed = bench.refresh(&[7], later).unwrap().remove(0).newest;
    assert_eq!(refreshed, Newest { sequence: 2, issued: later, expires: later + 10 * DAY, ..first });
    assert_eq!(bench.newest(1), refreshed);
    bench.check(later).unwrap();
    let before = bench.files();
    assert!(refusal(bench.refresh(&[8], later)).contains("no host would believe"));
    assert_eq!(bench.files(), before);
}

#[test]
fn a_version_that_has_ended_is_not_refreshed() {
    let bench = Bench::new();
    bench.artifacts.seal_again(|manifest| manifest.expires = Some(NOW + DAY));
    bench.publish_with(|asked| asked.proof = Proof::NotAsked).unwrap();
    bench.refresh(&[7], NOW + DAY - 1).unwrap();
    assert!(refusal(bench.refresh(&[7], NOW + DAY)).contains("has ended 0 s ago"));
    assert!(refusal(bench.check(NOW + DAY)).contains("has ended 0 s ago"));
}

#[test]
fn a_lost_repository_goes_on_above_the_number_that_hosts_have_seen() {
    let bench = Bench::new();
    let at = |sequence| bench.publish_with(move |asked| asked.sequence = Some(sequence));
    assert_eq!(at(40).unwrap().newest.sequence, 40);
    assert!(refusal(at(40)).contains("number 40 was given already"));
    assert_eq!(at(u64::MAX).unwrap().newest.sequence, u64::MAX);
    assert!(refusal(bench.refresh(&[7], NOW)).contains("exchange the release keys"));
}

#[test]
fn writers_at_once_never_give_one_number_twice() {
    let bench = Bench::new();
    bench.publish().unwrap();
    let numbers = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8).map(|_| scope.spawn(|| bench.refresh(&[7], NOW).unwrap())).collect();
        let refreshed = writers.into_iter().map(|writer| writer.join().unwrap()[0].newest.sequence);
        refreshed.collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(numbers, (2..10).collect());
}

#[test]
fn a_reader_at_any_moment_finds_a_version_whole() {
    let bench = Bench::new();
    bench.publish().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                bench.check(NOW).unwrap();
                reads += 1;
            }
            reads
        });
        for version in 2..12 {
            bench.version(&format!("0.{version}.0"));
            bench.publish().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(reads > 1, "{reads} reads");
    assert_eq!(bench.newest(1).version.as_str(), "0.11.0");
}

/// A file, what is done to its bytes, and what is then said.
type Damage = (&'static str, fn(&mut Vec<u8>), &'static str);

#[test]
fn every_kind_of_damage_is_found_and_named() {
    let cases: [Damage; 7] = [
        ("bundles/tiny_0.1.0.tar", |bytes| bytes[9000] ^= 1, "tiny_0.1.0.tar` is not good"),
        ("bundles/tiny_0.1.0.tar", |bytes| bytes.truncate(9000), "ends inside"),
        ("bundles/tiny_0.1.0.manifest.json", |bytes| bytes.push(b' '), "is not the manifest of its bundle"),
        ("stable/newest.tar", |bytes| bytes.truncate(700), "newest.tar`: the archive ends inside"),
        ("stable/newest.tar", |bytes| bytes[520] ^= 1, "newest.tar` is not good"),
        ("trust-root-1.json", |bytes| bytes.push(b' '), "trust-root-1.json` is not good"),
        ("trust-root-1.json.sig", Vec::clear, "trust-root-1.json` is not good"),
    ];
    for (name, damage, wanted) in cases {
        let bench = Bench::new();
        bench.publish().unwrap();
        let mut bytes = fs::read(bench.file(name)).unwrap();
        damage(&mut bytes);
        fs::write(bench.file(name), bytes).unwrap();
        let found = refusal(bench.check(NOW));
        assert!(found.contains(wanted), "{name}: {found}");
    }
}

#[test]
fn a_repository_that_lost_its_trust_root_is_not_passed_over() {
    let bench = Bench::new();
    bench.publish().unwrap();
    fs::create_dir(bench.repo().join("other")).unwrap();
    for name in ["trust-root-1.json", "trust-root-1.json.sig"] {
        fs::rename(bench.file(name), bench.repo().join("other").join(name)).unwrap();
    }
    let found = refusal(bench.check(NOW));
    assert!(found.contains("tiny` holds no trust root"), "{found}");
    assert!(found.contains("is the trust root of the image `tiny`"), "{found}");
}

#[test]
fn parts_of_two_versions_or_channels_do_not_pass_for_one() {
    let bench = Bench::new();
    bench.publish_to("testing").unwrap();
    bench.version("0.2.0");
    bench.publish().unwrap();
    bench.check(NOW).unwrap();
    let (testing, stable) = (bench.file("testing/newest.tar"), bench.file("stable/newest.tar"));
    let good = fs::read(&stable).unwrap();
    fs::copy(&testing, &stable).unwrap();
    assert!(refusal(bench.check(NOW)).contains("is about the channel `testing`, not about `stable`"));
    fs::write(&stable, good).unwrap();
    fs::copy(bench.file("bundles/tiny_0.1.0.tar"), bench.file("bundles/tiny_0.2.0.tar")).unwrap();
    assert!(refusal(bench.check(NOW)).contains("it holds tiny 0.1.0"));
}

#[test]
fn hosts_that_begin_with_another_trust_root_are_told_apart() {
    let bench = Bench::new();
    bench.publish().unwrap();
    let check_from =
        |path: &Path| check(&CheckRequest { repo: &bench.repo(), image: None, trust_root: Some(path) }, NOW);
    assert!(check_from(&bench.dir.path().join("trust-root-1.json")).is_ok());
    let other = bench.root_file(1, &[8], 1, &[1]);
    assert!(refusal(check_from(&other)).contains("has another trust root 1"));
}

#[test]
fn keys_are_exchanged_and_the_count_goes_on() {
    let bench = Bench::new();
    bench.publish().unwrap();
    // Neither without the root key, nor leaving out a version.
    assert!(refusal(trust(&bench.root_file(2, &[8], 1, &[7]), &bench.repo())).contains("cannot be added"));
    assert!(refusal(trust(&bench.root_file(3, &[8], 1, &[1]), &bench.repo())).contains("the next one is 2"));
    bench.add_root(2, &[8], 1, &[1]);
    // The same once more changes nothing, another one with its number is refused.
    assert!(!trust(&bench.root_file(2, &[8], 1, &[1]), &bench.repo()).unwrap().1);
    assert!(refusal(trust(&bench.root_file(2, &[7], 1, &[1]), &bench.repo())).contains("another trust root 2"));
    // What the old key signed is good for nobody any more, with whatever key the statement is signed.
    assert!(refusal(bench.check(NOW)).contains("0 of 1 needed signatures"));
    for (seed, wanted) in [(7, "0 of 1 needed release keys"), (8, "0 of 1 needed signatures")] {
        assert!(refusal(bench.refresh(&[seed], NOW)).contains(wanted));
    }
    bench.version("0.2.0");
    assert!(
        refusal(bench.publish_with(|asked| asked.seeds = vec![7]))
            .contains("0 of 1 needed release keys of trust root 2")
    );
    assert!(refusal(bench.publish_with(|asked| asked.seeds = vec![8])).contains("0 of 1 needed signatures"));
    let rebuilt = bench.rebuilt_with(8);
    let published = rebuilt.publish_with(|asked| (asked.seeds, asked.proof) = (vec![8], Proof::NotAsked)).unwrap();
    assert_eq!((published.newest.sequence, published.newest.version.as_str()), (2, "0.3.0"));
    rebuilt.check(NOW).unwrap();
}

impl Bench {
    /// The same repository, and an output of version 0.3.0 that another release key signed.
    fn rebuilt_with(self, seed: u8) -> Self {
        let mut artifacts = self.artifacts;
        artifacts.release = key(seed);
        artifacts.seal_again(|manifest| manifest.version = "0.3.0".parse().unwrap());
        Self { artifacts, dir: self.dir }
    }
}

#[test]
fn a_trust_root_that_asks_for_two_release_keys_gets_both() {
    let bench = Bench::new();
    bench.add_root(2, &[7, 8], 2, &[1]);
    let found = refusal(bench.publish());
    assert!(found.contains("1 of 2 needed release keys"), "{found}");
    let twice = refusal(bench.publish_with(|asked| asked.seeds = vec![7, 7]));
    assert!(twice.contains("1 of 2 needed release keys"), "{twice}");
    assert_eq!(bench.names().len(), 4, "{:?}", bench.names());
    bench.publish_with(|asked| asked.seeds = vec![7, 8]).unwrap();
    bench.check(NOW).unwrap();
    assert!(refusal(bench.refresh(&[8], NOW)).contains("1 of 2 needed release keys"));
    bench.refresh(&[8, 7], NOW).unwrap();
}

#[test]
fn pruning_keeps_what_channels_name_and_the_newest_of_the_rest() {
    let bench = Bench::new();
    bench.publish_to("old").unwrap();
    for version in ["0.9.0", "0.10.0", "0.11.0", "0.12.0"] {
        bench.version(version);
        bench.publish().unwrap();
    }
    fs::write(bench.file("bundles/.tiny_0.13.0.tar.Xx12"), "of a publish that was killed").unwrap();
    fs::write(bench.file("bundles/README"), "not ours").unwrap();
    let pruned = prune(&bench.repo(), None, 1).unwrap();
    assert_eq!(pruned.bundles, ["tiny_0.9.0.tar", "tiny_0.10.0.tar"]);
    let left = bench.names();
    let tars: Vec<_> = left.iter().filter_map(|name| name.strip_prefix("tiny/bundles/")).collect();
    let expected = [
        "README",
        "tiny_0.1.0.manifest.json",
        "tiny_0.1.0.manifest.json.sig",
        "tiny_0.1.0.tar",
        "tiny_0.11.0.manifest.json",
        "tiny_0.11.0.manifest.json.sig",
        "tiny_0.11.0.tar",
        "tiny_0.12.0.manifest.json",
        "tiny_0.12.0.manifest.json.sig",
        "tiny_0.12.0.tar",
    ];
    assert_eq!(tars, expected);
    bench.check(NOW).unwrap();
    // A channel that cannot be read may name any of them.
    fs::write(bench.file("old/newest.tar"), "").unwrap();
    assert!(refusal(prune(&bench.repo(), None, 0)).contains("nothing was removed"));
    assert_eq!(bench.names(), left);
}

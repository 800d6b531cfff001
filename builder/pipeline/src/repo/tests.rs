//! A repository through its life: published, refreshed, read back, its keys exchanged; and what is refused leaves it as
//! it was.

mod check;
mod prune;
mod publish;
mod refresh;
mod trust;

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

    /// The same repository, and an output of version 0.3.0 that another release key signed.
    fn rebuilt_with(self, seed: u8) -> Self {
        let mut artifacts = self.artifacts;
        artifacts.release = key(seed);
        artifacts.seal_again(|manifest| manifest.version = "0.3.0".parse().unwrap());
        Self { artifacts, dir: self.dir }
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

//! The built images and the tree that runs them: made once for all scenarios, with the same commands that a person would give.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use vm::guest::Seen;

/// Both images with what their stages leave in the cache, two hosts with their disks, and an image that a scenario builds.
const NEEDED_MEBIBYTES: u64 = 6 << 10;

/// Which image a scenario boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// `base` and `ssh`: boots quickly.
    Minimal,
    /// Everything.
    Webhost,
}

impl Image {
    /// Name of the image and of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Webhost => "webhost",
        }
    }
}

/// What scenarios work with.
#[derive(Debug)]
pub struct Artifacts {
    casemate: PathBuf,
    images: PathBuf,
    output: PathBuf,
    run_tree: PathBuf,
    build_tree: PathBuf,
    keys: PathBuf,
    /// What became of building each image, once somebody asked for it.
    built: [OnceLock<Result<(), String>>; 2],
    /// Every identity that a host has shown, with the name of the host: no two hosts may share one.
    identities: Mutex<BTreeMap<String, String>>,
}

impl Artifacts {
    /// The output directory of an image.
    pub fn image(&self, image: Image) -> PathBuf {
        self.output.join(image.name())
    }

    /// Builds an image, once.
    pub(crate) fn build(&self, image: Image) -> Result<(), String> {
        let build = || self.build_now(image).map_err(|error| format!("cannot build the image: {error:?}"));
        self.built[image as usize].get_or_init(build).clone()
    }

    fn build_now(&self, image: Image) -> Result<()> {
        say(&format!("building images/{}", image.name()));
        let (folder, target) = (self.definition(image), self.image(image));
        let built = self.casemate(&["build", &folder.to_string_lossy(), "--output", &target.to_string_lossy()], 0)?;
        built.lines().for_each(say);
        Ok(())
    }

    /// The folder that an image is made from.
    pub fn definition(&self, image: Image) -> PathBuf {
        self.images.join(image.name())
    }

    /// The repository that everything is built from.
    pub fn repository(&self) -> PathBuf {
        self.images.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// The tree that holds what makes file systems.
    pub fn build_tree(&self) -> &Path {
        &self.build_tree
    }

    /// The tree that holds QEMU, firmware and clients.
    pub fn run_tree(&self) -> &Path {
        &self.run_tree
    }

    /// The tree that holds what attackers use; brought in by the first who asks.
    pub(crate) fn attack_tree(&self) -> Result<PathBuf> {
        tree(self, "attack").map(|(path, _)| path)
    }

    /// The keys that the images are signed with.
    pub fn development_keys(&self) -> PathBuf {
        self.keys.clone()
    }

    /// Signs any bytes as the operator, also documents with mistakes, which `casemate personalise` refuses to sign.
    pub(crate) fn sign_as_operator(&self, document: &[u8]) -> Result<Vec<u8>> {
        let pem = fs::read_to_string(self.keys.join("operator.key"))?;
        let key = bundle::SigningKey::from_pem(&pem, "operator")?;
        Ok(bundle::sign(document, bundle::Context::Host, &[&key]).to_json().into_bytes())
    }

    /// Remembers what a host shows of itself; refuses anything that another host has shown.
    pub(crate) fn record_identity(&self, host: &str, seen: &Seen, machine_id: &str) -> Result<()> {
        let mut known = self.identities.lock().map_err(|_| anyhow::anyhow!("another scenario failed here"))?;
        let shown = seen.ssh_keys.iter().chain(seen.certificates.values()).map(String::as_str);
        for shown in shown.chain([machine_id.trim()]) {
            if let Some(other) = known.insert(shown.to_owned(), host.to_owned()).filter(|other| other != host) {
                bail!("`{host}` and `{other}` share an identity: {shown}");
            }
        }
        if seen.ssh_keys.is_empty() {
            bail!("`{host}` shows no ssh key");
        }
        Ok(())
    }

    /// What is free of the disk that images and scratch directories are on, in MiB.
    pub(crate) fn free_mebibytes(&self) -> u64 {
        free_mebibytes(&self.output)
    }

    /// An empty directory of this name.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let dir = self.output.join("scratch").join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Runs the `casemate` command and returns its standard output; its status must be `expected`.
    pub fn casemate(&self, arguments: &[&str], expected: i32) -> Result<String> {
        let shown = format!("casemate {}", arguments.join(" "));
        let output = Command::new(&self.casemate)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run `{shown}`"))?;
        if output.status.code() != Some(expected) {
            bail!(
                "`{shown}` ended with {}, expected {expected}:\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }
}

/// The artifacts, made when the first scenario asks for them.
pub(crate) struct Lazy(OnceLock<Result<Artifacts, String>>);

impl Lazy {
    pub(crate) fn get(&self) -> Result<&Artifacts, String> {
        self.0
            .get_or_init(|| prepare().map_err(|error| format!("cannot prepare the images: {error:?}")))
            .as_ref()
            .map_err(Clone::clone)
    }
}

pub(crate) fn shared() -> Arc<Lazy> {
    Arc::new(Lazy(OnceLock::new()))
}

/// Prints a line to standard error, past the capture of the test harness.
pub(crate) fn say(line: &str) {
    // A closed standard error is no reason to fail a scenario.
    let _ = writeln!(std::io::stderr(), "scenarios: {line}");
}

/// What may be written there; zero if nobody knows.
fn free_mebibytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize) >> 20)
}

fn prepare() -> Result<Artifacts> {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate has no parent folder")?;
    let casemate = build_casemate(repo)?;
    let output = repo.join("target/scenarios");
    fs::create_dir_all(&output)?;
    let free = free_mebibytes(&output);
    ensure!(
        free >= NEEDED_MEBIBYTES,
        "`{}` has {free} MiB free; the scenarios need {NEEDED_MEBIBYTES}: make room, for example with `casemate cache prune`",
        output.display()
    );
    let mut artifacts = Artifacts {
        casemate,
        images: repo.join("images"),
        output,
        run_tree: PathBuf::new(),
        build_tree: PathBuf::new(),
        keys: PathBuf::new(),
        built: Default::default(),
        identities: Mutex::default(),
    };
    // Every scenario uses the tools trees and the keys; the small image brings in both.
    artifacts.build(Image::Minimal).map_err(anyhow::Error::msg)?;
    (artifacts.build_tree, _) = tree(&artifacts, "build")?;
    let cache;
    (artifacts.run_tree, cache) = tree(&artifacts, "run")?;
    artifacts.keys = cache.join("development-keys");
    Ok(artifacts)
}

/// Where `casemate` keeps a tree of tools, and its cache.
fn tree(artifacts: &Artifacts, kind: &str) -> Result<(PathBuf, PathBuf)> {
    let listed = artifacts.casemate(&["tools", kind, "--json", "--progress", "quiet"], 0)?;
    let value: serde_json::Value =
        serde_json::from_str(&listed).with_context(|| format!("`casemate tools {kind} --json` printed no JSON"))?;
    let path = |field: &str| {
        let text = value[field].as_str();
        text.map(PathBuf::from).with_context(|| format!("`casemate tools {kind} --json` names no {field}"))
    };
    Ok((path("path")?, path("cache")?))
}

/// Builds the command. The lock on the target directory is free while tests run.
fn build_casemate(repo: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What cargo says of this test to it would be news to build scripts, and half of the crates would be compiled anew.
    let of_this_test =
        |name: &str| ["CARGO_MANIFEST", "CARGO_PKG", "CARGO_CRATE"].iter().any(|part| name.starts_with(part));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_this_test)) {
        command.env_remove(name);
    }
    // Beside a test of the whole workspace the features of all crates are those of the tests, and what is compiled for them is used again.
    let output = command
        .current_dir(repo)
        .args(["build", "--workspace", "--bin", "casemate", "--test", "scenarios"])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo cannot build the `casemate` command");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable =
        messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(|message| {
            let wanted = message["target"]["name"] == "casemate";
            wanted.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
        });
    executable.context("cargo named no executable for `casemate`")
}

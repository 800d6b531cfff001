//! A repository and an output directory of their own, and the command under test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use serde_json::Value;

use crate::interrupted::lines_of;

/// What the repository holds that a build reads; the last one because the workspace names it.
const SOURCES: [&str; 7] = ["builder", "images", "overlays", "units", "Cargo.toml", "Cargo.lock", "qemu-tests"];

/// A copy of the repository to change at will, and the first build of its small image.
pub(crate) struct Bench {
    scratch: tempfile::TempDir,
    /// What the first build said.
    pub(crate) first: Value,
}

impl Bench {
    pub(crate) fn new() -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("casemate-builds-").tempdir()?;
        fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let mut bench = Self { scratch, first: Value::Null };
        copy_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &bench.repo())?;
        bench.first = bench.build(&bench.output(), &[])?;
        Ok(bench)
    }

    /// A directory that goes away at the end.
    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The copy of the repository.
    pub(crate) fn repo(&self) -> PathBuf {
        self.dir().join("repo")
    }

    /// Where the first build went.
    pub(crate) fn output(&self) -> PathBuf {
        self.dir().join("out")
    }

    /// Builds the small image and returns what `--json --explain` says.
    pub(crate) fn build(&self, output: &Path, further: &[&str]) -> Result<Value> {
        said(self.command(output, further), "build")
    }

    /// The same with the large image.
    pub(crate) fn build_webhost(&self, output: &Path, further: &[&str]) -> Result<Value> {
        said(self.command_for("webhost", output, further), "build")
    }

    /// Begins to build the large image from a lock, and returns once all packages are there.
    pub(crate) fn begin_webhost(&self, output: &Path, lock: &Path) -> Result<Begun> {
        let mut command = self.command_for("webhost", output, &["--progress", "plain", "--locked"]);
        let mut child = command.arg(lock).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut begun =
            Begun { lines: lines_of(child.stderr.take().context("no standard error")?), child, text: String::new() };
        while !begun.text.lines().last().is_some_and(|last| last.starts_with("fetch ")) {
            let Ok(told) = begun.lines.recv() else {
                bail!("`casemate build` ended before all packages were there:\n{}", begun.text);
            };
            begun.text += &told;
        }
        Ok(begun)
    }

    /// Chooses the packages of the large image.
    pub(crate) fn lock_webhost(&self, lock: &Path) -> Result<()> {
        let mut command = Command::new(casemate());
        let output = command.arg("lock").arg(self.repo().join("images/webhost")).arg("--output").arg(lock).output()?;
        ensure!(output.status.success(), "`casemate lock` failed:\n{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The command that builds the small image.
    pub(crate) fn command(&self, output: &Path, further: &[&str]) -> Command {
        self.command_for("minimal", output, further)
    }

    fn command_for(&self, image: &str, output: &Path, further: &[&str]) -> Command {
        let mut command = Command::new(casemate());
        command.arg("build").arg(self.repo().join("images").join(image)).arg("--output").arg(output);
        command.args(["--json", "--explain"]).args(further).stdin(Stdio::null());
        command
    }

    /// The cache that all tests of this machine share.
    pub(crate) fn cache() -> Result<PathBuf> {
        Self::place("build", "cache")
    }

    /// A tools tree of that cache.
    pub(crate) fn tree(kind: &str) -> Result<PathBuf> {
        Self::place(kind, "path")
    }

    fn place(kind: &str, what: &str) -> Result<PathBuf> {
        let mut command = Command::new(casemate());
        command.args(["tools", kind, "--json"]);
        let value = said(command, "tools")?;
        Ok(value[what].as_str().with_context(|| format!("`casemate tools` names no {what}"))?.into())
    }
}

/// A build that goes on beside others.
pub(crate) struct Begun {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// What it has said.
    text: String,
}

impl Begun {
    /// Waits for its end.
    pub(crate) fn ends(&mut self) -> Result<()> {
        self.text.extend(self.lines.iter());
        let status = self.child.wait()?;
        ensure!(status.success(), "`casemate build` ended with {status}:\n{}", self.text);
        Ok(())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // Where another part of the claim has failed nobody waits for it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies what a build reads, with the same names and modes and with no time kept.
pub(crate) fn copy_sources(source: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(target)?;
    SOURCES.iter().try_for_each(|name| copy(&source.join(name), &target.join(name)))
}

/// The command under test.
pub(crate) fn casemate() -> &'static str {
    env!("CARGO_BIN_EXE_casemate")
}

/// Runs a command that prints JSON.
pub(crate) fn said(mut command: Command, what: &str) -> Result<Value> {
    let output = command.stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        bail!("`casemate {what}` ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("`casemate {what}` printed no JSON"))
}

/// The stages that ran, from what a build said.
pub(crate) fn ran(said: &Value) -> BTreeMap<String, Vec<String>> {
    let rows = said["explanation"].as_array().cloned().unwrap_or_default();
    let names = |row: &Value| {
        let changed = row["changed"].as_array().cloned().unwrap_or_default();
        changed.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let rows = rows.iter().filter(|row| row["ran"] == true);
    rows.map(|row| (row["stage"].as_str().unwrap_or_default().to_owned(), names(row))).collect()
}

fn copy(source: &Path, target: &Path) -> Result<()> {
    let metadata = source.symlink_metadata()?;
    if metadata.is_symlink() {
        return Ok(std::os::unix::fs::symlink(fs::read_link(source)?, target)?);
    }
    if !metadata.is_dir() {
        fs::copy(source, target)?;
        return Ok(());
    }
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        copy(&entry.path(), &target.join(entry.file_name()))?;
    }
    Ok(())
}

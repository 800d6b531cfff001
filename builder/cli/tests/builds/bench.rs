//! A repository and an output directory of their own, and the command under test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use serde_json::Value;

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

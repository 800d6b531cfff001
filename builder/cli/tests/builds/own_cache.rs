//! A cache of a test's own, which takes what it needs of the shared one without copying it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::bench::{Bench, casemate};

/// A directory that is a cache, and the shared one.
pub(crate) struct OwnCache {
    pub(crate) dir: PathBuf,
    shared: PathBuf,
}

impl OwnCache {
    /// A cache in `dir` without packages, lists and stages; with the development keys, so that images are the same.
    pub(crate) fn new(dir: PathBuf) -> Result<Self> {
        let shared = Bench::cache()?;
        fs::create_dir_all(dir.join("stages"))?;
        symlink(shared.join("development-keys"), dir.join("development-keys"))?;
        Ok(Self { dir, shared })
    }

    /// Lets every package of the shared cache be in this one; those written later stay here.
    pub(crate) fn share_packages(&self) -> Result<()> {
        for entry in fs::read_dir(self.shared.join("packages/sha256"))? {
            let from = entry?;
            let to = self.dir.join("packages/sha256").join(from.file_name());
            fs::create_dir_all(&to)?;
            for package in fs::read_dir(from.path())? {
                let package = package?;
                let link = to.join(package.file_name());
                if !link.exists() {
                    symlink(package.path(), link)?;
                }
            }
        }
        Ok(())
    }

    /// Lets the packages that were chosen last be chosen here as well, without asking the archive.
    pub(crate) fn share_choice(&self) -> Result<()> {
        fs::create_dir_all(self.dir.join("locks"))?;
        for lock in fs::read_dir(self.shared.join("locks"))? {
            let lock = lock?;
            fs::copy(lock.path(), self.dir.join("locks").join(lock.file_name()))?;
        }
        Ok(())
    }

    /// Lets a finished stage of the shared cache be in this one.
    pub(crate) fn share_stage(&self, entry: &Path) -> Result<()> {
        Ok(symlink(entry, self.dir.join("stages").join(entry.file_name().context("no name")?))?)
    }

    /// `casemate` with this cache.
    pub(crate) fn casemate(&self) -> Command {
        let mut command = Command::new(casemate());
        command.arg("--cache").arg(&self.dir).args(["--progress", "plain"]).stdin(Stdio::null());
        command
    }

    /// What lies in the cache under names that no finished thing has.
    pub(crate) fn unfinished(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for dir in [self.dir.clone(), self.dir.join("stages")] {
            names.extend(hidden(&dir)?.into_iter().filter(|name| name != ".used"));
        }
        Ok(names)
    }
}

/// Names in a directory that start with a dot.
pub(crate) fn hidden(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            names.push(name);
        }
    }
    Ok(names)
}

/// Runs a command that must fail with this status, and returns what it said.
pub(crate) fn refusal(command: &mut Command, status: i32, what: &str) -> Result<String> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(status), "{what}: ended with {} instead of {status}:\n{said}", output.status);
    Ok(said)
}

/// Runs a command that must succeed.
pub(crate) fn success(command: &mut Command, what: &str) -> Result<Output> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}: ended with {}:\n{said}", output.status);
    Ok(output)
}

/// Fails unless a text has all of these parts.
pub(crate) fn says(text: &str, parts: &[&str], what: &str) -> Result<()> {
    let missing: Vec<&&str> = parts.iter().filter(|part| !text.contains(**part)).collect();
    ensure!(missing.is_empty(), "{what}: {missing:?} is not said:\n{text}");
    Ok(())
}

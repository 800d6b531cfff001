//! Collects what is wrong, so that one problem does not hide the others.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tools::Failure;

/// Problems found so far, each with the place where it is.
pub(super) struct Problems {
    dir: PathBuf,
    lines: Vec<String>,
}

impl Problems {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), lines: Vec::new() }
    }

    pub(super) fn add(&mut self, place: &str, what: &str) {
        self.lines.push(format!("{place}: {what}"));
    }

    /// Keeps the value of a check, or notes why it failed.
    pub(super) fn note<T>(&mut self, place: &str, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(place, &format!("{error:#}"))).ok()
    }

    /// One refusal that names every problem, or nothing.
    pub(super) fn finish(self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let message = format!("`{}` is not good:\n  {}", self.dir.display(), self.lines.join("\n  "));
        Err(Failure::refused(message)
            .hint("do not use it: build or fetch it again, or name the key that signed it")
            .into())
    }
}

//! The stage cache: a finished directory per stage and key.
//!
//! A stage's key is the digest of everything it reads. Its result is made in a temporary directory and renamed into place,
//! so a directory that exists is whole and an interrupted build leaves nothing that a later one could mistake for a result.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use sha2::{Digest as _, Sha256};

/// Collects what a stage reads, in order, and becomes its key.
#[derive(Debug, Clone)]
pub struct KeyBuilder(Sha256);

impl KeyBuilder {
    /// Starts a key for `stage`; `revision` changes whenever the stage's own code changes its result.
    pub fn new(stage: &str, revision: u32) -> Self {
        Self(Sha256::new()).text("stage", stage).text("revision", &revision.to_string())
    }

    /// Adds a labelled text.
    pub fn text(self, label: &str, value: &str) -> Self {
        self.bytes(label, value.as_bytes())
    }

    /// Adds labelled bytes; lengths are part of the key, so neighbours cannot run into each other.
    pub fn bytes(mut self, label: &str, value: &[u8]) -> Self {
        for part in [label.as_bytes(), value] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
        self
    }

    /// Finishes the key.
    pub fn finish(self) -> Key {
        Key(hex::encode(self.0.finalize()))
    }
}

/// The digest of all inputs of a stage, as hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The whole key, 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a stage had to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// The result was there.
    Cached,
    /// The stage ran.
    Made,
}

/// The directory that holds finished stages.
#[derive(Debug, Clone)]
pub struct StageCache {
    dir: PathBuf,
}

impl StageCache {
    /// A cache below `dir`, made when first needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Returns the finished directory of `stage` for `key`, running `make` on an empty directory if there is none.
    pub fn get_or_make(
        &self,
        stage: &str,
        key: &Key,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<(PathBuf, Hit)> {
        let done = self.dir.join(format!("{stage}-{}", &key.as_str()[..24]));
        if done.is_dir() {
            return Ok((done, Hit::Cached));
        }
        fs::create_dir_all(&self.dir)?;
        let making = tempfile::Builder::new()
            .prefix(&format!(".{stage}-"))
            .permissions(<std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755))
            .tempdir_in(&self.dir)
            .with_context(|| format!("cannot make a directory in `{}`", self.dir.display()))?;
        make(making.path())?;
        let finished = making.keep();
        match fs::rename(&finished, &done) {
            Ok(()) => Ok((done, Hit::Made)),
            // Another build finished the same stage meanwhile: its result is as good as ours.
            Err(_) if done.is_dir() => {
                fs::remove_dir_all(&finished)?;
                Ok((done, Hit::Cached))
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_inputs_make_equal_keys_and_neighbours_do_not_run_together() {
        let key = |a: &str, b: &str| KeyBuilder::new("s", 1).text("x", a).text("x", b).finish();
        assert_eq!(key("ab", "c"), key("ab", "c"));
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_ne!(KeyBuilder::new("s", 1).finish(), KeyBuilder::new("s", 2).finish());
    }

    #[test]
    fn a_failed_stage_leaves_nothing_and_the_next_run_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StageCache::new(dir.path().join("stages"));
        let key = KeyBuilder::new("s", 1).finish();
        let failed = cache.get_or_make("s", &key, |path| {
            fs::write(path.join("half"), "x")?;
            anyhow::bail!("cut")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(dir.path().join("stages")).unwrap().count(), 0);
        let write = |path: &Path| Ok(fs::write(path.join("whole"), "x")?);
        let (path, hit) = cache.get_or_make("s", &key, write).unwrap();
        assert!(path.join("whole").exists() && !path.join("half").exists());
        assert_eq!(hit, Hit::Made);
        let (_, hit) = cache.get_or_make("s", &key, |_| anyhow::bail!("must not run")).unwrap();
        assert_eq!(hit, Hit::Cached);
    }
}

//! The key of a stage: the digests of everything it reads, each under a name that a person knows.
//!
//! Equal key, equal result: that is the whole contract of the cache. The names are kept beside the result, so that a later build
//! can say which input made a stage run again.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// Texts up to this many bytes are kept as they are: people read them in `--explain`.
const LITERAL: usize = 80;

/// Collects what a stage reads and becomes its key.
#[derive(Debug, Clone)]
pub struct KeyBuilder {
    stage: &'static str,
    rows: BTreeMap<String, String>,
}

impl KeyBuilder {
    /// Starts a key for `stage`; `revision` changes whenever the stage's own code changes its result.
    pub fn new(stage: &'static str, revision: u32) -> Self {
        let rows = BTreeMap::from([("the builder's code".to_owned(), format!("revision {revision}"))]);
        Self { stage, rows }
    }

    /// Adds a text under a name; a name that is there already holds both, in order.
    pub fn text(self, name: &str, value: &str) -> Self {
        if value.len() > LITERAL || value.contains('\n') || value.starts_with("sha256:") {
            return self.bytes(name, value.as_bytes());
        }
        self.row(name, value)
    }

    /// Adds bytes under a name.
    pub fn bytes(self, name: &str, value: &[u8]) -> Self {
        self.row(name, &digest(value))
    }

    /// Adds the key of a stage that this one builds on.
    pub fn stage(self, key: &Key) -> Self {
        let name = format!("stage {}", key.stage);
        self.row(&name, &key.id)
    }

    /// Adds the key of a stage that this one builds on where it was run.
    pub fn stage_if(self, key: Option<&Key>) -> Self {
        match key {
            Some(key) => self.stage(key),
            None => self,
        }
    }

    /// Adds a file's content and mode.
    pub fn file(self, name: &str, path: &Path) -> Result<Self> {
        let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
        let content = fs::read(path)?;
        Ok(self.row(name, &format!("{mode:o} {}", digest(&content))))
    }

    /// Adds everything below `dir`, each path a row of its own under `name/`.
    pub fn tree(self, name: &str, dir: &Path) -> Result<Self> {
        self.tree_where(name, dir, |_| true)
    }

    /// Adds what is below `dir` and wanted; `wanted` sees the path below `dir`, with a leading `/`.
    pub fn tree_where(mut self, name: &str, dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        for entry in WalkDir::new(dir).min_depth(1).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot read `{}`", dir.display()))?;
            let below = format!("/{}", entry.path().strip_prefix(dir)?.to_string_lossy());
            if wanted(&below) {
                self = self.entry(&format!("{name}{below}"), &entry)?;
            }
        }
        Ok(self)
    }

    /// Finishes the key.
    pub fn finish(self) -> Key {
        let mut hash = Sha256::new();
        for part in std::iter::once(self.stage).chain(self.rows.iter().flat_map(|(name, value)| [&**name, &**value])) {
            // Lengths are part of the key, so neighbours cannot run into each other.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Key { stage: self.stage.to_owned(), id: hex::encode(hash.finalize()), rows: self.rows }
    }

    fn entry(self, name: &str, entry: &walkdir::DirEntry) -> Result<Self> {
        use std::os::unix::fs::FileTypeExt as _;
        let (metadata, path) = (entry.metadata()?, entry.path());
        let mode = metadata.permissions().mode() & 0o7777;
        let kind = metadata.file_type();
        let value = if kind.is_symlink() {
            format!("link to {}", fs::read_link(path)?.display())
        } else if kind.is_dir() {
            format!("directory {mode:o}")
        } else if kind.is_char_device() {
            "removed".to_owned()
        } else {
            format!("{mode:o} {}", digest(&fs::read(path)?))
        };
        Ok(self.row(name, &value))
    }

    fn row(mut self, name: &str, value: &str) -> Self {
        let row = self.rows.entry(name.to_owned()).or_default();
        if !row.is_empty() {
            row.push_str(" | ");
        }
        row.push_str(value);
        self
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// All inputs of a stage, by name, and the digest that stands for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    stage: String,
    id: String,
    rows: BTreeMap<String, String>,
}

impl Key {
    /// The stage that it belongs to.
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// 64 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Name of the result in the cache.
    pub fn entry_name(&self) -> String {
        format!("{}-{}", self.stage, &self.id[..24])
    }

    /// The names of inputs in which `self` differs from `before`, sorted.
    pub fn differences<'k>(&'k self, before: &'k Self) -> Vec<&'k str> {
        let mut names: Vec<&str> =
            self.rows.iter().filter(|(name, value)| before.rows.get(*name) != Some(value)).map(|(n, _)| &**n).collect();
        names.extend(before.rows.keys().filter(|name| !self.rows.contains_key(*name)).map(String::as_str));
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_inputs_make_equal_keys_and_neighbours_do_not_run_together() {
        let key = |a: &str, b: &str| KeyBuilder::new("s", 1).text("x", a).text("y", b).finish();
        assert_eq!(key("ab", "c"), key("ab", "c"));
        assert_ne!(key("ab", "c").id(), key("a", "bc").id());
        assert_ne!(KeyBuilder::new("s", 1).finish().id(), KeyBuilder::new("s", 2).finish().id());
        assert_ne!(KeyBuilder::new("s", 1).finish().id(), KeyBuilder::new("t", 1).finish().id());
    }

    #[test]
    fn a_change_is_named_whether_it_is_new_gone_or_different() {
        let dir = tempfile::tempdir().unwrap();
        let key = || KeyBuilder::new("s", 1).tree("overlays", dir.path()).unwrap().finish();
        fs::write(dir.path().join("kept"), "x").unwrap();
        fs::write(dir.path().join("gone"), "x").unwrap();
        fs::write(dir.path().join("other"), "x").unwrap();
        let before = key();
        assert!(key().differences(&before).is_empty());
        fs::remove_file(dir.path().join("gone")).unwrap();
        fs::write(dir.path().join("new"), "x").unwrap();
        fs::write(dir.path().join("other"), "y").unwrap();
        assert_eq!(key().differences(&before), ["overlays/gone", "overlays/new", "overlays/other"]);
    }

    #[test]
    fn a_mode_and_a_link_are_inputs_too() {
        let dir = tempfile::tempdir().unwrap();
        let key = || KeyBuilder::new("s", 1).tree("o", dir.path()).unwrap().finish();
        fs::write(dir.path().join("f"), "x").unwrap();
        std::os::unix::fs::symlink("f", dir.path().join("l")).unwrap();
        let before = key();
        fs::set_permissions(dir.path().join("f"), std::fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(dir.path().join("l")).unwrap();
        std::os::unix::fs::symlink("g", dir.path().join("l")).unwrap();
        assert_eq!(key().differences(&before), ["o/f", "o/l"]);
    }
}

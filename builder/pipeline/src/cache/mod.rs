//! The stage cache: a finished directory per stage and key.
//!
//! A stage's key is the digest of everything it reads. Its result is made in a temporary directory and renamed into place,
//! so a directory that exists is whole and an interrupted build leaves nothing that a later one could mistake for a result.
//! An entry that was written to since is not used: it is made again.

mod key;
mod outputs;
mod prune;
mod stamp;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Result;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use tools::{ResultExt as _, Scratch, full_disk, scratch};

pub use key::{Key, KeyBuilder};
pub use outputs::{OutputRecord, Outputs};
pub(crate) use prune::ASSETS;
pub use prune::{CacheUse, InUse, Limit, Pruned};

/// What each entry says of itself.
const ENTRY_FILE: &str = "entry.json";

/// Start of the names of stages that are being made.
const MAKING: &str = ".new-";
/// Start of the names of what holds a changed entry until it is removed.
const CHANGED: &str = ".changed-";

/// Whether a stage had to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hit {
    /// The result was there.
    Cached,
    /// The stage ran.
    Made,
    /// The result was there and had been changed, so the stage ran.
    Repaired,
}

/// A stage that a build asked for: its key and what became of it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its inputs.
    pub key: Key,
    /// Whether it ran.
    pub hit: Hit,
}

/// What an entry says of itself: made of what, and what it looked like when it was finished.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    key: Key,
    stamp: String,
    /// What it takes on disk, so that nobody has to count it again after each build; `None` in entries of older builders.
    #[serde(default)]
    bytes: Option<u64>,
}

impl Entry {
    /// What the entry in `done` says of itself, if it can be read.
    fn of(done: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(done.join(ENTRY_FILE)).ok()?).ok()
    }
}

/// The directory that holds finished stages.
#[derive(Debug)]
pub struct StageCache {
    dir: PathBuf,
    asked: Mutex<Vec<Asked>>,
}

impl StageCache {
    /// A cache below `dir`, made when first needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, asked: Mutex::new(Vec::new()) }
    }

    /// Returns the finished directory for `key`, running `make` on an empty directory if there is none.
    pub fn get_or_make(&self, key: &Key, make: impl FnOnce(&Path) -> Result<()>) -> Result<(PathBuf, Hit)> {
        let done = self.dir.join(key.entry_name());
        let hit = match self.state_of(&done) {
            State::Good => Hit::Cached,
            State::Missing => Hit::Made,
            State::Changed => {
                self.set_aside(&done)?;
                Hit::Repaired
            }
        };
        if hit != Hit::Cached {
            self.make(key, &done, make)?;
        }
        prune::mark_used(&done)?;
        self.record(key, hit);
        Ok((done, hit))
    }

    /// Whether a good result for `key` is there.
    pub fn has(&self, key: &Key) -> bool {
        self.state_of(&self.dir.join(key.entry_name())) == State::Good
    }

    /// Notes that results are still wanted, where they are.
    pub fn mark_used<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Result<()> {
        let entries = keys.into_iter().map(|key| self.dir.join(key.entry_name())).filter(|entry| entry.exists());
        entries.into_iter().try_for_each(|entry| prune::mark_used(&entry))
    }

    /// The key that was last asked for under this stage's name.
    pub fn key_of(&self, stage: &str) -> Option<Key> {
        self.asked().into_iter().find(|row| row.key.stage() == stage).map(|row| row.key)
    }

    /// Notes what became of a stage whose result is not kept here.
    pub fn record(&self, key: &Key, hit: Hit) {
        let mut asked = self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        asked.retain(|row| row.key.stage() != key.stage());
        asked.push(Asked { key: key.clone(), hit });
    }

    /// Every stage that was asked for, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn make(&self, key: &Key, done: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        fs::create_dir_all(&self.dir)?;
        let mut making = Scratch::new(&self.dir, &format!("{MAKING}{}-", key.stage())).remedied()?;
        fill(&making, key, make).map_err(|error| name_stage(error, key, &self.dir))?;
        match making.rename(done) {
            // Another build finished the same stage meanwhile: its result is as good as ours.
            Err(_) if self.state_of(done) == State::Good => Ok(()),
            other => other.remedied(),
        }
    }

    /// Removes what killed builds left of stages that they did not finish; returns how many.
    pub fn remove_abandoned(&self) -> Result<usize> {
        let abandoned = [MAKING, CHANGED].map(|prefix| scratch::remove_abandoned(&self.dir, prefix).remedied());
        abandoned.into_iter().map(|removed| Ok(removed?.len())).sum()
    }

    fn state_of(&self, done: &Path) -> State {
        let Some(entry) = Entry::of(done) else {
            // A directory without its note is none of ours, or was cut while it was being removed.
            return if done.exists() { State::Changed } else { State::Missing };
        };
        let unchanged = self.dir.join(entry.key.entry_name()) == done
            && stamp::of_dir(done, ENTRY_FILE).is_ok_and(|stamp| stamp == entry.stamp);
        if unchanged { State::Good } else { State::Changed }
    }

    /// Takes a changed entry out of the way first, so that half a removal cannot be found under its name.
    fn set_aside(&self, done: &Path) -> Result<()> {
        let aside = Scratch::new(&self.dir, CHANGED).remedied()?;
        Ok(fs::rename(done, aside.path().join("entry"))?)
    }
}

/// Runs a stage on its empty directory and notes what became of it.
fn fill(making: &Scratch, key: &Key, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    make(making.path())?;
    let bytes = Some(prune::size_of(making.path()));
    let entry = Entry { key: key.clone(), stamp: stamp::of_dir(making.path(), ENTRY_FILE)?, bytes };
    tools::write_atomic(&making.path().join(ENTRY_FILE), &serde_json::to_vec_pretty(&entry)?, 0o644).remedied()
}

/// Programs name paths of their sandbox; where the disk is full, that does not say which disk.
fn name_stage(error: anyhow::Error, key: &Key, dir: &Path) -> anyhow::Error {
    if full_disk::is_behind(&error) {
        return error.context(format!("cannot make the stage `{}` in `{}`", key.stage(), dir.display()));
    }
    error
}

/// What is under an entry's name.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Missing,
    Good,
    Changed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, StageCache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = StageCache::new(dir.path().join("stages"));
        (dir, cache)
    }

    fn whole(path: &Path) -> Result<()> {
        Ok(fs::write(path.join("whole"), "x")?)
    }

    #[test]
    fn a_failed_stage_leaves_nothing_and_the_next_run_makes_it() {
        let (dir, cache) = cache();
        let key = KeyBuilder::new("s", 1).finish();
        let failed = cache.get_or_make(&key, |path| {
            fs::write(path.join("half"), "x")?;
            anyhow::bail!("cut")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(dir.path().join("stages")).unwrap().count(), 0);
        let (path, hit) = cache.get_or_make(&key, whole).unwrap();
        assert!(path.join("whole").exists() && !path.join("half").exists());
        assert_eq!(hit, Hit::Made);
        let (_, hit) = cache.get_or_make(&key, |_| anyhow::bail!("must not run")).unwrap();
        assert_eq!(hit, Hit::Cached);
    }

    #[test]
    fn an_entry_that_was_written_to_is_made_again() {
        let (_dir, cache) = cache();
        let key = KeyBuilder::new("s", 1).finish();
        let (path, _) = cache.get_or_make(&key, whole).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(path.join("whole"), "y").unwrap();
        let (path, hit) = cache.get_or_make(&key, whole).unwrap();
        assert_eq!((hit, fs::read_to_string(path.join("whole")).unwrap().as_str()), (Hit::Repaired, "x"));
    }

    #[test]
    fn an_entry_without_its_note_is_made_again() {
        let (_dir, cache) = cache();
        let key = KeyBuilder::new("s", 1).finish();
        let (path, _) = cache.get_or_make(&key, whole).unwrap();
        fs::remove_file(path.join(ENTRY_FILE)).unwrap();
        assert_eq!(cache.get_or_make(&key, whole).unwrap().1, Hit::Repaired);
    }

    #[test]
    fn whatever_was_done_to_an_entry_it_is_made_again_as_it_was() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        type Damage = fn(&Path) -> std::io::Result<()>;
        let damages: [(&str, Damage); 9] = [
            ("changed", |dir| fs::write(dir.join("d/whole"), "y")),
            ("truncated", |dir| fs::write(dir.join("d/whole"), "")),
            ("removed", |dir| fs::remove_file(dir.join("d/whole"))),
            ("mode", |dir| fs::set_permissions(dir.join("d/whole"), std::fs::Permissions::from_mode(0o600))),
            ("mode of the directory", |dir| fs::set_permissions(dir.join("d"), std::fs::Permissions::from_mode(0o700))),
            ("added", |dir| fs::write(dir.join("d/more"), "")),
            ("link", |dir| fs::remove_file(dir.join("link")).and_then(|()| symlink("elsewhere", dir.join("link")))),
            ("replaced", |dir| {
                fs::write(dir.join("d/other"), "x")?;
                fs::rename(dir.join("d/other"), dir.join("d/whole"))
            }),
            ("note", |dir| fs::write(dir.join(ENTRY_FILE), "{}")),
        ];
        let make = |dir: &Path| {
            fs::create_dir(dir.join("d"))?;
            symlink("d/whole", dir.join("link"))?;
            whole(&dir.join("d"))
        };
        let (_dir, cache) = cache();
        let key = KeyBuilder::new("s", 1).finish();
        for (what, damage) in damages {
            let (path, _) = cache.get_or_make(&key, make).unwrap();
            assert!(cache.has(&key), "{what}");
            std::thread::sleep(std::time::Duration::from_millis(20));
            damage(&path).unwrap();
            assert!(!cache.has(&key), "{what}");
            assert_eq!(cache.get_or_make(&key, make).unwrap().1, Hit::Repaired, "{what}");
            assert_eq!(fs::read_to_string(path.join("link")).unwrap(), "x", "{what}");
            assert_eq!(fs::read_dir(path.join("d")).unwrap().count(), 1, "{what}");
        }
    }

    #[test]
    fn what_a_killed_build_left_is_removed_and_what_a_running_one_makes_is_not() {
        let (dir, cache) = cache();
        let left = dir.path().join("stages/.new-s-left");
        fs::create_dir_all(left.join("root")).unwrap();
        let key = KeyBuilder::new("s", 1).finish();
        let make = |path: &Path| {
            assert_eq!(cache.remove_abandoned().unwrap(), 1);
            whole(path)
        };
        let (path, _) = cache.get_or_make(&key, make).unwrap();
        assert!(path.join("whole").is_file() && !left.exists());
    }

    #[test]
    fn a_stage_that_finds_the_disk_full_names_itself_and_its_place() {
        let (dir, cache) = cache();
        let full = |_: &Path| Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into());
        let error = cache.get_or_make(&KeyBuilder::new("seal", 1).finish(), full).unwrap_err().to_string();
        assert_eq!(error, format!("cannot make the stage `seal` in `{}`", dir.path().join("stages").display()));
    }

    #[test]
    fn each_stage_that_was_asked_for_is_told_once() {
        let (_dir, cache) = cache();
        let key = KeyBuilder::new("s", 1).finish();
        cache.get_or_make(&key, whole).unwrap();
        cache.get_or_make(&key, whole).unwrap();
        let asked = cache.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].hit, Hit::Cached);
    }
}

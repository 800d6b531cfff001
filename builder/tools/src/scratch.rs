//! Directories for what is not finished: under a final name stands the whole of it or nothing, and nothing else is left.
//!
//! Each is locked for as long as its owner lives. The kernel frees the lock with the process, so the next program knows what a
//! killed one left behind. Where a signal ends this program in good order, its directories go first ([`crate::interrupt`]).

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::atomic::publish_dir;
use crate::fs::{self, AtPath, PathError};
use crate::mount;

/// Directories of this process; giving one its final name and removing all of them exclude each other.
static OPEN: Mutex<Open> = Mutex::new(Open { paths: BTreeSet::new(), closed: false });
/// Attempts to remove a directory into which other threads still write.
const ATTEMPTS: usize = 50;

struct Open {
    paths: BTreeSet<PathBuf>,
    /// The program is ending: no new directory, no final name.
    closed: bool,
}

/// A directory that goes away with its owner unless it is given a final name.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    given_away: bool,
    // Freed after the directory is gone, so nobody takes it for an abandoned one meanwhile.
    _lock: Option<File>,
}

impl Scratch {
    /// Makes a directory in `parent` whose name starts with `prefix`; everyone may look into it.
    pub fn new(parent: &Path, prefix: &str) -> Result<Self, PathError> {
        loop {
            let mut open = open();
            open.check(parent)?;
            let dir = tempfile::Builder::new()
                .prefix(prefix)
                .permissions(Permissions::from_mode(0o755))
                .tempdir_in(parent)
                .at("make a directory in", parent)?;
            let lock = File::open(dir.path()).at("open directory", dir.path())?;
            // A file system without locks: nobody can tell that it is in use, so nobody removes it either.
            let lock = lock.lock().is_ok().then_some(lock);
            // Between the two calls somebody may have taken it for an abandoned one.
            if lock.as_ref().is_none_or(|lock| is_at(lock, dir.path())) {
                let path = dir.keep();
                open.paths.insert(path.clone());
                return Ok(Self { path, given_away: false, _lock: lock });
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its final name, where nothing may be.
    pub fn rename(&mut self, target: &Path) -> Result<(), PathError> {
        self.give(|path| fs::rename(path, target))
    }

    /// Flushes it to the disk and gives it its final name in one step, in place of what is there.
    pub fn publish(mut self, target: &Path) -> Result<(), PathError> {
        self.give(|path| publish_dir(path, target))
    }

    fn give(&mut self, give: impl FnOnce(&Path) -> Result<(), PathError>) -> Result<(), PathError> {
        let mut open = open();
        open.check(&self.path)?;
        give(&self.path)?;
        open.paths.remove(&self.path);
        self.given_away = true;
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.given_away {
            // What cannot be removed now is removed by the next program that looks.
            let _ = fs::remove_dir_all_if_exists(&self.path);
            open().paths.remove(&self.path);
        }
    }
}

impl Open {
    fn check(&self, path: &Path) -> Result<(), PathError> {
        if self.closed {
            return Err(PathError::new("go on with", path, io::Error::from(io::ErrorKind::Interrupted)));
        }
        Ok(())
    }
}

/// Removes the directories in `parent` whose names start with `prefix` and whose owners are gone; returns their paths.
pub fn remove_abandoned(parent: &Path, prefix: &str) -> Result<Vec<PathBuf>, PathError> {
    let mut removed = Vec::new();
    let Ok(list) = std::fs::read_dir(parent) else {
        return Ok(removed);
    };
    for entry in list.flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_string_lossy().starts_with(prefix);
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(lock) = File::open(&path) else { continue };
        if lock.try_lock().is_ok() {
            fs::remove_dir_all_if_exists(&path)?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Removes all directories of this process and lets no other be made or get a final name: the program is about to end.
pub(crate) fn close() {
    let mut open = open();
    open.closed = true;
    for path in std::mem::take(&mut open.paths) {
        mount::detach_below(&path);
        // Threads that still write into it find no directory soon.
        for _ in 0..ATTEMPTS {
            if fs::remove_dir_all_if_exists(&path).is_ok() && !path.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn open() -> MutexGuard<'static, Open> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().ok().map(id).is_some_and(|held| std::fs::metadata(path).ok().map(id) == Some(held))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let list = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        list.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn what_is_not_given_a_name_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path(), ".work-").unwrap();
        std::fs::write(scratch.path().join("half"), "x").unwrap();
        drop(scratch);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn what_is_given_a_name_stands_there_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("final");
        for content in ["one", "two"] {
            let scratch = Scratch::new(dir.path(), ".work-").unwrap();
            std::fs::write(scratch.path().join(content), content).unwrap();
            scratch.publish(&target).unwrap();
            assert_eq!((names(&target), names(dir.path())), (vec![content.to_owned()], vec!["final".to_owned()]));
        }
    }

    #[test]
    fn a_failed_rename_leaves_the_directory_to_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("final/full")).unwrap();
        let mut scratch = Scratch::new(dir.path(), ".work-").unwrap();
        std::fs::write(scratch.path().join("x"), "x").unwrap();
        assert!(scratch.rename(&dir.path().join("final")).is_err());
        assert!(scratch.path().is_dir());
        drop(scratch);
        assert_eq!(names(dir.path()), ["final"]);
    }

    #[test]
    fn only_what_nobody_holds_is_abandoned() {
        let dir = tempfile::tempdir().unwrap();
        let held = Scratch::new(dir.path(), ".work-").unwrap();
        let left = dir.path().join(".work-of-a-killed-one");
        std::fs::create_dir_all(left.join("below")).unwrap();
        std::fs::create_dir(dir.path().join("other")).unwrap();
        assert_eq!(remove_abandoned(dir.path(), ".work-").unwrap(), std::slice::from_ref(&left));
        assert!(held.path().is_dir() && !left.exists() && dir.path().join("other").is_dir());
    }
}

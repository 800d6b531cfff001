//! The directory of a guest: a scratch one that goes at the end, or one that the user names and that stays.
//!
//! Ctrl-C ends this process on the spot, so a scratch directory may be left behind. Each holds a locked file; the kernel
//! frees the lock with the process, and the next start removes every directory that nobody holds.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tools::{Failure, failure::HintExt as _};

/// Start of the names of scratch directories.
const PREFIX: &str = "guest-";
/// The file whose lock says that somebody works here.
const LOCK: &str = ".lock";

/// A directory that is ours as long as this lives.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
    // Dropped after `Drop::drop`, so nobody takes a directory that is being removed.
    _lock: File,
    scratch: bool,
}

impl WorkDir {
    /// A new directory below `parent`, removed at the end; abandoned ones are removed now.
    pub(crate) fn scratch(parent: &Path) -> Result<Self> {
        fs_err::create_dir_all(parent)?;
        sweep(parent)?;
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?.keep();
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock, scratch: true })
    }

    /// A directory that stays, with what it holds.
    pub(crate) fn kept(path: &Path) -> Result<Self> {
        fs_err::create_dir_all(path).or_refuse("name a directory that can be written with `--keep DIR`")?;
        let path = fs_err::canonicalize(path)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock, scratch: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing of it outlives this process.
    pub(crate) fn is_scratch(&self) -> bool {
        self.scratch
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.scratch {
            // What cannot be removed now is removed by the next start.
            let _ = fs_err::remove_dir_all(&self.path);
        }
    }
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open `{}`", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::refused(format!("another casemate works in `{}`", dir.display()))
                .hint("end the other one first, or name another directory")
                .into())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock `{}`", path.display())),
    }
}

/// Removes scratch directories whose process is gone. One without a lock file is just being made.
fn sweep(parent: &Path) -> Result<()> {
    for entry in fs_err::read_dir(parent)? {
        let entry = entry?;
        let abandoned = entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.path().join(LOCK).exists();
        if abandoned && let Ok(_lock) = lock(&entry.path()) {
            fs_err::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_directory_goes_with_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let dir = WorkDir::scratch(parent.path()).unwrap();
        let path = dir.path().to_owned();
        assert!(path.is_dir() && dir.is_scratch());
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn abandoned_directories_are_removed_and_living_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let abandoned = parent.path().join("guest-old");
        fs_err::create_dir(&abandoned).unwrap();
        fs_err::write(abandoned.join(LOCK), "").unwrap();
        let other = parent.path().join("other");
        fs_err::create_dir(&other).unwrap();
        fs_err::write(other.join(LOCK), "").unwrap();
        let living = WorkDir::scratch(parent.path()).unwrap();
        let second = WorkDir::scratch(parent.path()).unwrap();
        assert!(!abandoned.exists() && other.exists());
        assert!(living.path().exists() && second.path().exists());
    }

    #[test]
    fn a_kept_directory_stays_and_has_one_user() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("web1");
        let first = WorkDir::kept(&path).unwrap();
        let text = tools::failure::render(&WorkDir::kept(&path).unwrap_err());
        assert!(text.contains("another casemate works in"), "{text}");
        drop(first);
        assert!(path.is_dir());
        WorkDir::kept(&path).unwrap();
    }
}

//! The one way the agent changes the disk: each change is complete or absent after a cut.
//!
//! A file is written beside its name, flushed, renamed, and its directory flushed. Every system call that changes
//! something passes through [`Files::step`], so a test can stop the program before any of them and run it again.
//! Nothing here follows a wish of its own: no retry, no repair, no clean-up after a failure.

mod access;
mod foreign;

use std::fs;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use rustix::fs::CWD;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use thiserror::Error;

pub use access::Access;
pub use access::Ownership;
pub use foreign::read_foreign;

use crate::accounts::Owner;

/// A change that failed, with its path.
#[derive(Debug, Error)]
#[error("cannot {action} `{path}`: {source}")]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

/// The changing half of the file system.
#[derive(Debug)]
pub struct Files {
    ownership: Ownership,
    /// How many steps may still be done; `u64::MAX` is without end.
    steps_left: AtomicU64,
    /// How many bytes of the write that is cut still reach the disk.
    torn: AtomicUsize,
    /// The number of the system's error with which the last one fails, while all others succeed; 0 where the power goes instead.
    error: AtomicI32,
}

impl Files {
    /// Changes without end.
    pub fn new(ownership: Ownership) -> Self {
        Self { ownership, steps_left: AtomicU64::new(u64::MAX), torn: AtomicUsize::new(0), error: AtomicI32::new(0) }
    }

    /// Does `steps` changes from now on and refuses all that come after, as if the power had gone; `u64::MAX` lifts the limit.
    pub fn cut_after(&self, steps: u64) {
        self.tear_after(steps, 0);
    }

    /// The same, and if the step that is cut is a [`Files::write_at`], its first `bytes` are written.
    pub fn tear_after(&self, steps: u64, bytes: usize) {
        self.torn.store(bytes, Ordering::Relaxed);
        self.error.store(0, Ordering::Relaxed);
        self.steps_left.store(steps, Ordering::Relaxed);
    }

    /// Does `steps` changes from now on, refuses the next as a disk does that is full or broken, and does all that come after.
    pub fn fail_after(&self, steps: u64, bytes: usize, error: Errno) {
        self.tear_after(steps, bytes);
        self.error.store(error.raw_os_error(), Ordering::Relaxed);
    }

    /// Accounts for one change; a fake program of a test calls it as well.
    pub fn step(&self) -> io::Result<()> {
        match self.steps_left.load(Ordering::Relaxed) {
            u64::MAX => Ok(()),
            0 => match self.error.load(Ordering::Relaxed) {
                0 => Err(io::Error::other("cut here by a test")),
                error => {
                    self.steps_left.store(u64::MAX, Ordering::Relaxed);
                    Err(io::Error::from_raw_os_error(error))
                }
            },
            left => {
                self.steps_left.store(left - 1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Puts a file in place whole, or leaves what was there. Equal content, mode and owner are not written again.
    pub fn write(&self, path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
        if self.is_equal(path, bytes, access) {
            return Ok(());
        }
        let temporary = temporary_name(path);
        self.write_new(&temporary, bytes, access)?;
        self.rename(&temporary, path)
    }

    /// Makes a directory and those above it; an existing one gets mode and owner. A new one appears with both already set.
    pub fn make_directory(&self, path: &Path, access: Access) -> Result<(), FileError> {
        if path.is_dir() {
            return self.set_access(path, access);
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
            self.make_directory(parent, Access::PUBLIC_DIRECTORY)?;
        }
        let new = temporary_name(path);
        self.remove(&new)?;
        self.named("make directory", &new, || fs::DirBuilder::new().mode(access.mode & 0o700).create(&new))?;
        self.set_access(&new, access)?;
        self.rename(&new, path)
    }

    /// Makes a directory if there is none; an existing one is left as it is, since another rule has made it.
    pub fn ensure_directory(&self, path: &Path, access: Access) -> Result<(), FileError> {
        if path.is_dir() { Ok(()) } else { self.make_directory(path, access) }
    }

    /// Renames within one file system, replacing a file, and makes it last.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.named("rename to", to, || fs::rename(from, to))?;
        self.flush_parent(to)
    }

    /// The same on FAT, which makes the new name first and writes size and place of the file into it with the file's inode: that is flushed before the
    /// folder, so that a power cut finds no name with nothing behind it.
    pub fn rename_on_fat(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.named("rename to", to, || fs::rename(from, to))?;
        self.named("flush", to, || fs::File::open(to)?.sync_all())?;
        self.flush_parent(to)
    }

    /// Lets a file take the place of another on FAT, and a cut find all of one or all of the other there. The kernel writes size and place of the new file
    /// into the entry of the old one, 32 bytes of one sector, and gives the clusters of the old file back once nobody has it open: so it is held open
    /// until that entry is on the disk, and what is given back is on the disk before anything else is written.
    pub fn replace_on_fat(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let folder = to.parent().unwrap_or(Path::new("/"));
        let old = fs::File::open(to).map_err(|source| FileError { action: "open", path: to.to_owned(), source })?;
        self.rename_on_fat(from, to)?;
        self.flush_file_system(folder)?;
        drop(old);
        self.flush_file_system(folder)
    }

    /// Points a link somewhere else in one step.
    pub fn link(&self, target: &Path, path: &Path) -> Result<(), FileError> {
        if fs::read_link(path).is_ok_and(|old| old == target) {
            return Ok(());
        }
        let temporary = temporary_name(path);
        self.remove(&temporary)?;
        self.named("make link", &temporary, || std::os::unix::fs::symlink(target, &temporary))?;
        self.rename(&temporary, path)
    }

    /// Puts a finished directory in the place of another in one step; what was there before is gone afterwards.
    pub fn swap_directory(&self, new: &Path, place: &Path) -> Result<(), FileError> {
        if !place.exists() {
            return self.rename(new, place);
        }
        self.exchange(new, place)?;
        self.remove(new)
    }

    /// Lets two directories change places in one step.
    pub fn exchange(&self, new: &Path, place: &Path) -> Result<(), FileError> {
        self.named("exchange with", place, || exchange(new, place))?;
        self.flush_parent(place)
    }

    /// Removes a file or a whole directory; nothing there is fine.
    pub fn remove(&self, path: &Path) -> Result<(), FileError> {
        match fs::symlink_metadata(path) {
            Err(_) => Ok(()),
            Ok(found) if found.is_dir() => self.named("remove", path, || fs::remove_dir_all(path)),
            Ok(_) => self.named("remove", path, || fs::remove_file(path)),
        }
    }

    /// Gives a file or directory its mode and owner, if it has not got them.
    pub fn set_access(&self, path: &Path, access: Access) -> Result<(), FileError> {
        if access.is_at(path, self.ownership) {
            return Ok(());
        }
        // The owner first: a change of owner clears bits of the mode.
        if self.ownership == Ownership::Set {
            let Owner { uid, gid } = access.owner;
            self.named("set the owner of", path, || std::os::unix::fs::chown(path, Some(uid), Some(gid)))?;
        }
        self.named("set the mode of", path, || fs::set_permissions(path, fs::Permissions::from_mode(access.mode)))
    }

    /// Flushes a file that a program wrote and gives it its final name.
    pub fn publish(&self, written: &Path, path: &Path, access: Access) -> Result<(), FileError> {
        self.set_access(written, access)?;
        self.named("flush", written, || fs::File::open(written)?.sync_all())?;
        self.rename(written, path)
    }

    /// Makes an empty file for [`Files::write_at`] that only its owner may read; one that is there is replaced.
    pub fn create(&self, path: &Path) -> Result<fs::File, FileError> {
        self.remove(path)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        self.named("create", path, || options.open(path))
    }

    /// Writes at a place of an open file or device. Nothing is flushed.
    pub fn write_at(&self, path: &Path, file: &fs::File, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        let written = self.step().inspect_err(|_| {
            let reached = self.torn.load(Ordering::Relaxed).min(bytes.len());
            // The cut is what is told of; a test that tears looks at the bytes.
            let _ = file.write_all_at(bytes.get(..reached).unwrap_or_default(), offset);
        });
        let written = written.and_then(|()| file.write_all_at(bytes, offset));
        written.map_err(|source| FileError { action: "write", path: path.to_owned(), source })
    }

    /// Makes what was written to an open file or device last.
    pub fn flush(&self, path: &Path, file: &fs::File) -> Result<(), FileError> {
        self.named("flush", path, || file.sync_all())
    }

    /// Makes everything in the file system of a folder last, and the folder itself.
    pub fn flush_file_system(&self, folder: &Path) -> Result<(), FileError> {
        self.named("flush", folder, || {
            let opened = fs::File::open(folder)?;
            opened.sync_all()?;
            Ok(rustix::fs::syncfs(&opened)?)
        })
    }

    fn write_new(&self, path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
        self.remove(path)?;
        // Only the owner may read while the content is not yet protected by the final mode.
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(access.mode & 0o600);
        let mut file = self.named("create", path, || options.open(path))?;
        self.named("write", path, || file.write_all(bytes))?;
        self.set_access(path, access)?;
        self.named("flush", path, || file.sync_all())
    }

    fn flush_parent(&self, path: &Path) -> Result<(), FileError> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        self.named("flush", parent, || fs::File::open(parent)?.sync_all())
    }

    fn is_equal(&self, path: &Path, bytes: &[u8], access: Access) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
            && access.is_at(path, self.ownership)
            && fs::read(path).is_ok_and(|found| found == bytes)
    }

    fn named<T>(
        &self,
        action: &'static str,
        path: &Path,
        change: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, FileError> {
        self.step().and_then(|()| change()).map_err(|source| FileError { action, path: path.to_owned(), source })
    }
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// A fixed name, so that what a cut left behind is replaced by the next run.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests;

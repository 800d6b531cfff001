//! The root directory of a tree, and the few ways to change what is in it.
//!
//! Every path is resolved by the kernel *beneath* the root (`openat2` with `RESOLVE_IN_ROOT`): symlinks in the tree, absolute or
//! not, lead to places in the tree and nowhere else, as if the root were `/`. The last component is never followed when something
//! is written. Nothing is synced: a tree that was not finished is thrown away.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::tree_path::TreePath;

/// Tries for a resolution that the kernel breaks off because something was renamed meanwhile.
const RESOLVE_TRIES: u32 = 64;

/// A change in the tree failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{path}` beneath `{root}`; look at free space and rights of the root directory")]
pub struct TreeError {
    /// What was tried.
    pub action: &'static str,
    /// Where.
    pub path: String,
    /// The root of the tree.
    pub root: PathBuf,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

/// Whether owners are written; only root may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Set the numeric owner of the package.
    Numeric,
    /// Leave what the system gives to the building user.
    Keep,
}

/// Metadata of a thing in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits including setuid, setgid and sticky.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
}

/// An open root directory.
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
    path: PathBuf,
    ownership: Ownership,
}

impl RootDir {
    /// Opens an existing directory as root of a tree.
    pub fn open(path: &Path, ownership: Ownership) -> Result<Self, TreeError> {
        let fail = |source: Errno| TreeError {
            action: "open",
            path: "/".into(),
            root: path.to_owned(),
            source: source.into(),
        };
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(fail)?;
        Ok(Self { fd, path: path.to_owned(), ownership })
    }

    /// Where the root is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Wraps an error of the system with action and place.
    pub fn error(&self, action: &'static str, path: impl std::fmt::Display, source: impl Into<io::Error>) -> TreeError {
        TreeError { action, path: path.to_string(), root: self.path.clone(), source: source.into() }
    }

    /// Opens a directory, through symlinks that stay beneath the root.
    pub fn open_directory(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// The directory that holds the path; missing ones are made with mode 0755.
    pub fn open_parent(&self, path: &TreePath) -> Result<OwnedFd, TreeError> {
        let parent = path.split().map_or("", |(parent, _)| parent);
        match self.open_directory(parent) {
            Err(Errno::NOENT) => {
                self.make_directories(parent)?;
                self.open_directory(parent)
            }
            other => other,
        }
        .map_err(|error| self.error("open the directory of", path, error))
    }

    /// Metadata of the thing itself, not of what a link leads to; `None` if there is none.
    pub fn stat(&self, path: &TreePath) -> Result<Option<Stat>, TreeError> {
        let (parent, name) = path.split().unwrap_or(("", "."));
        let found = self
            .open_directory(parent)
            .and_then(|directory| rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW));
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(self.error("look at", path, error)),
        }
    }

    /// The whole content of a file, following links beneath the root; `None` if there is none.
    pub fn read(&self, path: &TreePath) -> Result<Option<Vec<u8>>, TreeError> {
        let mut bytes = Vec::new();
        match self.open_beneath(path.as_str(), OFlags::RDONLY) {
            Ok(fd) => File::from(fd).read_to_end(&mut bytes).map_err(|error| self.error("read", path, error))?,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(self.error("read", path, error)),
        };
        Ok(Some(bytes))
    }

    /// Puts a file of known content in place of what was there; owner is root, time is left to the system.
    pub fn write(&self, path: &TreePath, mode: u32, bytes: &[u8]) -> Result<(), TreeError> {
        let directory = self.open_parent(path)?;
        let name = path.split().map_or(".", |(_, name)| name);
        let mut file = create_file(&directory, name).map_err(|error| self.error("create", path, error))?;
        file.write_all(bytes).map_err(|error| self.error("write", path, error))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(|error| self.error("set the mode of", path, error))
    }

    /// Makes a directory and all above it with mode 0755; an existing one or a link to one stays as it is.
    pub fn make_directories(&self, path: &str) -> Result<(), TreeError> {
        for at in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
            let Some((path, (parent, name))) = path.get(..at).and_then(|path| Some((path, split_path(path)?))) else {
                continue;
            };
            let made = self
                .open_directory(parent)
                .and_then(|directory| rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)));
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(self.error("make the directory", path, error)),
            }
        }
        Ok(())
    }

    /// Makes a symlink if nothing is there.
    pub fn make_symlink(&self, path: &TreePath, to: &str) -> Result<(), TreeError> {
        let directory = self.open_parent(path)?;
        let name = path.split().map_or(".", |(_, name)| name);
        match rustix::fs::symlinkat(to, &directory, name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(self.error("make", path, error)),
        }
    }

    /// Removes a thing that is not a directory; one that is not there is fine.
    pub fn remove(&self, path: &TreePath) -> Result<(), TreeError> {
        let directory = self.open_parent(path)?;
        let name = path.split().map_or(".", |(_, name)| name);
        match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.error("remove", path, error)),
        }
    }

    /// Moves a thing within the tree, over what may be there.
    pub fn rename(&self, from: &TreePath, to: &TreePath) -> Result<(), TreeError> {
        let (source, target) = (self.open_parent(from)?, self.open_parent(to)?);
        let (from_name, to_name) =
            (from.split().map_or(".", |(_, name)| name), to.split().map_or(".", |(_, name)| name));
        rustix::fs::renameat(&source, from_name, &target, to_name).map_err(|error| self.error("rename", from, error))
    }

    /// Sets owner and mode of an open file or directory, then its time; the mode comes after the owner, which clears setuid.
    pub fn set_metadata(&self, fd: impl AsFd, metadata: Metadata) -> rustix::io::Result<()> {
        if self.ownership == Ownership::Numeric {
            rustix::fs::fchown(&fd, Some(user(metadata.uid)), Some(group(metadata.gid)))?;
        }
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(metadata.mode))?;
        rustix::fs::futimens(&fd, &times(metadata.mtime))
    }

    /// Sets owner and time of a name without following it.
    pub fn set_link_metadata(&self, directory: &OwnedFd, name: &str, metadata: Metadata) -> rustix::io::Result<()> {
        if self.ownership == Ownership::Numeric {
            rustix::fs::chownat(
                directory,
                name,
                Some(user(metadata.uid)),
                Some(group(metadata.gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        rustix::fs::utimensat(directory, name, &times(metadata.mtime), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn open_beneath(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..RESOLVE_TRIES {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }
}

/// Creates an empty file under a name, in place of a file, link or pipe that may be there; a directory is not replaced.
pub fn create_file(directory: &OwnedFd, name: &str) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    replacing(directory, name, || rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600)))
        .map(File::from)
}

/// Runs a creating call; if the name is taken, removes what is there and runs it once more.
pub fn replacing<T>(
    directory: &OwnedFd,
    name: &str,
    create: impl Fn() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match create() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
            create()
        }
        other => other,
    }
}

/// The kind of a thing by its mode.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn split_path(path: &str) -> Option<(&str, &str)> {
    match path.rsplit_once('/') {
        Some(parts) => Some(parts),
        None => (!path.is_empty()).then_some(("", path)),
    }
}

fn user(id: u32) -> rustix::fs::Uid {
    rustix::fs::Uid::from_raw(id)
}

fn group(id: u32) -> rustix::fs::Gid {
    rustix::fs::Gid::from_raw(id)
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

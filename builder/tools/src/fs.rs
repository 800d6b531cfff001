//! File operations for crates with errors of their own: what failed is a [`PathError`], which knows its remedy and exit code.
//!
//! `fs_err` names the path too, but as an `io::Error`, which a typed error cannot carry beside the other system calls of `tools`
//! and `vm` (mounts, namespaces, sockets) without losing what was tried. So these two use this file and nothing else; crates that
//! end in `anyhow` use `fs_err`, and the printer gives its errors the same remedies.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{ExitKind, Remedy};

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct PathError {
    /// The verb of the operation.
    pub action: &'static str,
    /// The path it was tried on.
    pub path: PathBuf,
    /// Why the system refused.
    pub source: io::Error,
}

impl PathError {
    /// Puts an action and a path to a system error.
    pub fn new(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self { action, path: path.into(), source: source.into() }
    }
}

impl Remedy for PathError {
    fn remedy(&self) -> Option<String> {
        advice(&self.source)
    }

    fn exit_kind(&self) -> ExitKind {
        ExitKind::Environment
    }
}

/// What to do about an error of the system.
pub(crate) fn advice(error: &io::Error) -> Option<String> {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "see that the path is spelled right and exists",
        io::ErrorKind::PermissionDenied => "run as a user who may do this, usually root",
        io::ErrorKind::StorageFull => "the disk is full: make room on it, then run the same command again",
        io::ErrorKind::ReadOnlyFilesystem => "choose a place on a writable file system",
        io::ErrorKind::AlreadyExists => "choose another name or remove what stands there",
        _ => return None,
    };
    Some(advice.to_owned())
}

/// Adds action and path to the error of a system call.
pub trait AtPath<T> {
    /// Names what was tried and where.
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, PathError>;
}

impl<T, E: Into<io::Error>> AtPath<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, PathError> {
        self.map_err(|source| PathError::new(action, path, source))
    }
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, PathError> {
    fs::read(path).at("read", path)
}

/// Reads a whole file as UTF-8 text.
pub fn read_to_string(path: &Path) -> Result<String, PathError> {
    fs::read_to_string(path).at("read", path)
}

/// Writes a file in place; for scratch files only, see [`crate::write_atomic`] for the rest.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), PathError> {
    fs::write(path, bytes).at("write", path)
}

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File, PathError> {
    File::open(path).at("open", path)
}

/// Makes a file, or empties it.
pub fn create(path: &Path) -> Result<File, PathError> {
    File::create(path).at("create", path)
}

/// Makes a directory and its parents.
pub fn create_dir_all(path: &Path) -> Result<(), PathError> {
    fs::create_dir_all(path).at("create directory", path)
}

/// Removes a file; one that is not there is fine.
pub fn remove_file_if_exists(path: &Path) -> Result<(), PathError> {
    ignore_missing(fs::remove_file(path)).at("remove", path)
}

/// Removes a directory with all it holds (symlinks are not followed); one that is not there is fine.
pub fn remove_dir_all_if_exists(path: &Path) -> Result<(), PathError> {
    ignore_missing(fs::remove_dir_all(path)).at("remove", path)
}

/// Renames; the error names the new path.
pub fn rename(from: &Path, to: &Path) -> Result<(), PathError> {
    fs::rename(from, to).at("rename to", to)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_action_and_path() {
        let error = read(Path::new("/no/such/file")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/no/such/file`");
        assert!(error.remedy().unwrap().contains("exists"));
    }

    #[test]
    fn removing_what_is_not_there_is_fine() {
        remove_file_if_exists(Path::new("/no/such/file")).unwrap();
        remove_dir_all_if_exists(Path::new("/no/such/dir")).unwrap();
    }
}

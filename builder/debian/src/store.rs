//! Files named by their SHA-256 digest, shared by all builds.
//!
//! `DIR/sha256/ab/abcdef...` holds complete files only: they are written as `DIR/partial/abcdef...` and renamed when their digest
//! was checked. A hit is checked by size; whoever is about to read the bytes has them hashed first ([`crate::fetch::remove_damaged`]), and again
//! while reading.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use formats::digest::Sha256Digest;
use sha2::{Digest as _, Sha256};

/// A directory of files named by digest.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

/// The store's directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}` in the cache; check its owner and the free space", path.display())]
pub struct StoreError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Store {
    /// Opens the store at `directory` and makes it if it is not there.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        for name in ["sha256", "partial"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).map_err(StoreError::of("make", &path))?;
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// Where a file is or would be.
    pub fn path(&self, digest: &Sha256Digest) -> PathBuf {
        let name = digest.to_string();
        self.directory.join("sha256").join(name.get(..2).unwrap_or_default()).join(name)
    }

    /// Where a file is, if it is there with the right size.
    pub fn find(&self, digest: &Sha256Digest, size: u64) -> Result<Option<PathBuf>, StoreError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() && metadata.len() == size => Ok(Some(path)),
            // A file of another size is a leftover of a full disk; the download that follows replaces it.
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::of("look at", &path)(error)),
        }
    }

    /// Removes a file whose bytes have another digest; whether it did.
    pub(crate) fn remove_damaged(&self, digest: &Sha256Digest) -> Result<bool, StoreError> {
        let path = self.path(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::of("read", &path)(error)),
        };
        let mut hasher = Sha256::new();
        // What the disk cannot read any more is damaged as well.
        let readable = io::copy(&mut file, &mut hasher).is_ok();
        if readable && Sha256Digest::from_hasher(hasher) == *digest {
            return Ok(false);
        }
        fs::remove_file(&path).map_err(StoreError::of("remove the damaged", &path))?;
        Ok(true)
    }

    /// Bytes that can still be written to its disk.
    pub(crate) fn free_bytes(&self) -> Result<u64, StoreError> {
        let disk = rustix::fs::statvfs(&self.directory)
            .map_err(|error| StoreError::of("look at the disk of", &self.directory)(error.into()))?;
        // What is kept for root counts: whether it may be used is the kernel's to say.
        Ok(disk.f_bfree.saturating_mul(disk.f_frsize))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Opens the unfinished download of a file and keeps other processes out of it until it is closed.
    pub(crate) fn open_partial(&self, digest: &Sha256Digest) -> Result<Partial, StoreError> {
        let path = self.directory.join("partial").join(digest.to_string());
        loop {
            let mut options = OpenOptions::new();
            let file =
                options.read(true).append(true).create(true).open(&path).map_err(StoreError::of("open", &path))?;
            file.lock().map_err(StoreError::of("lock", &path))?;
            // Another process may have finished and renamed it while this one waited for the lock.
            let here = fs::metadata(&path).ok().map(|metadata| file_id(&metadata));
            if here == file.metadata().ok().map(|metadata| file_id(&metadata)) {
                return Ok(Partial { file, path });
            }
        }
    }

    /// Moves a finished download to its place; the caller has checked its digest.
    pub(crate) fn publish(&self, partial: &Partial, digest: &Sha256Digest) -> Result<PathBuf, StoreError> {
        let path = self.path(digest);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(StoreError::of("make", parent))?;
        }
        partial.file.sync_data().map_err(StoreError::of("write", &partial.path))?;
        fs::rename(&partial.path, &path).map_err(StoreError::of("make", &path))?;
        Ok(path)
    }
}

/// An unfinished download, locked; writes go to its end.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) file: File,
    path: PathBuf,
}

impl Partial {
    pub(crate) fn len(&self) -> Result<u64, StoreError> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(StoreError::of("look at", &self.path))
    }

    pub(crate) fn clear(&self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(self.failed("shorten"))
    }

    pub(crate) fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> StoreError + use<> {
        StoreError::of(action, &self.path)
    }
}

impl StoreError {
    pub(crate) fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

fn file_id(metadata: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn finds_complete_files_of_the_right_size_only() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let digest = Sha256Digest::of(b"abc");
        assert_eq!(store.find(&digest, 3).unwrap(), None);
        let mut partial = store.open_partial(&digest).unwrap();
        partial.file.write_all(b"abc").unwrap();
        assert_eq!(store.find(&digest, 3).unwrap(), None);
        let path = store.publish(&partial, &digest).unwrap();
        assert_eq!(store.find(&digest, 3).unwrap(), Some(path.clone()));
        assert_eq!(store.find(&digest, 4).unwrap(), None);
        assert!(path.ends_with(format!("sha256/{}/{digest}", &digest.to_string()[..2])));
    }
}

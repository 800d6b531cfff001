//! The EFI system partition, as a folder: which kernel images the boot loader could start, and how one is put beside
//! them.
//!
//! FAT has no journal and a rename is two changes of a folder. So all of a kernel image is there and was read back
//! before it gets the one ending that the boot loader looks for, and what remains of a cut rename is a whole image
//! under one name or under both: the new name is on the disk with what it stands for ([`Files::rename_on_fat`]).

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use bundle::ImageName;
use bundle::ImageVersion;
use formats::boot_entry::BootEntry;
use formats::boot_entry::Tries;

use super::UpdateError;
use crate::files::FileError;
use crate::files::Files;
use crate::mount::Mounted;

/// Where systemd-boot looks for unified kernel images (UAPI.1, type #2).
const FOLDER: &str = "EFI/Linux";
/// Ending of an image that is not complete; no boot loader and no firmware takes it.
const UNFINISHED: &str = ".efi.new";

/// The ESP of the disk that this host runs from.
#[derive(Debug)]
pub struct Esp {
    folder: PathBuf,
    mounted: Option<Mounted>,
    free: fn(&Path) -> io::Result<u64>,
}

/// A kernel image on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What its name says.
    pub entry: BootEntry,
    /// Its place.
    pub path: PathBuf,
    /// Size in bytes.
    pub size: u64,
}

/// A kernel image that an earlier update did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its name without the ending: image and version.
    pub stem: String,
    /// Its place.
    pub path: PathBuf,
    /// Size in bytes.
    pub size: u64,
}

impl Esp {
    /// One that is mounted, for looking at it; [`Esp::make_writable`] lets it be changed.
    pub fn mounted(mounted: Mounted) -> Self {
        Self { folder: mounted.place().to_owned(), mounted: Some(mounted), free: free_bytes }
    }

    /// A folder that stands for one, and how many bytes are free in it.
    pub fn folder(folder: &Path, free: fn(&Path) -> io::Result<u64>) -> Self {
        Self { folder: folder.to_owned(), mounted: None, free }
    }

    /// Lets it be changed. Until then nothing at all was written to it.
    pub fn make_writable(&self) -> Result<(), FileError> {
        self.mounted.as_ref().map_or(Ok(()), Mounted::make_writable)
    }

    /// All kernel images of ours, of whatever version.
    pub fn entries(&self) -> Result<Vec<Found>, UpdateError> {
        let mut found = Vec::new();
        for (path, name, size) in self.files()? {
            if let Ok(entry) = name.parse() {
                found.push(Found { entry, path, size });
            }
        }
        Ok(found)
    }

    /// What an earlier update did not finish.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, UpdateError> {
        let of = |(path, name, size): (PathBuf, String, u64)| {
            Some(Unfinished { stem: name.strip_suffix(UNFINISHED)?.to_owned(), path, size })
        };
        Ok(self.files()?.into_iter().filter_map(of).collect())
    }

    /// Free bytes, for root.
    pub fn free(&self) -> Result<u64, UpdateError> {
        (self.free)(&self.folder).map_err(|source| read_error(&self.folder, source))
    }

    /// Place of an image while it is written.
    pub fn unfinished_place(&self, image: &ImageName, version: &ImageVersion) -> PathBuf {
        self.images().join(format!("{image}_{version}{UNFINISHED}"))
    }

    /// Its place once it may be started: with all of its tries.
    pub fn place(&self, image: &ImageName, version: &ImageVersion) -> PathBuf {
        let entry = BootEntry { image: image.clone(), version: version.clone(), tries: Some(Tries::NEW) };
        self.images().join(entry.to_string())
    }

    /// Place of a file, by its name from the root.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Gives an image of ours another name beside its own: that is all the boot loader goes by.
    pub fn rename(&self, files: &Files, found: &Found, entry: &BootEntry) -> Result<(), FileError> {
        files.rename_on_fat(&found.path, &found.path.with_file_name(entry.to_string()))
    }

    /// Makes everything on it last.
    pub fn flush(&self, files: &Files) -> Result<(), FileError> {
        files.flush_file_system(&self.images())
    }

    fn images(&self) -> PathBuf {
        self.folder.join(FOLDER)
    }

    /// Plain files in the folder of kernel images: place, name, size.
    fn files(&self) -> Result<Vec<(PathBuf, String, u64)>, UpdateError> {
        let folder = self.images();
        let failed = |source| read_error(&folder, source);
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let metadata = entry.metadata().map_err(failed)?;
            if metadata.is_file() {
                files.push((entry.path(), entry.file_name().to_string_lossy().into_owned(), metadata.len()));
            }
        }
        files.sort();
        Ok(files)
    }
}

/// What statvfs(3) says.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn read_error(path: &Path, source: io::Error) -> UpdateError {
    UpdateError::Read { path: path.to_owned(), source }
}

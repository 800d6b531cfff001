//! Mounts of file systems that are not ours, read-only and harmless, for as long as a value lives.

use std::ffi::CStr;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;

use crate::files::Access;
use crate::files::FileError;
use crate::files::Files;

/// File systems that a medium with a document may have. ext4 must not play back its journal on a medium that we only read.
const FOREIGN: [(&str, &CStr); 3] = [("vfat", c""), ("iso9660", c""), ("ext4", c"noload")];

/// A mount that ends with the value.
#[derive(Debug)]
pub struct Mounted {
    place: PathBuf,
}

impl Mounted {
    /// Mounts a foreign medium so that nothing on it can be run, followed or changed.
    pub fn foreign(files: &Files, device: &Path, place: &Path) -> Result<Self, FileError> {
        files.make_directory(place, Access::SECRET_DIRECTORY)?;
        let flags =
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSYMFOLLOW;
        let mut last = io::Error::other("no file system is known");
        for (kind, options) in FOREIGN {
            match rustix::mount::mount(device, place, kind, flags, options) {
                Ok(()) => {
                    return Ok(Self { place: place.to_owned() });
                }
                Err(error) => last = error.into(),
            }
        }
        Err(FileError { action: "mount", path: device.to_owned(), source: last })
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.place
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nobody else uses the private place; a mount that stays is read-only and gone with the next start.
        let _ = rustix::mount::unmount(&self.place, UnmountFlags::DETACH);
    }
}

//! Mounts of file systems that are not ours, harmless and read-only but for the ESP of an update, for as long as a
//! value lives.

use std::ffi::CStr;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;

use crate::files::Access;
use crate::files::FileError;
use crate::files::Files;

/// File systems that a medium with a document may have. ext4 must not play back its journal on a medium that we only
/// read.
const FOREIGN: [(&str, &CStr); 3] = [("vfat", c""), ("iso9660", c""), ("ext4", c"noload")];

/// Nothing on the ESP is run here, or followed.
const ESP: MountFlags =
    MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC).union(MountFlags::NOSYMFOLLOW);
/// FAT knows no modes: what is there is root's alone. Nor has it a journal: a cut may leave a name without all of its clusters, or two names with the
/// same, and a kernel that removes them says so and, left to itself, writes nothing more. All that is written is read back, so it may go on.
const ESP_OPTIONS: &CStr = c"umask=0077,errors=continue";

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

    /// Mounts the ESP to look at it. A FAT that is mounted for writing is marked so on the disk, before anything is
    /// written.
    pub fn esp(files: &Files, device: &Path, place: &Path) -> Result<Self, FileError> {
        files.make_directory(place, Access::SECRET_DIRECTORY)?;
        let mounted = rustix::mount::mount(device, place, "vfat", ESP | MountFlags::RDONLY, ESP_OPTIONS);
        mounted.map_err(|error| FileError { action: "mount", path: device.to_owned(), source: error.into() })?;
        Ok(Self { place: place.to_owned() })
    }

    /// Lets an ESP be written to.
    pub fn make_writable(&self) -> Result<(), FileError> {
        rustix::mount::mount_remount(&self.place, ESP, ESP_OPTIONS).map_err(|error| FileError {
            action: "mount for writing",
            path: self.place.clone(),
            source: error.into(),
        })
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.place
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nobody else uses the private place; what was written there is flushed, and a mount that stays is gone with
        // the next start.
        let _ = rustix::mount::unmount(&self.place, UnmountFlags::DETACH);
    }
}

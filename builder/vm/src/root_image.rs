//! A root file system image, mounted read-only from its file for as long as a container uses it.
//!
//! The kernel reads the file itself (erofs: since Linux 6.12), so no loop device is needed and none can stay behind.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};
use tools::PathError;

/// A mounted image; dropping it takes the mount away.
#[derive(Debug)]
#[must_use = "dropping the value unmounts at once"]
pub struct RootImage {
    place: PathBuf,
}

/// The kernel does not mount the image.
#[derive(Debug, thiserror::Error)]
pub enum RootImageError {
    /// Not mounted.
    #[error("cannot mount `{}` ({kind}): {reason}; this needs root and Linux 6.12 or newer", file.display())]
    Mount {
        /// The image.
        file: PathBuf,
        /// The type of the file system.
        kind: String,
        /// The kernel's reason.
        reason: std::io::Error,
    },
    /// The place cannot be made.
    #[error("cannot make the place for the image")]
    Place(#[from] PathError),
}

impl RootImage {
    /// Mounts `file`, a file system of type `kind`, at `place`, which is made if it is not there.
    pub fn mount(file: &Path, kind: &str, place: &Path) -> Result<Self, RootImageError> {
        tools::fs::create_dir_all(place)?;
        let mounted = rustix::mount::mount(file, place, kind, MountFlags::RDONLY | MountFlags::NODEV, None);
        mounted.map_err(|reason| RootImageError::Mount {
            file: file.to_owned(),
            kind: kind.to_owned(),
            reason: reason.into(),
        })?;
        Ok(Self { place: place.to_owned() })
    }

    /// Where the tree is seen.
    pub fn path(&self) -> &Path {
        &self.place
    }
}

impl Drop for RootImage {
    fn drop(&mut self) {
        // Lazy: a container that still ends must not keep it, and a destructor has nobody to tell.
        let _ = rustix::mount::unmount(&self.place, UnmountFlags::DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_image_is_refused_with_its_name_and_what_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("root.erofs");
        std::fs::write(&file, [0; 8192]).unwrap();
        let error = RootImage::mount(&file, "erofs", &directory.path().join("root")).unwrap_err().to_string();
        assert!(error.contains("root.erofs") && error.contains("6.12"), "{error}");
    }
}

//! Whether the host itself is one that can work: there is room where its state lies, and its clock stands where a clock can stand.
//!
//! Services that run already answer for a while on a full disk, and with a wrong clock until somebody asks for a certificate's dates; a version that
//! brings either about must not be called good.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;
use std::time::SystemTime;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use thiserror::Error;

use crate::files::FileError;
use crate::files::Files;

/// What must still be free, in bytes: a start of all services writes less.
pub const ROOM: u64 = 16 << 20;
/// The file that is made for it and removed at once.
const TRIED: &str = ".room";

/// What is wrong with the host.
#[derive(Debug, Error)]
pub enum HostError {
    /// Nothing more can be written.
    #[error("{} MiB more cannot be written: {reason}; what takes the room: `du -xhd2 /var | sort -h | tail`", ROOM >> 20)]
    Room {
        /// The system's reason.
        reason: String,
    },
    /// The image's own time cannot be read.
    #[error("cannot read the time of `{path}`: {source}; the image is damaged: write it anew")]
    Epoch {
        /// The file.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// It is earlier than it can be.
    #[error("the clock stands {} days before this version was built: `timedatectl` shows who sets it", behind.as_secs().div_ceil(86_400))]
    Clock {
        /// How far.
        behind: Duration,
    },
}

/// There is room in the folder of the state, and what is written there lasts.
pub fn room(files: &Files, state: &Path) -> Result<(), HostError> {
    let path = state.join(TRIED);
    let tried = files.create(&path).and_then(|file| {
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, ROOM) {
            // Below a container there may be a file system that reserves nothing; then the file itself has to do.
            Ok(()) | Err(Errno::OPNOTSUPP) => files.flush(&path, &file),
            Err(errno) => Err(FileError { action: "write", path: path.clone(), source: errno.into() }),
        }
    });
    let removed = files.remove(&path);
    tried.and(removed).map_err(|error| HostError::Room { reason: error.source.to_string() })
}

/// The clock is not before the time of the image, which the file `epoch` carries (`clock-epoch`, systemd(1)).
pub fn clock(epoch: &Path, now: SystemTime) -> Result<(), HostError> {
    let failed = |source| HostError::Epoch { path: epoch.display().to_string(), source };
    let built = fs::metadata(epoch).and_then(|metadata| metadata.modified()).map_err(failed)?;
    match built.duration_since(now) {
        Ok(behind) if !behind.is_zero() => Err(HostError::Clock { behind }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn a_folder_with_room_is_left_as_it_was() {
        let tree = Tree::new();
        fs::create_dir_all(tree.paths.state()).unwrap();
        room(tree.host().files, &tree.paths.state()).unwrap();
        assert_eq!(fs::read_dir(tree.paths.state()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_in_which_nothing_can_be_written_is_none() {
        let tree = Tree::new();
        let error = room(tree.host().files, &tree.paths.state().join("nowhere")).unwrap_err();
        assert!(error.to_string().starts_with("16 MiB more cannot be written: No such file"), "{error}");
    }

    #[test]
    fn a_clock_before_the_image_is_wrong_and_one_behind_it_may_be_right() {
        let tree = Tree::new();
        let epoch = tree.paths.root().join("clock-epoch");
        assert!(matches!(clock(&epoch, SystemTime::now()), Err(HostError::Epoch { .. })));
        fs::write(&epoch, b"").unwrap();
        let built = fs::metadata(&epoch).unwrap().modified().unwrap();
        clock(&epoch, built).unwrap();
        clock(&epoch, built + Duration::from_secs(10 * 365 * 86_400)).unwrap();
        let error = clock(&epoch, built - Duration::from_secs(86_401)).unwrap_err();
        assert!(error.to_string().starts_with("the clock stands 2 days before"), "{error}");
    }
}

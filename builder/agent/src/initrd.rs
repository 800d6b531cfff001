//! The agent's part of the initrd: mounts state below the root that is about to start, and hands over the lasting machine id.
//!
//! It runs after systemd-repart has made what the disk lacks. It never formats anything: repart writes a partition into the table
//! only when its file system is complete, so a state partition that cannot be mounted is damaged, not unfinished.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::mount::MountFlags;
use thiserror::Error;

use crate::accounts::Owner;
use crate::disk::Disk;
use crate::disk::DiskError;
use crate::disk::Wanted;
use crate::files::Access;
use crate::files::FileError;
use crate::host::Host;
use crate::paths::Paths;

/// The machine id is no secret, and nobody changes it.
const MACHINE_ID: Access = Access { mode: 0o444, owner: Owner::ROOT };

/// Why the root cannot start.
#[derive(Debug, Error)]
pub enum InitrdError {
    /// The state partition was not found.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It cannot be mounted.
    #[error("cannot mount state `{device}` at `{place}`: {source}; restore state from a backup, or write the image anew")]
    Mount {
        /// The partition.
        device: PathBuf,
        /// Where it belongs.
        place: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel gives no random bytes.
    #[error("no random bytes from the kernel: {0}")]
    Random(#[from] io::Error),
}

/// Mounts state and hands over the machine id.
pub fn run(host: Host<'_>) -> Result<(), InitrdError> {
    let sysroot = host.paths.at("/sysroot");
    mount_state(host.paths, &sysroot)?;
    hand_over_machine_id(host, &Paths::new(&sysroot))
}

/// Mounts the subvolume that becomes `/var`. Nothing on it can be a program, a device or gain rights.
fn mount_state(paths: &Paths, sysroot: &Path) -> Result<(), InitrdError> {
    let place = sysroot.join("var");
    if is_mount_point(sysroot, &place) {
        return Ok(());
    }
    let device = Disk::below(paths, sysroot)?.partition(Wanted::State)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    rustix::mount::mount(&device, &place, "btrfs", flags, c"subvol=@var")
        .map_err(|error| InitrdError::Mount { device, place, source: error.into() })
}

fn is_mount_point(parent: &Path, place: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
    matches!((device(parent), device(place)), (Ok(above), Ok(here)) if above != here)
}

/// PID 1 of the root takes its id from `/run/machine-id` when `/etc/machine-id` is empty.
fn hand_over_machine_id(host: Host<'_>, root: &Paths) -> Result<(), InitrdError> {
    let lasting = root.state().join("machine-id");
    let kept = fs::read_to_string(&lasting).ok().filter(|text| is_machine_id(text));
    let id = match kept {
        Some(id) => id,
        None => new_machine_id((host.random)()?),
    };
    host.files.make_directory(&root.state(), Access::PUBLIC_DIRECTORY)?;
    host.files.write(&lasting, id.as_bytes(), MACHINE_ID)?;
    host.files.make_directory(&host.paths.at("/run"), Access::PUBLIC_DIRECTORY)?;
    Ok(host.files.write(&host.paths.at("/run/machine-id"), id.as_bytes(), MACHINE_ID)?)
}

/// 32 lower-case hex digits, not all zero, and a line end (machine-id(5)).
fn is_machine_id(text: &str) -> bool {
    let Some(digits) = text.strip_suffix('\n') else { return false };
    digits.len() == 32
        && digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
        && digits.bytes().any(|digit| digit != b'0')
}

/// A random UUID of version 4 (RFC 9562 §5.4), as systemd makes them.
fn new_machine_id(random: [u8; 32]) -> String {
    let bits = u128::from_be_bytes(std::array::from_fn(|at| random.get(at).copied().unwrap_or_default()));
    let version = (bits & !(0xf << 76)) | (0x4 << 76);
    let variant = (version & !(0x3 << 62)) | (0x2 << 62);
    format!("{variant:032x}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    fn hand_over(tree: &Tree) -> Result<(), InitrdError> {
        hand_over_machine_id(tree.host(), &Paths::new(&tree.paths.at("/sysroot")))
    }

    #[test]
    fn makes_the_machine_id_once() {
        let tree = Tree::new();
        hand_over(&tree).unwrap();
        let id = tree.text("/run/machine-id");
        assert_eq!(id, "07070707070747078707070707070707\n");
        assert_eq!(tree.text("/sysroot/var/lib/casemate/machine-id"), id);
    }

    #[test]
    fn hands_over_the_id_that_is_there() {
        let tree = Tree::new();
        let id = format!("{}\n", "ab".repeat(16));
        tree.put("/sysroot/var/lib/casemate/machine-id", &id);
        hand_over(&tree).unwrap();
        assert_eq!(tree.text("/run/machine-id"), id);
        assert_eq!(tree.text("/sysroot/var/lib/casemate/machine-id"), id);
    }

    #[test]
    fn replaces_what_is_no_id() {
        for bad in ["", "\n", "uninitialized\n", "00000000000000000000000000000000\n", "ABABABABABABABABABABABABABABABAB\n"] {
            let tree = Tree::new();
            tree.put("/sysroot/var/lib/casemate/machine-id", bad);
            hand_over(&tree).unwrap();
            assert!(is_machine_id(&tree.text("/run/machine-id")), "{bad:?}");
        }
    }

    #[test]
    fn never_hands_over_an_id_that_is_not_kept() {
        for steps in 0.. {
            let tree = Tree::new();
            tree.cut_after(steps);
            let done = hand_over(&tree).is_ok();
            let (handed, kept) = (tree.paths.at("/run/machine-id"), tree.paths.at("/sysroot/var/lib/casemate/machine-id"));
            assert!(!handed.exists() || kept.exists(), "after {steps} steps");
            if done {
                return assert!(steps > 8);
            }
        }
    }
}

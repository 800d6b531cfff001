//! The agent's part of the initrd: mounts state below the root that is about to start, and hands over the lasting machine id.
//!
//! It runs after systemd-repart has made what the disk lacks. It never formats anything: repart writes a partition into the table
//! only when its file system is complete, so a state partition that cannot be mounted is damaged, not unfinished.

use std::fs;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::mount::MountFlags;
use thiserror::Error;

use crate::accounts::Owner;
use crate::disk::Disk;
use crate::disk::DiskError;
use crate::disk::Wanted;
use crate::files::Access;
use crate::files::FileError;
use crate::files::Files;
use crate::host::kernel_random;
use crate::paths::Paths;

/// The machine id is no secret, and nobody changes it.
const MACHINE_ID: Access = Access { mode: 0o444, owner: Owner::ROOT };

/// What the steps work on: no program is run here, so there is no runner.
#[derive(Clone, Copy)]
struct Initrd<'a> {
    paths: &'a Paths,
    files: &'a Files,
    random: fn() -> io::Result<[u8; 32]>,
}

/// Why the root cannot start.
#[derive(Debug, Error)]
pub enum InitrdError {
    /// The state partition was not found.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It cannot be mounted.
    #[error(
        "cannot mount state `{device}` at `{place}`: {source}; restore state from a backup, or write the image anew"
    )]
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

/// Does all steps on a real initrd and says in the kernel's log why one of them failed.
pub fn run_on(paths: &Paths, files: &Files) -> ExitCode {
    match run(Initrd { paths, files, random: kernel_random }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(paths, &error);
            ExitCode::FAILURE
        }
    }
}

/// Mounts state, hands over the machine id and leaves links to the partitions of the disk we were started from.
fn run(initrd: Initrd<'_>) -> Result<(), InitrdError> {
    let sysroot = initrd.paths.at("/sysroot");
    let disk = Disk::below(initrd.paths, &sysroot)?;
    let state = disk.partition(Wanted::State)?;
    mount_state(&sysroot, &state)?;
    hand_over_machine_id(initrd, &Paths::new(&sysroot))?;
    leave_link(initrd, "state", &state)?;
    leave_link(initrd, "esp", &disk.partition(Wanted::Esp)?)
}

/// Mounts the subvolume that becomes `/var`. Nothing on it can be a program, a device or gain rights.
fn mount_state(sysroot: &Path, device: &Path) -> Result<(), InitrdError> {
    let place = sysroot.join("var");
    if is_mount_point(sysroot, &place) {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    rustix::mount::mount(device, &place, "btrfs", flags, c"subvol=@var").map_err(|error| InitrdError::Mount {
        device: device.to_owned(),
        place,
        source: error.into(),
    })
}

/// For units and the updater: `/run` survives the change of root.
fn leave_link(initrd: Initrd<'_>, name: &str, device: &Path) -> Result<(), InitrdError> {
    let folder = initrd.paths.run().join("disk");
    initrd.files.ensure_directory(&folder, Access::PUBLIC_DIRECTORY)?;
    Ok(initrd.files.link(device, &folder.join(name))?)
}

/// Says in the kernel's log, which is on the console, why the root cannot start. Level 3 is "error" (`syslog(2)`).
fn complain(paths: &Paths, error: &InitrdError) {
    let line = format!("<3>casemate: {}\n", error.to_string().replace('\n', " "));
    let log = fs::OpenOptions::new().write(true).open(paths.devices().join("kmsg"));
    // Without a log there is nobody left to tell; the exit status restarts the machine.
    let _ = log.and_then(|mut log| log.write_all(line.as_bytes()));
}

fn is_mount_point(parent: &Path, place: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
    matches!((device(parent), device(place)), (Ok(above), Ok(here)) if above != here)
}

/// PID 1 of the root takes its id from `/run/machine-id` when `/etc/machine-id` is empty.
fn hand_over_machine_id(initrd: Initrd<'_>, root: &Paths) -> Result<(), InitrdError> {
    let lasting = root.state().join("machine-id");
    let kept = fs::read_to_string(&lasting).ok().filter(|text| is_machine_id(text));
    let id = match kept {
        Some(id) => id,
        None => new_machine_id((initrd.random)()?),
    };
    initrd.files.ensure_directory(&root.state(), Access::PASSAGE)?;
    initrd.files.write(&lasting, id.as_bytes(), MACHINE_ID)?;
    initrd.files.ensure_directory(&initrd.paths.at("/run"), Access::PUBLIC_DIRECTORY)?;
    Ok(initrd.files.write(&initrd.paths.at("/run/machine-id"), id.as_bytes(), MACHINE_ID)?)
}

/// 32 lower-case hex digits, not all zero, and a line end (machine-id(5)).
fn is_machine_id(text: &str) -> bool {
    let Some(digits) = text.strip_suffix('\n') else {
        return false;
    };
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

    fn initrd(tree: &Tree) -> Initrd<'_> {
        Initrd { paths: &tree.paths, files: &tree.files, random: || Ok([7; 32]) }
    }

    fn hand_over(tree: &Tree) -> Result<(), InitrdError> {
        hand_over_machine_id(initrd(tree), &Paths::new(&tree.paths.at("/sysroot")))
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
        for bad in
            ["", "\n", "uninitialized\n", "00000000000000000000000000000000\n", "ABABABABABABABABABABABABABABABAB\n"]
        {
            let tree = Tree::new();
            tree.put("/sysroot/var/lib/casemate/machine-id", bad);
            hand_over(&tree).unwrap();
            assert!(is_machine_id(&tree.text("/run/machine-id")), "{bad:?}");
        }
    }

    #[test]
    fn leaves_links_and_moves_them() {
        let tree = Tree::new();
        leave_link(initrd(&tree), "esp", Path::new("/dev/vda1")).unwrap();
        leave_link(initrd(&tree), "esp", Path::new("/dev/sda1")).unwrap();
        assert_eq!(fs::read_link(tree.paths.at("/run/casemate/disk/esp")).unwrap(), Path::new("/dev/sda1"));
    }

    #[test]
    fn complains_in_one_line_of_the_kernel_log() {
        let tree = Tree::new();
        tree.put("/dev/kmsg", "");
        complain(&tree.paths, &InitrdError::Random(io::Error::other("two\nlines")));
        assert_eq!(tree.text("/dev/kmsg"), "<3>casemate: no random bytes from the kernel: two lines\n");
    }

    #[test]
    fn never_hands_over_an_id_that_is_not_kept() {
        for steps in 0.. {
            let tree = Tree::new();
            tree.cut_after(steps);
            let done = hand_over(&tree).is_ok();
            let (handed, kept) =
                (tree.paths.at("/run/machine-id"), tree.paths.at("/sysroot/var/lib/casemate/machine-id"));
            assert!(!handed.exists() || kept.exists(), "after {steps} steps");
            if done {
                return assert!(steps > 8);
            }
        }
    }
}

//! A full disk: seen in errors of the system and of programs, and looked for before much is written.

use std::io;
use std::path::Path;

use crate::failure::Failure;
use crate::fs::{AtPath as _, PathError};
use crate::output::ToolError;

/// strerror(3) for ENOSPC and EDQUOT, as programs say it.
const WORDS: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// Whether a full disk, or a full quota, is what is behind an error.
pub fn is_behind(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let of_system = cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded));
        let of_program = cause.downcast_ref::<ToolError>().is_some_and(|error| says_so(&error.to_string()));
        of_system || of_program || says_so(&cause.to_string())
    })
}

fn says_so(text: &str) -> bool {
    WORDS.iter().any(|words| text.contains(words))
}

/// Whether nothing can be written to the disk of `dir` any more.
pub(crate) fn has_no_room(dir: &Path) -> bool {
    const LEAST: u64 = 16 << 10;
    // The blocks kept for root are root's, and not those of a user who is root of his own ids.
    let root = rustix::process::geteuid().is_root() && !crate::user_namespace::is_own();
    let free =
        |disk: rustix::fs::StatVfs| if root { disk.f_bfree } else { disk.f_bavail }.saturating_mul(disk.f_frsize);
    rustix::fs::statvfs(dir).is_ok_and(|disk| free(disk) < LEAST)
}

/// Refuses to begin what needs `needed` bytes in `dir` while its disk has less free.
pub fn check_room(dir: &Path, needed: u64, what: &str, hint: &str) -> anyhow::Result<()> {
    let disk = rustix::fs::statvfs(dir).at("look at the disk of", dir)?;
    // Blocks that the file system keeps for root count: whether they may be used is the kernel's to say.
    let free = disk.f_bfree.saturating_mul(disk.f_frsize);
    if free >= needed {
        return Ok(());
    }
    let (needed, free) = (needed.div_ceil(1 << 20), free >> 20);
    let message = format!("the disk of `{}` is full: {what} needs {needed} MiB, {free} MiB are free", dir.display());
    Err(Failure::environment(message).hint(hint).into())
}

/// statfs(2): whether copies of files can share their blocks there, as on btrfs, XFS, bcachefs and ZFS.
pub fn shares_blocks(dir: &Path) -> Result<bool, PathError> {
    const SHARING: [i64; 4] = [0x9123_683e, 0x5846_5342, 0xca45_1a4e, 0x2fc1_2fc1];
    let disk = rustix::fs::statfs(dir).at("look at the disk of", dir)?;
    Ok(SHARING.contains(&disk.f_type))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{exit_kind, render};
    use anyhow::Context as _;

    #[test]
    fn a_full_disk_is_seen_behind_errors_of_the_system_and_of_programs() {
        let full = anyhow::Error::from(io::Error::from(io::ErrorKind::StorageFull)).context("cannot make the stage");
        let failed = |stderr: &str| ToolError::Failed { command: "x".into(), status: 1, stderr_tail: stderr.into() };
        assert!(is_behind(&full));
        assert!(is_behind(&failed("x: write error: No space left on device").into()));
        assert!(!is_behind(&failed("x: no such file").into()));
        assert!(!is_behind(&anyhow::Error::from(io::Error::from(io::ErrorKind::NotFound))));
    }

    #[test]
    fn too_little_room_is_told_with_place_need_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        check_room(dir.path(), 1, "a byte", "none").unwrap();
        let error = check_room(dir.path(), u64::MAX, "the output", "make room").context("x").unwrap_err();
        let shown = render(&error);
        assert!(
            shown.contains(&format!("the disk of `{}` is full: the output needs", dir.path().display())),
            "{shown}"
        );
        assert!(shown.ends_with("hint: make room\n") && exit_kind(&error).code() == 2, "{shown}");
    }
}

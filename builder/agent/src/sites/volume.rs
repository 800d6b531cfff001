//! Trees of a site's files: a subvolume of btrfs, which is copied in a moment, or a directory, which is copied file by file.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Result;
use tools::ResultExt as _;
use tools::Tool;

use crate::accounts::Owner;
use crate::host::Host;

/// Inode of a subvolume's root (`BTRFS_FIRST_FREE_OBJECTID`).
const ROOT_INODE: u64 = 256;
/// Magic number of btrfs in statfs(2).
const BTRFS: i64 = 0x9123_683e;

/// Whether a copy may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// To keep.
    ReadOnly,
    /// To go on with.
    Writable,
}

/// Whether the directory is on btrfs.
pub fn is_btrfs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == BTRFS)
}

/// Whether the directory is a subvolume.
pub fn is_subvolume(path: &Path) -> bool {
    is_btrfs(path) && fs::metadata(path).is_ok_and(|found| found.ino() == ROOT_INODE)
}

/// Copies a tree with owners, modes and times to a place that is not there yet.
pub fn copy(host: Host<'_>, from: &Path, to: &Path, copied: Copied) -> Result<()> {
    let tool = if is_subvolume(from) {
        let kept = (copied == Copied::ReadOnly).then_some("-r");
        Tool::new("btrfs").args(["--quiet", "subvolume", "snapshot"]).args(kept).arg("--").arg(from).arg(to)
    } else {
        Tool::new("cp").args(["--archive", "--reflink=auto", "--"]).arg(from).arg(to)
    };
    host.runner.run(&tool).remedied()?;
    Ok(())
}

/// Copies what is in a tree, and the tree's own owner, mode and times, into a directory that is there.
pub fn copy_into(host: Host<'_>, from: &Path, to: &Path) -> Result<()> {
    let tool = Tool::new("cp").args(["--archive", "--reflink=auto", "--no-target-directory", "--"]).arg(from).arg(to);
    host.runner.run(&tool).remedied()?;
    Ok(())
}

/// Removes a tree; nothing there is fine.
pub fn remove(host: Host<'_>, path: &Path) -> Result<()> {
    if is_subvolume(path) {
        host.runner.run(&Tool::new("btrfs").args(["--quiet", "subvolume", "delete", "--"]).arg(path)).remedied()?;
    }
    Ok(host.files.remove(path)?)
}

/// Puts `new` in the place of a tree in one step and removes what was there.
pub fn replace(host: Host<'_>, new: &Path, place: &Path) -> Result<()> {
    if !place.exists() {
        return Ok(host.files.rename(new, place)?);
    }
    host.files.exchange(new, place)?;
    remove(host, new)
}

/// Gives a copy of one site's files to another: each file of `from` is that of `to`, each group too.
pub fn hand_over(host: Host<'_>, path: &Path, from: [Owner; 2], to: [Owner; 2]) -> Result<()> {
    for (old, new) in from.into_iter().zip(to) {
        for (old, new) in
            [(old.uid.to_string(), new.uid.to_string()), (format!(":{}", old.gid), format!(":{}", new.gid))]
        {
            let tool = Tool::new("chown").args(["--recursive", "--no-dereference"]);
            host.runner.run(&tool.arg(format!("--from={old}")).args([&new, "--"]).arg(path)).remedied()?;
        }
    }
    Ok(())
}

//! Mounts that undo themselves, for the builder's own mount namespace.
//!
//! Directories are handed to the kernel as descriptors (`/proc/self/fd/N`), so neither a `:` or `,` in a
//! path nor the one-page limit of mount options can break a stack of overlays.

use std::fmt::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::fs::{AtPath, PathError};

/// A mount that is taken away when the value is dropped.
#[derive(Debug)]
#[must_use = "dropping the value unmounts at once"]
pub struct Mount {
    target: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Where the mount is seen.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Takes the mount away now and says when that fails (a file below is still open).
    pub fn unmount(mut self) -> Result<(), PathError> {
        self.mounted = false;
        rustix::mount::unmount(&self.target, UnmountFlags::empty()).at("unmount", &self.target)
    }

    fn new(target: &Path) -> Self {
        Self { target: target.to_owned(), mounted: true }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            // Lazy: an open file must not keep the tree in sight, and a destructor has nobody to tell.
            let _ = rustix::mount::unmount(&self.target, UnmountFlags::DETACH);
        }
    }
}

/// Stacks `upper` over the `lower` directories (first is topmost) and shows the result at `target`.
///
/// `work` must be an empty directory on the file system of `upper`. Options that change what is stored in
/// `upper` are fixed, so that a later stage can use it as a lower layer on any kernel.
pub fn overlay(lower: &[&Path], upper: &Path, work: &Path, target: &Path) -> Result<Mount, PathError> {
    let (handles, mut options) = lower_option(lower)?;
    let (upper, work) = (directory(upper)?, directory(work)?);
    let _ = write!(options, ",upperdir={},workdir={}", handle_path(&upper), handle_path(&work));
    options.push_str(",index=off,metacopy=off,redirect_dir=nofollow,xino=off");
    options.push_str(whose_attributes());
    mount_overlay(&options, MountFlags::empty(), target, handles)
}

/// Shows the `lower` directories (first is topmost) as one read-only tree at `target`.
pub fn overlay_read_only(lower: &[&Path], target: &Path) -> Result<Mount, PathError> {
    if let [single] = lower {
        return bind_read_only(single, target);
    }
    let (handles, mut options) = lower_option(lower)?;
    options.push_str(whose_attributes());
    mount_overlay(&options, MountFlags::RDONLY, target, handles)
}

/// Shows a file or directory at a second place.
pub fn bind(source: &Path, target: &Path) -> Result<Mount, PathError> {
    std::fs::symlink_metadata(source).at("bind", source)?;
    rustix::mount::mount_bind(source, target).at("mount at", target)?;
    Ok(Mount::new(target))
}

/// Shows a file or directory at a second place where it cannot be written.
pub fn bind_read_only(source: &Path, target: &Path) -> Result<Mount, PathError> {
    let mount = bind(source, target)?;
    make_read_only(target)?;
    Ok(mount)
}

/// Shows a directory at a second place where nothing can be run, as a host mounts its state: noexec, nosuid, nodev.
pub fn bind_as_state(source: &Path, target: &Path) -> Result<Mount, PathError> {
    let mount = bind(source, target)?;
    let flags = MountFlags::BIND | MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount_remount(target, flags, "").at("mount without programs at", target)?;
    Ok(mount)
}

/// Mounts an empty file system in memory; `size_mib` limits it.
pub fn tmpfs(target: &Path, size_mib: u64, mode: u32) -> Result<Mount, PathError> {
    let options = std::ffi::CString::new(format!("size={size_mib}m,mode={mode:o}"))
        .map_err(std::io::Error::other)
        .at("mount at", target)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, &*options).at("mount at", target)?;
    Ok(Mount::new(target))
}

/// Takes away every mount of this process at or below `dir`, the topmost first.
pub(crate) fn detach_below(dir: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for target in table.lines().rev().filter_map(mount_point).filter(|target| target.starts_with(dir)) {
        let _ = rustix::mount::unmount(&target, UnmountFlags::DETACH);
    }
}

/// proc(5), mountinfo: the fifth field; blanks, tabs, line ends and backslashes are written as three octal digits.
fn mount_point(line: &str) -> Option<PathBuf> {
    let mut bytes = Vec::new();
    let mut rest = line.split(' ').nth(4)?;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(after.get(..3)?, 8).ok()?);
        rest = after.get(3..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// Forbids writing through an existing bind mount.
///
/// The flags that the mount has stay: in a user namespace the kernel refuses to take them away.
pub(crate) fn make_read_only(target: &Path) -> Result<(), PathError> {
    let kept = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let now = rustix::fs::statvfs(target).at("look at the mount", target)?.f_flag;
    let flags = kept.into_iter().filter(|(has, _)| now.contains(*has)).map(|(_, flag)| flag);
    let flags = flags.fold(MountFlags::BIND | MountFlags::RDONLY, MountFlags::union);
    rustix::mount::mount_remount(target, flags, "").at("make read-only", target)
}

/// overlayfs, "User xattr": in a user namespace the layers' marks are kept where users may write.
fn whose_attributes() -> &'static str {
    if crate::user_namespace::is_own() { ",userxattr" } else { "" }
}

fn mount_overlay(options: &str, flags: MountFlags, target: &Path, handles: Vec<OwnedFd>) -> Result<Mount, PathError> {
    let options = std::ffi::CString::new(options).map_err(std::io::Error::other).at("mount at", target)?;
    rustix::mount::mount("overlay", target, "overlay", flags, &*options).at("mount overlay at", target)?;
    // The kernel resolved the names during the call; the descriptors were needed until here.
    drop(handles);
    Ok(Mount::new(target))
}

fn lower_option(lower: &[&Path]) -> Result<(Vec<OwnedFd>, String), PathError> {
    let handles = lower.iter().map(|path| directory(path)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<_> = handles.iter().map(handle_path).collect();
    Ok((handles, format!("lowerdir={}", names.join(":"))))
}

fn directory(path: &Path) -> Result<OwnedFd, PathError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).at("open directory", path)
}

fn handle_path(handle: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_read_with_its_blanks() {
        let line = r"36 35 98:0 /x /work/a\040b\134c rw - ext4 /dev/root rw";
        assert_eq!(mount_point(line), Some(PathBuf::from(r"/work/a b\c")));
        assert_eq!(mount_point("36 35 98:0 /x"), None);
        assert_eq!(mount_point(r"36 35 98:0 /x /work/a\0 rw"), None);
    }
}

//! Builds what the program sees and makes it the root.
//!
//! Everything of the host that is needed is taken first as a detached mount; then the tree becomes `/` and
//! the host is gone, so that every later path, with all its symlinks, can only lead into the tree.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::{Access, Bind, Sandbox};
use crate::fs::{AtPath, PathError};
use crate::mount::make_read_only;

/// The devices that programs may expect everywhere.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links of `/dev` that shells and scripts use.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];
/// Where the tree is put for the moment before it becomes the root; any directory of the host would do.
const STAGING: &str = "/proc";
const NO_ESCALATION: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Makes the described tree the root of this mount namespace, which must be a private one.
pub(super) fn enter(sandbox: &Sandbox) -> Result<(), PathError> {
    let root = take(&sandbox.root, OpenTreeFlags::empty())?;
    let recursive = OpenTreeFlags::AT_RECURSIVE;
    let binds: Vec<_> = sandbox
        .binds
        .iter()
        .map(|bind| Ok((bind, take(&bind.source, recursive)?)))
        .collect::<Result<_, PathError>>()?;
    let devices = take_devices()?;
    let proc = new_filesystem("proc", &[], NO_ESCALATION | MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
    let sys = sandbox.cgroup.as_ref().map(|_| take_sys()).transpose()?;
    become_root(&root)?;
    if sandbox.access == Access::ReadOnly {
        make_read_only(Path::new("/"))?;
    }
    attach(&proc, Path::new("/proc"))?;
    fill_dev(&devices)?;
    for (mount, target) in sys.iter().flatten() {
        attach(mount, Path::new(target))?;
    }
    for target in &sandbox.tmpfs {
        attach(&new_filesystem("tmpfs", &[("mode", tmpfs_mode(target))], NO_ESCALATION)?, target)?;
    }
    binds.iter().try_for_each(|(bind, mount)| attach_bind(bind, mount))
}

/// Takes a copy of a host mount that is attached nowhere yet.
fn take(source: &Path, flags: OpenTreeFlags) -> Result<OwnedFd, PathError> {
    let flags = flags | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, source, flags).at("take from the host", source)
}

fn take_devices() -> Result<Vec<(&'static str, OwnedFd)>, PathError> {
    let present = DEVICES.iter().filter(|name| Path::new("/dev").join(name).exists());
    present.map(|name| Ok((*name, take(&Path::new("/dev").join(name), OpenTreeFlags::empty())?))).collect()
}

/// A `/sys` of our own network namespace, with the groups of our own cgroup namespace.
fn take_sys() -> Result<[(OwnedFd, &'static str); 2], PathError> {
    let flags = NO_ESCALATION | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let groups = new_filesystem("cgroup2", &[], flags)?;
    Ok([(new_filesystem("sysfs", &[], flags)?, "/sys"), (groups, "/sys/fs/cgroup")])
}

fn new_filesystem(kind: &str, options: &[(&str, &str)], flags: MountAttrFlags) -> Result<OwnedFd, PathError> {
    let make = || {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
        fsconfig_create(context.as_fd())?;
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
    };
    make().at("make a file system", kind)
}

/// Swaps the root and lets go of the old one.
fn become_root(root: &OwnedFd) -> Result<(), PathError> {
    attach(root, Path::new(STAGING))?;
    std::env::set_current_dir(STAGING).at("enter", STAGING)?;
    // With both names equal the old root is stacked over the new one and can be detached from there
    // (pivot_root(2), "pivot_root(".", ".")").
    rustix::process::pivot_root(".", ".").at("make the root", STAGING)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).at("leave the host at", "/")?;
    std::env::set_current_dir("/").at("enter", "/")
}

/// Puts a detached mount at a path, making the mount point if it is missing.
fn attach(mount: &OwnedFd, target: &Path) -> Result<(), PathError> {
    ensure_mount_point(mount, target)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(mount, "", CWD, target, flags).at("mount at", target)
}

fn ensure_mount_point(mount: &OwnedFd, target: &Path) -> Result<(), PathError> {
    if target.exists() {
        return Ok(());
    }
    let mode = rustix::fs::fstat(mount).at("look at", target)?.st_mode;
    if FileType::from_raw_mode(mode) == FileType::Directory {
        return std::fs::create_dir_all(target).at("make the mount point", target);
    }
    let directory = target.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory).at("make the mount point", target)?;
    std::fs::File::create_new(target).map(drop).at("make the mount point", target)
}

fn fill_dev(devices: &[(&str, OwnedFd)]) -> Result<(), PathError> {
    let dev = Path::new("/dev");
    let only_nosuid = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    attach(&new_filesystem("tmpfs", &[("mode", "0755")], only_nosuid)?, dev)?;
    for (name, device) in devices {
        attach(device, &dev.join(name))?;
    }
    let pts = [("mode", "0620"), ("ptmxmode", "0666"), ("gid", "5")];
    attach(&new_filesystem("devpts", &pts, only_nosuid)?, &dev.join("pts"))?;
    attach(&new_filesystem("tmpfs", &[("mode", "1777")], NO_ESCALATION)?, &dev.join("shm"))?;
    for (target, link) in LINKS {
        std::os::unix::fs::symlink(target, link).at("create link", link)?;
    }
    Ok(())
}

fn attach_bind(bind: &Bind, mount: &OwnedFd) -> Result<(), PathError> {
    attach(mount, &bind.target)?;
    if bind.access == Access::ReadOnly {
        make_read_only(&bind.target)?;
    }
    Ok(())
}

/// Everyone writes to `/tmp`; other directories belong to root.
fn tmpfs_mode(target: &Path) -> &'static str {
    if target.ends_with("tmp") { "1777" } else { "0755" }
}

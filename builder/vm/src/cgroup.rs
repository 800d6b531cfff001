//! A control group for a container: made below the host's cgroup 2 tree, emptied and removed at the end.
//!
//! nspawn and the systemd inside make groups of their own; without this they would stay behind on the host. A process
//! that is killed cannot tidy up, so each group is locked by its owner. The kernel frees the lock with the process, and
//! the next container removes every group that nobody holds.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tools::PathError;
use tools::fs::AtPath as _;

/// Start of the names of our groups.
const PREFIX: &str = "casemate-";
/// How often removal is tried; the kernel needs a moment after the last process is gone.
const ATTEMPTS: u32 = 100;

/// A group that is removed with all below it when the value is dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    // Dropped after `Drop::drop`, so nobody takes a group that is being removed.
    _lock: File,
}

impl Cgroup {
    /// Makes a new group.
    pub(crate) fn new() -> Result<Self, PathError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mounts = tools::fs::read_to_string(Path::new("/proc/self/mounts"))?;
        let top = find_mount(&mounts).ok_or_else(|| {
            PathError::new("find a cgroup 2 file system in", "/proc/self/mounts", std::io::ErrorKind::NotFound)
        })?;
        sweep(&top);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::at(top.join(format!("{PREFIX}{}-{number}", std::process::id())))
    }

    fn at(path: PathBuf) -> Result<Self, PathError> {
        // Another process may sweep between these steps; what it takes away is made again.
        for _ in 0..ATTEMPTS {
            tools::fs::create_dir_all(&path)?;
            if let Ok(lock) = File::open(&path)
                && lock.try_lock().is_ok()
                && path.exists()
            {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(std::io::Error::from(std::io::ErrorKind::WouldBlock)).at("lock the control group", path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Linux 5.14; before, the end of the sandbox has killed everybody already.
        let kill = File::options().write(true).open(self.path.join("cgroup.kill"));
        let _ = kill.and_then(|mut kill| kill.write_all(b"1"));
        for _ in 0..ATTEMPTS {
            if remove(&self.path) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Removes groups whose owner is gone. One with living processes stays, whoever they are.
fn sweep(top: &Path) {
    for entry in std::fs::read_dir(top).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && !is_populated(&path)
            && let Ok(group) = File::open(&path)
            && group.try_lock().is_ok()
        {
            remove(&path);
        }
    }
}

/// Whether a process lives in the group or below it (cgroups(7), `cgroup.events`).
fn is_populated(group: &Path) -> bool {
    let events = std::fs::read_to_string(group.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 1")
}

/// Removes a group and those below it; the files in it are the kernel's and go along.
fn remove(path: &Path) -> bool {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    std::fs::remove_dir(path).is_ok() || !path.exists()
}

/// The first mount of type cgroup2 (fstab(5) fields: device, place, type).
fn find_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        (fields.next()? == "cgroup2").then(|| place.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_the_dead_are_removed_and_those_of_the_living_stay() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("casemate-1-0/payload/init.scope")).unwrap();
        std::fs::create_dir(top.path().join("other")).unwrap();
        std::fs::create_dir(top.path().join("casemate-3-0")).unwrap();
        std::fs::write(top.path().join("casemate-3-0/cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        let living = Cgroup::at(top.path().join("casemate-2-0")).unwrap();
        sweep(top.path());
        let mut names: Vec<_> =
            std::fs::read_dir(top.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["casemate-2-0", "casemate-3-0", "other"]);
        drop(living);
        assert!(!top.path().join("casemate-2-0").exists());
    }

    #[test]
    fn the_kernels_own_groups_can_be_locked() {
        let first = Cgroup::new().unwrap();
        let second = Cgroup::new().unwrap();
        assert!(first.path().is_dir() && second.path().is_dir());
        assert!(File::open(first.path()).unwrap().try_lock().is_err());
        let path = first.path().to_owned();
        drop((first, second));
        assert!(!path.exists());
    }

    #[test]
    fn finds_the_unified_tree_on_old_and_new_hosts() {
        let old = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(find_mount(old), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(find_mount("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0"), Some("/sys/fs/cgroup".into()));
        assert_eq!(find_mount("proc /proc proc rw 0 0\nshort\n"), None);
    }
}

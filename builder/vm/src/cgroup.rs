//! A control group for a container: made below the host's cgroup 2 tree, emptied and removed at the end.
//!
//! nspawn and the systemd inside make groups of their own; without this they would stay behind on the host.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tools::PathError;

/// How often removal is tried; the kernel needs a moment after the last process is gone.
const ATTEMPTS: u32 = 100;

/// A group that is removed with all below it when the value is dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a new group.
    pub(crate) fn new() -> Result<Self, PathError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mounts = tools::fs::read_to_string(Path::new("/proc/self/mounts"))?;
        let top = find_mount(&mounts).ok_or_else(|| {
            PathError::new("find a cgroup 2 file system in", "/proc/self/mounts", std::io::ErrorKind::NotFound)
        })?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = top.join(format!("casemate-{}-{number}", std::process::id()));
        tools::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Linux 5.14; before, the end of the sandbox has killed everybody already.
        let _ = std::fs::write(self.path.join("cgroup.kill"), "1");
        for _ in 0..ATTEMPTS {
            if remove(&self.path) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
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
    fn finds_the_unified_tree_on_old_and_new_hosts() {
        let old = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(find_mount(old), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(find_mount("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0"), Some("/sys/fs/cgroup".into()));
        assert_eq!(find_mount("proc /proc proc rw 0 0\nshort\n"), None);
    }
}

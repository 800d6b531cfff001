//! A stamp over a directory: what the kernel says of every file in it, as one digest.
//!
//! Size, times, owner and inode change whenever somebody writes; the change time cannot be set by any program. So an equal stamp
//! means that nothing was written since the stamp was made, and reading gigabytes again is not needed to know it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// The stamp of everything below `dir` except the file `except` directly in it; hex.
pub(super) fn of_dir(dir: &Path, except: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for entry in WalkDir::new(dir).min_depth(1).sort_by_file_name() {
        let entry = entry.with_context(|| format!("cannot read `{}`", dir.display()))?;
        if entry.depth() == 1 && entry.file_name() == except {
            continue;
        }
        let metadata = entry.metadata()?;
        let name = entry.path().strip_prefix(dir)?.as_os_str().as_encoded_bytes();
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        let facts = [
            metadata.ino(),
            u64::from(metadata.mode()),
            u64::from(metadata.uid()),
            u64::from(metadata.gid()),
            metadata.size(),
        ];
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        for number in facts {
            hash.update(number.to_be_bytes());
        }
        // A directory's own times change when it is renamed on some file systems; what is in it is listed anyway.
        if !metadata.is_dir() {
            for number in times {
                hash.update(number.to_be_bytes());
            }
        }
    }
    Ok(hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn one_changed_byte_shows_even_with_the_old_times_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "aaaa").unwrap();
        let before = of_dir(dir.path(), "").unwrap();
        assert_eq!(before, of_dir(dir.path(), "").unwrap());
        let times = fs::metadata(&path).unwrap();
        // The kernel's clock for files ticks every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, "aaba").unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(times.modified().unwrap()).unwrap();
        assert_ne!(before, of_dir(dir.path(), "").unwrap());
    }

    #[test]
    fn a_file_more_or_less_shows_and_the_excepted_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/f"), "").unwrap();
        let before = of_dir(dir.path(), "note").unwrap();
        fs::write(dir.path().join("note"), "x").unwrap();
        assert_eq!(before, of_dir(dir.path(), "note").unwrap());
        fs::write(dir.path().join("d/g"), "").unwrap();
        assert_ne!(before, of_dir(dir.path(), "note").unwrap());
    }
}

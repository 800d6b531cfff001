//! Publishing: a final name holds the whole new content or what it held before, whatever happens.
//!
//! The new content is written beside the target, flushed to the disk and renamed over it.

use std::fs::{File, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use tempfile::NamedTempFile;

use crate::fs::{self, AtPath, PathError};

/// A file that appears under its name only by [`AtomicFile::commit`]; dropped without, it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    file: NamedTempFile,
    target: PathBuf,
}

impl AtomicFile {
    /// Opens a new file beside `target`, with these permission bits whatever the umask is.
    pub fn create(target: &Path, mode: u32) -> Result<Self, PathError> {
        let directory = parent(target);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let file = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .tempfile_in(directory)
            .at("create a file in", directory)?;
        file.as_file().set_permissions(Permissions::from_mode(mode)).at("set the mode of", target)?;
        Ok(Self { file, target: target.to_owned() })
    }

    /// The file behind, for copies that need a descriptor.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Where the bytes are until the commit, for programs that write the file themselves.
    pub fn scratch_path(&self) -> &Path {
        self.file.path()
    }

    /// Flushes the content to the disk and gives it its name.
    pub fn commit(self) -> Result<(), PathError> {
        let Self { file, target } = self;
        file.as_file().sync_all().at("flush", &target)?;
        file.persist(&target).map_err(|error| error.error).at("rename to", &target)?;
        sync_dir(parent(&target))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

/// Writes a whole file under its name or not at all.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PathError> {
    let mut file = AtomicFile::create(path, mode)?;
    file.write_all(bytes).at("write", path)?;
    file.commit()
}

/// Waits until everything that was written to the file system of `path` is on its disk (syncfs(2)).
pub fn flush_file_system(path: &Path) -> Result<(), PathError> {
    rustix::fs::syncfs(fs::open(path)?).at("flush", path)
}

/// Gives a finished directory its final name, replacing (and removing) an older one.
///
/// Both must be on one file system. There is no moment in which the final name holds half a directory.
pub fn publish_dir(finished: &Path, target: &Path) -> Result<(), PathError> {
    flush_file_system(finished)?;
    match rustix::fs::renameat_with(CWD, finished, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => replace_dir(finished, target)?,
        // The file system knows no flags; a plain rename replaces an empty directory at most.
        Err(rustix::io::Errno::INVAL) => fs::rename(finished, target)?,
        Err(error) => return Err(PathError::new("rename to", target, error)),
    }
    sync_dir(parent(target))
}

/// Swaps the two directories in one step, then removes the old one under its scratch name.
fn replace_dir(finished: &Path, target: &Path) -> Result<(), PathError> {
    rustix::fs::renameat_with(CWD, finished, CWD, target, RenameFlags::EXCHANGE).at("replace", target)?;
    sync_dir(parent(target))?;
    fs::remove_dir_all_if_exists(finished)
}

fn sync_dir(path: &Path) -> Result<(), PathError> {
    fs::open(path)?.sync_all().at("flush", path)
}

/// The directory that holds the path; a bare name is in the current one.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let list = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = list.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_content_and_sets_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_atomic(&path, b"old", 0o644).unwrap();
        write_atomic(&path, b"new", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn dropping_an_unfinished_file_keeps_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_atomic(&path, b"old", 0o644).unwrap();
        let mut half = AtomicFile::create(&path, 0o644).unwrap();
        half.write_all(b"ne").unwrap();
        drop(half);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn publishes_a_directory_over_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let (scratch, target) = (dir.path().join("scratch"), dir.path().join("final"));
        for content in ["one", "two"] {
            std::fs::create_dir(&scratch).unwrap();
            std::fs::write(scratch.join(content), content).unwrap();
            publish_dir(&scratch, &target).unwrap();
            assert_eq!(names(&target), [content]);
        }
        assert_eq!(names(dir.path()), ["final"]);
    }

    #[test]
    fn missing_directory_is_named_in_the_error() {
        let error = write_atomic(Path::new("/no/such/dir/f"), b"", 0o644).unwrap_err();
        assert_eq!(error.path, Path::new("/no/such/dir"));
    }
}

//! The disk of a guest: a copy of the image that is as large as a real disk and takes no more room than what is written.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use tools::{HostRunner, ResultExt as _, Runner as _, Tool};

/// Makes the disk of at least `bytes`; it appears under its name only when it is whole.
pub fn make_disk(image: &Path, disk: &Path, bytes: u64) -> Result<()> {
    let making = disk.with_extension("new");
    copy_sparse(image, &making)?;
    let file = fs::OpenOptions::new().write(true).open(&making)?;
    // The image may be larger; a disk is never cut.
    let size = bytes.max(file.metadata()?.len());
    file.set_len(size)?;
    Ok(fs::rename(making, disk)?)
}

/// Copies a file with its holes; zeros become holes too.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let tool = Tool::new("cp").args(["--sparse=always", "--"]).args([from.as_os_str(), to.as_os_str()]);
    HostRunner::new().run(&tool).remedied().map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_disk_is_large_holds_the_image_and_takes_little_room() {
        let dir = tempfile::tempdir().unwrap();
        let (image, disk) = (dir.path().join("image"), dir.path().join("disk.raw"));
        fs::write(&image, [7; 8192]).unwrap();
        make_disk(&image, &disk, 1 << 30).unwrap();
        let facts = fs::metadata(&disk).unwrap();
        assert_eq!(facts.len(), 1 << 30);
        assert!(facts.blocks() * 512 < 1 << 20, "{} blocks", facts.blocks());
        let mut start = [0; 8192];
        std::io::Read::read_exact(&mut fs::File::open(&disk).unwrap(), &mut start).unwrap();
        assert_eq!(start, [7; 8192]);
    }

    #[test]
    fn an_image_larger_than_the_disk_is_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (image, disk) = (dir.path().join("image"), dir.path().join("disk.raw"));
        fs::write(&image, [7; 8192]).unwrap();
        make_disk(&image, &disk, 4096).unwrap();
        assert_eq!(fs::metadata(&disk).unwrap().len(), 8192);
    }
}

//! One bit changed behind the host's back, at a place that matters.

use fs_err::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::{ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

use super::{esp, slot_a};

/// Stands once on the ESP, in a section of the signed kernel image (docs/formats/first-boot.md, kernel command line).
const IN_UKI: &[u8] = b"systemd.verity_root_options=panic-on-corruption";

/// A change that can be taken back.
#[derive(Debug)]
#[must_use = "the change stays until it is undone"]
pub struct Flip {
    disk: PathBuf,
    offset: u64,
}

impl Flip {
    /// Changes the lowest bit of the byte at `offset`.
    fn new(disk: &Path, offset: u64) -> Result<Self> {
        flip(disk, offset)?;
        Ok(Self { disk: disk.to_owned(), offset })
    }

    /// The byte on the disk.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Changes it back.
    pub fn undo(self) -> Result<()> {
        flip(&self.disk, self.offset)
    }
}

/// Flips the lowest bit of the first byte that `file` has of its own in slot A of `disk`.
///
/// `tree` holds `dump.erofs`, `root` is the image that the slot was made from.
pub fn flip_in_file(tree: &Path, root: &Path, disk: &Path, file: &str) -> Result<Flip> {
    let tool = Tool::new("dump.erofs").args(["-e", &format!("--path={file}"), "/run/root.erofs"]);
    let sandbox = Sandbox::new(tree).bind_read_only(root, "/run/root.erofs");
    let shown = SandboxRunner::new(sandbox).run(&tool).remedied()?.stdout_text();
    let inside =
        first_extent(&shown).with_context(|| format!("`{file}` has no block of its own in the image:\n{shown}"))?;
    let (slot, _) = slot_a(disk)?;
    Flip::new(disk, slot.checked_add(inside).context("the place of the file is beyond the disk")?)
}

/// Flips one bit in the middle of the signed kernel image on the ESP.
pub fn flip_in_uki(disk: &Path) -> Result<Flip> {
    let (start, length) = esp(disk)?;
    let mut bytes = vec![0; usize::try_from(length)?];
    fs::File::open(disk)?.read_exact_at(&mut bytes, start)?;
    let at = bytes.windows(IN_UKI.len()).position(|window| window == IN_UKI).context("no kernel image on the ESP")?;
    Flip::new(disk, start + u64::try_from(at)?)
}

/// `dump.erofs -e` writes `Ext: logical offset | length : physical offset | length` and then a line for each extent.
fn first_extent(shown: &str) -> Option<u64> {
    let line = shown.lines().find(|line| line.trim_start().starts_with("0:"))?;
    line.split(':').nth(2)?.split("..").next()?.trim().parse().ok()
}

fn flip(disk: &Path, offset: u64) -> Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).open(disk)?;
    let mut byte = [0];
    ensure!(file.read_at(&mut byte, offset)? == 1, "the disk ends before byte {offset}");
    byte[0] ^= 1;
    file.write_all_at(&byte, offset)?;
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::super::partitions::tests::disk;
    use super::*;

    #[test]
    fn the_place_of_the_first_extent_is_read_from_the_dump() {
        let shown = "Path : /usr/sbin/sshd\nSize: 921288\n\n Ext:   logical offset   |  length :     physical offset    |  length\n   \
                     0:        0..  131072 |  131072 :   12345344..  12410880 |   65536\n   1:   131072..  262144 |  131072 :   12410880..  12476416 |   65536\n";
        assert_eq!(first_extent(shown), Some(12_345_344));
        for broken in ["", "   0:", "   0: 1..2 | 3 : x..y | 4", "Ext: nothing"] {
            assert_eq!(first_extent(broken), None, "{broken}");
        }
    }

    #[test]
    fn exactly_one_bit_changes_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk.raw");
        fs::write(&disk, [8; 16]).unwrap();
        let change = Flip::new(&disk, 5).unwrap();
        let mut expected = [8; 16];
        expected[5] = 9;
        assert_eq!(fs::read(&disk).unwrap(), expected);
        change.undo().unwrap();
        assert_eq!(fs::read(&disk).unwrap(), [8; 16]);
        assert!(Flip::new(&disk, 16).is_err());
    }

    #[test]
    fn the_kernel_image_is_found_on_the_esp() {
        let dir = tempfile::tempdir().unwrap();
        let path = disk(dir.path(), &[&[0; 100], IN_UKI].concat());
        let change = flip_in_uki(&path).unwrap();
        assert_eq!(change.offset(), esp(&path).unwrap().0 + 100);
        assert!(flip_in_uki(&path).is_err(), "the words are changed");
        change.undo().unwrap();
        let _ = flip_in_uki(&path).unwrap();
    }
}

//! One bit changed behind the host's back, in a file that every boot reads.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use formats::guid::Guid;
use fs_err as fs;
use pipeline::partition_table;
use pipeline::programs::{ToolsTree, Workplace};
use tools::Tool;

/// Flips the lowest bit of the first byte that `file` has of its own in slot A of `disk`; returns its place on the disk.
pub(crate) fn flip_in_file(tree: &ToolsTree, output: &Path, disk: &Path, file: &str) -> Result<u64> {
    let tool = Tool::new("dump.erofs").args(["-e", &format!("--path={file}"), "/run/root.erofs"]);
    let root = output.join("root.erofs");
    let shown = tree.run(&tool, &[Workplace::Input(&root, "/run/root.erofs")])?.stdout_text();
    let inside =
        first_extent(&shown).with_context(|| format!("`{file}` has no block of its own in the image:\n{shown}"))?;
    let offset = slot_offset(disk)?.checked_add(inside).context("the place of the file is beyond the disk")?;
    flip(disk, offset)?;
    Ok(offset)
}

/// `dump.erofs -e` writes `Ext: logical offset | length : physical offset | length` and then a line for each extent.
fn first_extent(shown: &str) -> Option<u64> {
    let line = shown.lines().find(|line| line.trim_start().starts_with("0:"))?;
    line.split(':').nth(2)?.split("..").next()?.trim().parse().ok()
}

/// The first root partition of the disk is slot A.
fn slot_offset(disk: &Path) -> Result<u64> {
    let mut file = fs::File::open(disk)?;
    let size = file.seek(SeekFrom::End(0))?;
    let table = partition_table::read(&mut file, size)?.table;
    let slot = table.partitions().iter().find(|partition| partition.type_guid == Guid::ROOT_X86_64);
    Ok(table.extent(slot.context("the disk has no root partition")?).0)
}

fn flip(disk: &Path, offset: u64) -> Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(disk)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))?;
    ensure!(file.read(&mut byte)? == 1, "the disk ends before byte {offset}");
    byte[0] ^= 1;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&byte)?;
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
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
        flip(&disk, 5).unwrap();
        let mut expected = [8; 16];
        expected[5] = 9;
        assert_eq!(fs::read(&disk).unwrap(), expected);
        flip(&disk, 5).unwrap();
        assert_eq!(fs::read(&disk).unwrap(), [8; 16]);
        assert!(flip(&disk, 16).is_err());
    }
}

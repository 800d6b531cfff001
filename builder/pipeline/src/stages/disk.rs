//! The flashable disk: GPT, the EFI system partition with systemd-boot and the UKI, and slot A.
//!
//! Slot B and state are made on the host at first boot. The file is sparse: blocks of zeros are never written.

use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::Result;
use formats::blocks::is_zero;
use formats::gpt::{Attributes, DiskSize, PlannedPartition, SectorSize, Table, plan_layout};
use formats::guid::Guid;
use formats::verity::RootHash;
use fs_err as fs;

use crate::partition_table;
use crate::programs::{ToolsTree, mtools};

/// What goes on the disk.
#[derive(Debug)]
pub struct DiskParts<'a> {
    /// `<image>_<version>`, the labels' stem.
    pub label: &'a str,
    /// The root file system.
    pub root: &'a Path,
    /// Its hash tree.
    pub verity: &'a Path,
    /// Its root hash: gives the partitions their identities.
    pub root_hash: &'a RootHash,
    /// A directory with the content of the EFI system partition.
    pub esp: &'a Path,
    /// Sizes of the partitions in bytes.
    pub sizes: DiskSizes,
}

/// Sizes of the partitions in bytes; each a multiple of 1 MiB.
#[derive(Debug, Clone, Copy)]
pub struct DiskSizes {
    /// EFI system partition.
    pub esp: u64,
    /// Root data of one slot.
    pub root: u64,
    /// Hash tree of one slot.
    pub verity: u64,
}

/// Writes the disk image to `output`.
pub fn make(tools: &ToolsTree, parts: &DiskParts<'_>, output: &Path, epoch: u64) -> Result<Table> {
    let table = layout(parts)?;
    let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(output)?;
    file.set_len(table.disk_bytes())?;
    for (offset, bytes) in partition_table::pieces(&table) {
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(&bytes)?;
    }
    for (index, source) in [(1, parts.root), (2, parts.verity)] {
        let (offset, size) = table.extent(&table.partitions()[index]);
        copy_sparse(&mut fs::File::open(source)?, &mut file, offset, size, source)?;
    }
    drop(file);
    let (offset, size) = table.extent(&table.partitions()[0]);
    let place = mtools::Extent { disk: output, offset, size };
    mtools::make_file_system(tools, place, epoch)?;
    mtools::copy_in(tools, place, parts.esp, epoch)?;
    Ok(table)
}

/// The table of the flashed image: ESP, root A, verity A.
fn layout(parts: &DiskParts<'_>) -> Result<Table> {
    let (root_guid, verity_guid) = parts.root_hash.partition_guids();
    let derived = |what: &str| Guid::derived_from(&format!("{} {what} {}", parts.label, parts.root_hash));
    let planned = |type_guid, part_guid, name: &str, size_bytes, attributes| -> Result<PlannedPartition> {
        Ok(PlannedPartition { type_guid, part_guid, size_bytes, attributes, name: name.parse()? })
    };
    let (read_only, sizes) = (Attributes::READ_ONLY, parts.sizes);
    let verity_label = format!("{}_verity", parts.label);
    let partitions = [
        planned(Guid::ESP, derived("esp"), "esp", sizes.esp, Attributes::NONE)?,
        planned(Guid::ROOT_X86_64, root_guid, parts.label, sizes.root, read_only)?,
        planned(Guid::ROOT_VERITY_X86_64, verity_guid, &verity_label, sizes.verity, read_only)?,
    ];
    Ok(plan_layout(SectorSize::Bytes512, DiskSize::Smallest, derived("disk"), &partitions)?)
}

/// Copies `source` to `offset` of `target`, leaving out blocks of zeros; refuses more than `limit` bytes.
fn copy_sparse(source: &mut impl Read, target: &mut fs::File, offset: u64, limit: u64, name: &Path) -> Result<u64> {
    const BLOCK: usize = 1 << 20;
    let mut block = vec![0; BLOCK];
    let mut copied = 0;
    loop {
        let mut filled = 0;
        while filled < BLOCK {
            match source.read(&mut block[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            return Ok(copied);
        }
        let end = copied + filled as u64;
        if end > limit {
            let message = format!("`{}` does not fit its partition of {} MiB", name.display(), limit >> 20);
            return Err(tools::Failure::refused(message)
                .hint("name fewer packages, or a larger `slot` in image.toml")
                .into());
        }
        if !is_zero(&block[..filled]) {
            target.seek(SeekFrom::Start(offset + copied))?;
            target.write_all(&block[..filled])?;
        }
        copied = end;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn zeros_are_not_written_and_too_much_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let mut target = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        target.set_len(16 << 20).unwrap();
        let mut data = vec![0; 8 << 20];
        data[5 << 20] = 7;
        let copied = copy_sparse(&mut data.as_slice(), &mut target, 1 << 20, 8 << 20, Path::new("x")).unwrap();
        target.sync_all().unwrap();
        assert_eq!(copied, 8 << 20);
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes[6 << 20], bytes.iter().filter(|byte| **byte != 0).count()), (7, 1));
        assert!(target.metadata().unwrap().blocks() * 512 <= 2 << 20);
        let error = copy_sparse(&mut data.as_slice(), &mut target, 0, 1 << 20, Path::new("x")).unwrap_err();
        assert!(error.to_string().contains("does not fit"), "{error}");
    }
}

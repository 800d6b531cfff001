//! Where the partitions of a disk image lie, by its own table.

use fs_err::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use formats::gpt::{self, SectorSize};
use formats::guid::Guid;
use fs_err as fs;

/// Offset and length of the EFI system partition in bytes.
pub fn esp(disk: &Path) -> Result<(u64, u64)> {
    partition(disk, Guid::ESP)
}

/// Offset and length in bytes of slot A without its hash tree: the first root partition.
pub fn slot_a(disk: &Path) -> Result<(u64, u64)> {
    partition(disk, Guid::ROOT_X86_64)
}

/// Offset and length in bytes of slot B's hash tree: the last partition of its type.
pub fn slot_b_tree(disk: &Path) -> Result<(u64, u64)> {
    partitions(disk, Guid::ROOT_VERITY_X86_64)?.pop().context("the disk has no slot B")
}

/// The first partition of this type.
fn partition(disk: &Path, kind: Guid) -> Result<(u64, u64)> {
    let found = partitions(disk, kind)?.into_iter().next();
    found.with_context(|| format!("`{}` has no partition of type {kind}", disk.display()))
}

fn partitions(disk: &Path, kind: Guid) -> Result<Vec<(u64, u64)>> {
    let (file, sector) = (fs::File::open(disk)?, SectorSize::Bytes512);
    let size = file.metadata()?.len();
    let (mut head, mut tail) =
        (vec![0; usize::try_from(sector.head_bytes())?], vec![0; usize::try_from(sector.tail_bytes())?]);
    file.read_exact_at(&mut head, 0)?;
    file.read_exact_at(&mut tail, size.saturating_sub(sector.tail_bytes()))?;
    let table = gpt::parse(sector, size / sector.bytes(), &head, &tail)?.table;
    let of_kind = table.partitions().iter().filter(|partition| partition.type_guid == kind);
    Ok(of_kind.map(|partition| table.extent(partition)).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use formats::gpt::{Attributes, DiskSize, PlannedPartition, plan_layout};

    use super::*;

    /// A disk with an ESP that holds `esp` at its start, and a root.
    pub(in super::super) fn disk(dir: &Path, esp: &[u8]) -> PathBuf {
        let planned = |type_guid: Guid, name: &str| PlannedPartition {
            type_guid,
            part_guid: Guid::derived_from(name),
            name: name.parse().unwrap(),
            size_bytes: 3 << 20,
            attributes: Attributes::NONE,
        };
        let parts = [planned(Guid::ESP, "esp"), planned(Guid::ROOT_X86_64, "root")];
        let table = plan_layout(SectorSize::Bytes512, DiskSize::Smallest, Guid::derived_from("disk"), &parts).unwrap();
        let path = dir.join("disk.raw");
        let file = fs::File::create(&path).unwrap();
        file.set_len(table.disk_bytes()).unwrap();
        file.write_all_at(&table.primary_bytes(), 0).unwrap();
        file.write_all_at(&table.backup_bytes(), table.backup_offset()).unwrap();
        file.write_all_at(esp, table.extent(&table.partitions()[0]).0).unwrap();
        path
    }

    #[test]
    fn partitions_are_found_by_their_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = disk(dir.path(), b"content");
        let (start, length) = esp(&path).unwrap();
        assert_eq!((start, length), (1 << 20, 3 << 20));
        assert_eq!(slot_a(&path).unwrap().0, start + length);
    }

    #[test]
    fn a_disk_without_table_or_partition_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = disk(dir.path(), b"");
        let error = partition(&path, Guid::ROOT_VERITY_X86_64).unwrap_err();
        assert!(error.to_string().contains("no partition"), "{error}");
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        assert!(esp(&path).is_err());
    }
}

//! Placing partitions one after the other.
//!
//! Pure arithmetic: every partition starts at a whole MiB and is rounded up to one, so that any disk's inner block size divides
//! its start. Order is kept; nothing is moved to fill gaps.

use crate::guid::Guid;

use super::{Attributes, GptError, PartName, Partition, SectorSize, Table};

/// Alignment of starts and sizes in bytes: 1 MiB.
pub const ALIGNMENT: u64 = 1 << 20;

/// A partition that has no place yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPartition {
    /// What it is for.
    pub type_guid: Guid,
    /// Which one it is.
    pub part_guid: Guid,
    /// Least size in bytes; rounded up to a whole MiB.
    pub size_bytes: u64,
    /// Attribute bits.
    pub attributes: Attributes,
    /// Label.
    pub name: PartName,
}

/// How large the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskSize {
    /// As small as the partitions allow, in whole MiB.
    Smallest,
    /// This many bytes.
    Bytes(u64),
}

/// Places partitions in order and returns the table.
pub fn plan_layout(
    sector_size: SectorSize,
    disk_size: DiskSize,
    disk_guid: Guid,
    planned: &[PlannedPartition],
) -> Result<Table, GptError> {
    let sector = sector_size.bytes();
    let mut partitions = Vec::with_capacity(planned.len());
    let mut start = ALIGNMENT;
    for plan in planned {
        let end = end_of(start, plan)?;
        partitions.push(Partition {
            type_guid: plan.type_guid,
            part_guid: plan.part_guid,
            first_lba: start / sector,
            last_lba: end / sector - 1,
            attributes: plan.attributes,
            name: plan.name.clone(),
        });
        start = end;
    }
    // The backup copy takes part of one more MiB.
    let needed = start + ALIGNMENT;
    let available = match disk_size {
        DiskSize::Smallest => needed,
        DiskSize::Bytes(bytes) => bytes,
    };
    if start + sector_size.tail_bytes() > available {
        return Err(GptError::DoesNotFit { needed, available });
    }
    Table::new(sector_size, available / sector, disk_guid, partitions)
}

/// Returns the first byte behind a partition that starts at `start`.
fn end_of(start: u64, plan: &PlannedPartition) -> Result<u64, GptError> {
    let limit = 1 << 63;
    let rounded = plan.size_bytes.checked_next_multiple_of(ALIGNMENT).filter(|size| *size > 0);
    let end = rounded.and_then(|size| start.checked_add(size)).filter(|end| *end < limit);
    end.ok_or_else(|| GptError::PartitionSize { name: plan.name.clone(), size_bytes: plan.size_bytes })
}

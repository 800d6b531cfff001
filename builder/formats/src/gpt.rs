//! GUID partition tables: planned, written and read back.
//!
//! UEFI 2.10 chapter 5: a protective boot record, a primary header with 128 entries at the start of the disk and a second copy
//! of both at its end, each with CRC-32 sums. A [`Table`] is always valid: partitions lie inside the usable area, do not overlap and
//! have different identifiers. This code returns bytes and where they go; it never writes to a device and never repairs one.

mod attributes;
mod crc;
mod header;
mod layout;
mod name;
mod reading;
mod writing;

pub use attributes::Attributes;
pub use layout::{ALIGNMENT, DiskSize, PlannedPartition, plan_layout};
pub use name::{PartName, PartNameError};
pub use reading::{Copies, CopyError, ParsedTable, parse};

use crate::guid::Guid;

/// Entries in a table; what every tool makes and firmware must accept.
pub const ENTRY_COUNT: u32 = 128;
/// Bytes of one entry.
pub const ENTRY_SIZE: u32 = 128;

/// Bytes in one logical block of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectorSize {
    /// 512 bytes: nearly all disks, and all virtual ones unless asked otherwise.
    Bytes512,
    /// 4096 bytes: disks sold as "4Kn".
    Bytes4096,
}

impl SectorSize {
    /// Returns the size in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Bytes512 => 512,
            Self::Bytes4096 => 4096,
        }
    }

    /// Returns how many sectors the entries of one copy fill.
    pub const fn entry_sectors(self) -> u64 {
        (ENTRY_COUNT as u64 * ENTRY_SIZE as u64) / self.bytes()
    }

    /// Returns how many bytes from the start of a disk hold the protective record and the primary copy.
    pub const fn head_bytes(self) -> u64 {
        (2 + self.entry_sectors()) * self.bytes()
    }

    /// Returns how many bytes at the end of a disk hold the backup copy.
    pub const fn tail_bytes(self) -> u64 {
        (1 + self.entry_sectors()) * self.bytes()
    }
}

/// Most bytes of a disk.
const LARGEST_DISK: u64 = i64::MAX as u64;

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub type_guid: Guid,
    /// Which one it is; different for every partition.
    pub part_guid: Guid,
    /// First sector.
    pub first_lba: u64,
    /// Last sector, included.
    pub last_lba: u64,
    /// Attribute bits.
    pub attributes: Attributes,
    /// Label.
    pub name: PartName,
}

impl Partition {
    /// Returns the number of sectors.
    pub const fn sectors(&self) -> u64 {
        self.last_lba.saturating_sub(self.first_lba).saturating_add(1)
    }
}

/// A valid partition table of a disk of known size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    sector_size: SectorSize,
    disk_sectors: u64,
    disk_guid: Guid,
    partitions: Vec<Partition>,
}

/// Why a table is not valid or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GptError {
    /// The disk cannot hold the two copies of the table.
    #[error("disk has {sectors} sectors, expected at least {least}: use a larger disk")]
    DiskTooSmall {
        /// Sectors of the disk.
        sectors: u64,
        /// Fewest sectors that do.
        least: u64,
    },
    /// A disk whose bytes cannot be counted: only a table that lies names one.
    #[error("disk has {sectors} sectors, expected less than 2^63 bytes: the partition table is damaged or forged")]
    DiskTooLarge {
        /// Sectors of the disk.
        sectors: u64,
    },
    /// More partitions than entries.
    #[error("{count} partitions, expected at most {ENTRY_COUNT}")]
    TooManyPartitions {
        /// Number of partitions.
        count: usize,
    },
    /// A partition leaves the usable area or ends before it starts.
    #[error(
        "partition `{name}` is at sectors {first_lba} to {last_lba}, expected inside {usable_first} to {usable_last}"
    )]
    OutOfRange {
        /// Label of the partition.
        name: PartName,
        /// Its first sector.
        first_lba: u64,
        /// Its last sector.
        last_lba: u64,
        /// First sector that a partition may use.
        usable_first: u64,
        /// Last sector that a partition may use.
        usable_last: u64,
    },
    /// Two partitions share sectors.
    #[error("partitions `{first}` and `{second}` overlap at sector {lba}: move or shrink one of them")]
    Overlap {
        /// Label of the one that starts first.
        first: PartName,
        /// Label of the other.
        second: PartName,
        /// First sector in common.
        lba: u64,
    },
    /// Two partitions have the same identifier.
    #[error("partitions `{first}` and `{second}` have the same GUID `{guid}`: give each its own")]
    DuplicateGuid {
        /// Label of the one.
        first: PartName,
        /// Label of the other.
        second: PartName,
        /// The identifier.
        guid: Guid,
    },
    /// A partition without a type is an unused entry.
    #[error("partition `{name}` has the all-zero type or identifier: it would be an unused entry")]
    ZeroGuid {
        /// Label of the partition.
        name: PartName,
    },
    /// A partition of no bytes, or one too large to count.
    #[error("partition `{name}` has {size_bytes} bytes: expected more than 0 and a sum below 2^63")]
    PartitionSize {
        /// Label of the partition.
        name: PartName,
        /// The size asked for.
        size_bytes: u64,
    },
    /// The disk is smaller than the partitions.
    #[error("partitions need {needed} bytes, the disk has {available}: use a larger disk or smaller partitions")]
    DoesNotFit {
        /// Bytes needed.
        needed: u64,
        /// Bytes of the disk.
        available: u64,
    },
    /// No copy can be used.
    #[error("no usable partition table: primary copy: {primary}; backup copy: {backup}")]
    NoGoodCopy {
        /// What is wrong at the start of the disk.
        primary: Box<CopyError>,
        /// What is wrong at its end.
        backup: Box<CopyError>,
    },
}

impl Table {
    /// Makes a table, or says why it would not be valid. The order of partitions is kept: it is their numbering.
    pub fn new(
        sector_size: SectorSize,
        disk_sectors: u64,
        disk_guid: Guid,
        partitions: Vec<Partition>,
    ) -> Result<Self, GptError> {
        // Both copies, the protective record and one sector to use.
        let least = 2 * sector_size.entry_sectors() + 4;
        if disk_sectors < least {
            return Err(GptError::DiskTooSmall { sectors: disk_sectors, least });
        }
        // Offsets of files are signed, so nothing behind this can be read; and no place below it overflows.
        if disk_sectors > LARGEST_DISK / sector_size.bytes() {
            return Err(GptError::DiskTooLarge { sectors: disk_sectors });
        }
        if partitions.len() > ENTRY_COUNT as usize {
            return Err(GptError::TooManyPartitions { count: partitions.len() });
        }
        let table = Self { sector_size, disk_sectors, disk_guid, partitions };
        table.check_ranges()?;
        table.check_overlaps()?;
        table.check_guids()?;
        Ok(table)
    }

    /// Returns the sector size.
    pub const fn sector_size(&self) -> SectorSize {
        self.sector_size
    }

    /// Returns the number of sectors of the disk.
    pub const fn disk_sectors(&self) -> u64 {
        self.disk_sectors
    }

    /// Returns the size of the disk in bytes.
    pub const fn disk_bytes(&self) -> u64 {
        self.disk_sectors.saturating_mul(self.sector_size.bytes())
    }

    /// Returns the identifier of the disk.
    pub const fn disk_guid(&self) -> Guid {
        self.disk_guid
    }

    /// Returns the partitions in the order of their numbers, from 1.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// Returns the partition with this label.
    pub fn find(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name.as_str() == name)
    }

    /// Returns where a partition starts and how long it is, in bytes.
    pub const fn extent(&self, partition: &Partition) -> (u64, u64) {
        let sector = self.sector_size.bytes();
        (partition.first_lba.saturating_mul(sector), partition.sectors().saturating_mul(sector))
    }

    /// Returns the first sector that a partition may use.
    pub const fn first_usable_lba(&self) -> u64 {
        2 + self.sector_size.entry_sectors()
    }

    /// Returns the last sector that a partition may use.
    pub const fn last_usable_lba(&self) -> u64 {
        self.disk_sectors - 2 - self.sector_size.entry_sectors()
    }

    /// Returns the same table for a disk of another size, as for an image written to a larger disk.
    pub fn with_disk_sectors(&self, disk_sectors: u64) -> Result<Self, GptError> {
        Self::new(self.sector_size, disk_sectors, self.disk_guid, self.partitions.clone())
    }

    fn check_ranges(&self) -> Result<(), GptError> {
        let (usable_first, usable_last) = (self.first_usable_lba(), self.last_usable_lba());
        let bad = self.partitions.iter().find(|partition| {
            partition.first_lba < usable_first
                || partition.last_lba > usable_last
                || partition.last_lba < partition.first_lba
        });
        match bad {
            None => Ok(()),
            Some(Partition { name, first_lba, last_lba, .. }) => Err(GptError::OutOfRange {
                name: name.clone(),
                first_lba: *first_lba,
                last_lba: *last_lba,
                usable_first,
                usable_last,
            }),
        }
    }

    fn check_overlaps(&self) -> Result<(), GptError> {
        let mut sorted: Vec<&Partition> = self.partitions.iter().collect();
        sorted.sort_by_key(|partition| partition.first_lba);
        let neighbours = sorted.iter().zip(sorted.iter().skip(1));
        let mut clashes = neighbours.filter(|(first, second)| second.first_lba <= first.last_lba);
        match clashes.next() {
            None => Ok(()),
            Some((first, second)) => {
                Err(GptError::Overlap { first: first.name.clone(), second: second.name.clone(), lba: second.first_lba })
            }
        }
    }

    fn check_guids(&self) -> Result<(), GptError> {
        for (index, partition) in self.partitions.iter().enumerate() {
            if partition.type_guid == Guid::ZERO || partition.part_guid == Guid::ZERO {
                return Err(GptError::ZeroGuid { name: partition.name.clone() });
            }
            let earlier = &self.partitions[..index];
            if let Some(twin) = earlier.iter().find(|other| other.part_guid == partition.part_guid) {
                let (first, second) = (twin.name.clone(), partition.name.clone());
                return Err(GptError::DuplicateGuid { first, second, guid: partition.part_guid });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod lies;
#[cfg(test)]
mod tests;

//! Tables as bytes, with their places on the disk.
//!
//! Write the backup copy first, flush, then the primary, flush: after a cut at any point one copy is whole.

use super::crc::crc32;
use super::header::Header;
use super::{ENTRY_COUNT, ENTRY_SIZE, Partition, Table};

/// Kind of a protective boot record entry (UEFI 2.10, 5.2.3).
const PROTECTIVE_TYPE: u8 = 0xee;

impl Table {
    /// Returns what goes to byte 0 of the disk: protective record, primary header, entries.
    pub fn primary_bytes(&self) -> Vec<u8> {
        let entries = self.entry_bytes();
        let mut bytes = self.pad(self.protective_record());
        bytes.extend(self.pad(self.header(1, self.disk_sectors - 1, 2, &entries).to_bytes()));
        bytes.extend(entries);
        bytes
    }

    /// Returns what goes to [`Table::backup_offset`]: entries and backup header.
    pub fn backup_bytes(&self) -> Vec<u8> {
        let mut bytes = self.entry_bytes();
        let header = self.header(self.disk_sectors - 1, 1, self.last_usable_lba() + 1, &bytes);
        bytes.extend(self.pad(header.to_bytes()));
        bytes
    }

    /// Returns the byte of the disk at which the backup copy starts.
    pub const fn backup_offset(&self) -> u64 {
        (self.last_usable_lba() + 1).saturating_mul(self.sector_size.bytes())
    }

    fn header(&self, my_lba: u64, alternate_lba: u64, entries_lba: u64, entries: &[u8]) -> Header {
        Header {
            my_lba,
            alternate_lba,
            first_usable_lba: self.first_usable_lba(),
            last_usable_lba: self.last_usable_lba(),
            disk_guid: self.disk_guid,
            entries_lba,
            entries_crc: crc32(entries),
        }
    }

    fn entry_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.partitions.iter().flat_map(entry).collect();
        bytes.resize((ENTRY_COUNT * ENTRY_SIZE) as usize, 0);
        bytes
    }

    /// Returns the record that tells old tools that the whole disk is taken.
    fn protective_record(&self) -> Vec<u8> {
        let mut record = vec![0; 446];
        let sectors = u32::try_from(self.disk_sectors - 1).unwrap_or(u32::MAX);
        record.extend([0x00, 0x00, 0x02, 0x00, PROTECTIVE_TYPE, 0xff, 0xff, 0xff]);
        record.extend(1_u32.to_le_bytes());
        record.extend(sectors.to_le_bytes());
        record.resize(510, 0);
        record.extend([0x55, 0xaa]);
        record
    }

    /// Fills up to a whole sector.
    fn pad(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let sector = match self.sector_size {
            super::SectorSize::Bytes512 => 512,
            super::SectorSize::Bytes4096 => 4096,
        };
        bytes.resize(sector, 0);
        bytes
    }
}

/// Returns the 128 bytes of one entry.
fn entry(partition: &Partition) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENTRY_SIZE as usize);
    bytes.extend(partition.type_guid.to_gpt_bytes());
    bytes.extend(partition.part_guid.to_gpt_bytes());
    bytes.extend(partition.first_lba.to_le_bytes());
    bytes.extend(partition.last_lba.to_le_bytes());
    bytes.extend(partition.attributes.bits().to_le_bytes());
    bytes.extend(partition.name.to_field());
    bytes
}

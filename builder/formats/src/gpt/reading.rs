//! Tables read from the two ends of a disk.
//!
//! Each copy is checked on its own; the answer says which of them can be trusted to be whole. Only tables of 128 entries of 128 bytes
//! are read, which is what all partitioning tools make.

use crate::guid::Guid;
use crate::little_endian::{array_at, slice_at, u64_at};

use super::attributes::Attributes;
use super::crc::crc32;
use super::header::{Header, wrong};
use super::name::{FIELD_BYTES, PartName};
use super::{ENTRY_COUNT, ENTRY_SIZE, GptError, Partition, SectorSize, Table};

/// A table and the state of its two copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedTable {
    /// The table of the good copy; of the primary if both are good.
    pub table: Table,
    /// What was found.
    pub copies: Copies,
}

/// Which copies of the table are whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copies {
    /// Both, and they say the same.
    BothGood,
    /// Both are whole but say different things: an interrupted change. The primary counts.
    Differ,
    /// Only the one at the start of the disk.
    PrimaryOnly {
        /// What is wrong with the other.
        backup: CopyError,
    },
    /// Only the one at the end of the disk.
    BackupOnly {
        /// What is wrong with the other.
        primary: CopyError,
    },
}

/// What is wrong with one copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// Not enough bytes.
    #[error("the bytes of this copy are not there")]
    Missing,
    /// A field with a wrong value.
    #[error("{field} is {got}, expected {expected}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// An entry whose label is not text.
    #[error("the name of partition {number} is not valid text")]
    Name {
        /// Number of the entry, from 1.
        number: usize,
    },
    /// The partitions cannot all be right.
    #[error("{0}")]
    Table(Box<GptError>),
}

/// Reads the table of a disk of `disk_sectors` sectors.
///
/// `head` is the start of the disk (at least [`SectorSize::head_bytes`]); `tail` is its end (at least [`SectorSize::tail_bytes`]).
pub fn parse(sector_size: SectorSize, disk_sectors: u64, head: &[u8], tail: &[u8]) -> Result<ParsedTable, GptError> {
    let primary = parse_primary(sector_size, head);
    let backup = parse_backup(sector_size, disk_sectors, tail);
    match (primary, backup) {
        (Ok(table), Ok(other)) => {
            let copies = if table == other { Copies::BothGood } else { Copies::Differ };
            Ok(ParsedTable { table, copies })
        }
        (Ok(table), Err(backup)) => Ok(ParsedTable { table, copies: Copies::PrimaryOnly { backup } }),
        (Err(primary), Ok(table)) => Ok(ParsedTable { table, copies: Copies::BackupOnly { primary } }),
        (Err(primary), Err(backup)) => {
            Err(GptError::NoGoodCopy { primary: Box::new(primary), backup: Box::new(backup) })
        }
    }
}

/// Reads the copy at the start of a disk. The disk's size is taken from the header, as the image may be on a larger disk.
fn parse_primary(sector_size: SectorSize, head: &[u8]) -> Result<Table, CopyError> {
    let sector = sector_size.bytes();
    let header = Header::parse(slice_at(head, sector, sector).ok_or(CopyError::Missing)?)?;
    expect("place of the primary header", 1, header.my_lba)?;
    expect("place of the primary entries", 2, header.entries_lba)?;
    let entries = slice_at(head, 2 * sector, entries_length()).ok_or(CopyError::Missing)?;
    let last_lba = header.alternate_lba;
    make_table(sector_size, last_lba, &header, entries)
}

/// Reads the copy at the end of a disk.
fn parse_backup(sector_size: SectorSize, disk_sectors: u64, tail: &[u8]) -> Result<Table, CopyError> {
    let sector = sector_size.bytes();
    let length = tail.len() as u64;
    let header_at = length.checked_sub(sector).ok_or(CopyError::Missing)?;
    let header = Header::parse(slice_at(tail, header_at, sector).ok_or(CopyError::Missing)?)?;
    let last_lba = disk_sectors.checked_sub(1).ok_or(CopyError::Missing)?;
    expect("place of the backup header", last_lba, header.my_lba)?;
    let entries_lba = last_lba.checked_sub(sector_size.entry_sectors()).ok_or(CopyError::Missing)?;
    expect("place of the backup entries", entries_lba, header.entries_lba)?;
    expect("place of the primary header", 1, header.alternate_lba)?;
    let entries_at = length.checked_sub(sector_size.tail_bytes()).ok_or(CopyError::Missing)?;
    let entries = slice_at(tail, entries_at, entries_length()).ok_or(CopyError::Missing)?;
    make_table(sector_size, last_lba, &header, entries)
}

/// Checks the entries against their header and makes the table of a disk that ends at `last_lba`.
fn make_table(sector_size: SectorSize, last_lba: u64, header: &Header, entries: &[u8]) -> Result<Table, CopyError> {
    expect("CRC of the entries", header.entries_crc, crc32(entries))?;
    let sectors = last_lba.checked_add(1).ok_or_else(|| wrong("last sector", &"below 2^64 - 1", &last_lba))?;
    let partitions = parse_entries(entries)?;
    let table = Table::new(sector_size, sectors, header.disk_guid, partitions);
    let table = table.map_err(|error| CopyError::Table(Box::new(error)))?;
    // Other tools reserve more than the least (the first MiB), never less.
    if header.first_usable_lba < table.first_usable_lba() || header.last_usable_lba > table.last_usable_lba() {
        let expected = format!("inside {} to {}", table.first_usable_lba(), table.last_usable_lba());
        let got = format!("{} to {}", header.first_usable_lba, header.last_usable_lba);
        return Err(wrong("usable area", &expected, &got));
    }
    Ok(table)
}

/// Reads all used entries. Unused ones between them are skipped, so numbers close up as if there were none.
fn parse_entries(entries: &[u8]) -> Result<Vec<Partition>, CopyError> {
    let numbered = entries.chunks_exact(ENTRY_SIZE as usize).enumerate();
    let used = numbered.filter(|(_, entry)| !entry.starts_with(&[0; 16]));
    used.map(|(index, entry)| parse_entry(entry).ok_or(CopyError::Name { number: index + 1 })).collect()
}

/// Reads one entry; `None` if its label is not text.
fn parse_entry(entry: &[u8]) -> Option<Partition> {
    Some(Partition {
        type_guid: Guid::from_gpt_bytes(array_at(entry, 0)?),
        part_guid: Guid::from_gpt_bytes(array_at(entry, 16)?),
        first_lba: u64_at(entry, 32)?,
        last_lba: u64_at(entry, 40)?,
        attributes: Attributes::from_bits(u64_at(entry, 48)?),
        name: PartName::from_field(&array_at::<FIELD_BYTES>(entry, 56)?)?,
    })
}

const fn entries_length() -> u64 {
    ENTRY_COUNT as u64 * ENTRY_SIZE as u64
}

/// Checks one number.
fn expect<T: PartialEq + ToString + Copy>(field: &'static str, expected: T, got: T) -> Result<(), CopyError> {
    if expected == got { Ok(()) } else { Err(wrong(field, &expected, &got)) }
}

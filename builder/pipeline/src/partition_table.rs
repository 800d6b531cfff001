//! Partition tables of images and devices: read with both copies checked, and as the pieces to write.

use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context as _, Result};
use formats::gpt::{self, ParsedTable, SectorSize, Table};

/// Reads the table of a disk of `size` bytes with 512-byte sectors.
pub fn read(disk: &mut (impl Read + Seek), size: u64) -> Result<ParsedTable> {
    let sector = SectorSize::Bytes512;
    let mut head = vec![0; usize::try_from(sector.head_bytes())?];
    disk.seek(SeekFrom::Start(0))?;
    disk.read_exact(&mut head).context("the disk ends before its partition table does")?;
    let mut tail = vec![0; usize::try_from(sector.tail_bytes())?];
    disk.seek(SeekFrom::Start(size.saturating_sub(sector.tail_bytes())))?;
    disk.read_exact(&mut tail).context("the disk ends before its backup partition table does")?;
    Ok(gpt::parse(sector, size / sector.bytes(), &head, &tail)?)
}

/// What to write where, backup copy first: after a cut at any point one copy is whole.
pub fn pieces(table: &Table) -> [(u64, Vec<u8>); 2] {
    [(table.backup_offset(), table.backup_bytes()), (0, table.primary_bytes())]
}

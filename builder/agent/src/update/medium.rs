//! The disk that holds both slots: its partition table as it is found, and the only ways in which an update writes to
//! it.
//!
//! Everything is written through the node of the whole disk. The kernel's own list of partitions stays as it is until
//! the next start; nobody needs it before, since places and sizes never change.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::path::PathBuf;

use formats::gpt;
use formats::gpt::Copies;
use formats::gpt::ParsedTable;
use formats::gpt::SectorSize;
use formats::gpt::Table;
use rustix::fs::FlockOperation;

use super::UpdateError;
use crate::disk::Disk;
use crate::files::FileError;
use crate::files::Files;

/// A whole disk, not yet opened for writing.
#[derive(Debug, Clone)]
pub struct Medium {
    path: PathBuf,
    sector_size: SectorSize,
    sectors: u64,
}

impl Medium {
    /// The disk at `path`, with `sectors` of that size.
    pub fn new(path: &Path, sector_size: SectorSize, sectors: u64) -> Self {
        Self { path: path.to_owned(), sector_size, sectors }
    }

    /// The disk that this host was started from.
    pub fn of(disk: &Disk) -> Result<Self, UpdateError> {
        let (sector_size, sectors) = disk.sectors()?;
        Ok(Self::new(disk.device(), sector_size, sectors))
    }

    /// Its node, or the file that stands for it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the partition table, and which of its copies are whole. It ends where the disk does: one that was written
    /// for a smaller disk is taken to the whole of this one, for there a kernel looks for the backup copy when the
    /// primary is torn.
    pub fn table(&self) -> Result<ParsedTable, UpdateError> {
        let failed = |source| UpdateError::Read { path: self.path.clone(), source };
        let wrong = |source| UpdateError::Table { path: self.path.clone(), source };
        let file = fs::File::open(&self.path).map_err(failed)?;
        let size = self.sectors.saturating_mul(self.sector_size.bytes());
        let head = read(&file, 0, self.sector_size.head_bytes()).map_err(failed)?;
        let tail_bytes = self.sector_size.tail_bytes();
        let tail = read(&file, size.saturating_sub(tail_bytes), tail_bytes).map_err(failed)?;
        let parsed = gpt::parse(self.sector_size, self.sectors, &head, &tail).map_err(wrong)?;
        let table = parsed.table.with_disk_sectors(self.sectors).map_err(wrong)?;
        Ok(ParsedTable { table, ..parsed })
    }

    /// Opens it for writing, and keeps udev from looking at it meanwhile (systemd's "Locking Block Device Access").
    pub fn open<'a>(&self, files: &'a Files) -> Result<MediumWriter<'a>, UpdateError> {
        let failed = |source| UpdateError::Read { path: self.path.clone(), source };
        let file = fs::OpenOptions::new().read(true).write(true).open(&self.path).map_err(failed)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        Ok(MediumWriter { files, path: self.path.clone(), file })
    }
}

/// The disk while it is written.
#[derive(Debug)]
pub struct MediumWriter<'a> {
    files: &'a Files,
    path: PathBuf,
    file: fs::File,
}

impl MediumWriter<'_> {
    /// Its node, and the open file.
    pub fn place(&self) -> (&Path, &fs::File) {
        (&self.path, &self.file)
    }

    /// Writes the primary copy again where only the backup is whole: a cut in the middle of writing the backup would
    /// leave none.
    pub fn repair_table(&self, found: &ParsedTable) -> Result<(), FileError> {
        match found.copies {
            Copies::BackupOnly { .. } => self.write_primary(&found.table),
            Copies::BothGood | Copies::Differ | Copies::PrimaryOnly { .. } => Ok(()),
        }
    }

    /// Changes the table: first the backup copy, then the primary, each flushed. At every moment one of them is whole,
    /// and until the primary is, the old or the new one counts: both lead to the running slot.
    pub fn write_table(&self, table: &Table) -> Result<(), FileError> {
        self.files.write_at(&self.path, &self.file, &table.backup_bytes(), table.backup_offset())?;
        self.flush()?;
        self.write_primary(table)
    }

    /// Makes what was written last.
    pub fn flush(&self) -> Result<(), FileError> {
        self.files.flush(&self.path, &self.file)
    }

    fn write_primary(&self, table: &Table) -> Result<(), FileError> {
        self.files.write_at(&self.path, &self.file, &table.primary_bytes(), 0)?;
        self.flush()
    }
}

fn read(file: &fs::File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

//! A recorded disk at a moment: what it was before, and what has reached it since.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use fs_err as fs;
use fs_err::os::unix::fs::FileExt as _;

use super::log::{Write, WriteLog};
use super::{SECTOR, SECTOR_BYTES};
use crate::guest::copy_sparse;

/// Where the bytes of a sector come from: a write of the log, and which of its sectors.
type Origin = (Write, u64);

/// A disk that is put together from a base and a part of a log.
#[derive(Debug)]
pub struct ReplayedDisk<'a> {
    base: fs::File,
    size: u64,
    log: &'a WriteLog,
    written: HashMap<u64, Origin>,
    /// What stood in a sector before the writes that may be taken back.
    before: Option<HashMap<u64, Option<Origin>>>,
}

impl<'a> ReplayedDisk<'a> {
    /// The disk before anything was recorded.
    pub fn new(base: &Path, log: &'a WriteLog) -> io::Result<Self> {
        let base = fs::File::open(base)?;
        let size = base.metadata()?.len();
        Ok(Self { base, size, log, written: HashMap::new(), before: None })
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Lets the first `sectors` of a write reach the disk, for good or until [`Self::take_back`].
    pub fn apply(&mut self, write: &Write, sectors: u64) {
        for index in 0..sectors.min(write.count) {
            let place = write.sector + index;
            let old = self.written.insert(place, (*write, index));
            if let Some(before) = &mut self.before {
                before.entry(place).or_insert(old);
            }
        }
    }

    /// From here on writes may be taken back.
    pub fn try_from_here(&mut self) {
        self.before = Some(HashMap::new());
    }

    /// Takes back what was applied since [`Self::try_from_here`]. Returns the sectors that have changed back.
    pub fn take_back(&mut self) -> Vec<u64> {
        let before = self.before.take().unwrap_or_default();
        let places = before.keys().copied().collect();
        for (place, origin) in before {
            match origin {
                Some(origin) => drop(self.written.insert(place, origin)),
                None => drop(self.written.remove(&place)),
            }
        }
        places
    }

    /// Reads from a place that is a multiple of the sector's size, whole sectors.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.base.read_exact_at(&mut bytes, offset)?;
        for (sector, piece) in (offset / SECTOR..).zip(bytes.chunks_mut(SECTOR_BYTES)) {
            if let Some((write, index)) = self.written.get(&sector) {
                let data = self.log.sector(write, *index)?;
                piece.copy_from_slice(data.get(..piece.len()).unwrap_or_default());
            }
        }
        Ok(bytes)
    }

    /// Which write a sector comes from: its place in the log, or nothing where it is as it was.
    pub fn origin(&self, sector: u64) -> Option<u64> {
        self.written.get(&sector).map(|(write, index)| write.data.map_or(u64::MAX, |data| data + index * SECTOR))
    }

    /// Writes the disk as it is to a sparse file, for a machine.
    pub fn save(&self, base: &Path, path: &Path) -> anyhow::Result<()> {
        copy_sparse(base, path)?;
        let file = fs::OpenOptions::new().write(true).open(path)?;
        for (sector, (write, index)) in &self.written {
            file.write_all_at(&self.log.sector(write, *index)?, sector * SECTOR)?;
        }
        Ok(file.sync_all()?)
    }
}

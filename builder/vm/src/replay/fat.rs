//! A FAT32 as firmware reads it: the first table, long names, no repair (Microsoft, FAT32 File System Specification 1.03).

use std::io;

use thiserror::Error;

use super::ReplayedDisk;

/// Bytes of an entry of a folder.
const ENTRY: usize = 32;
const LONG_NAME: u8 = 0x0f;
const FOLDER: u8 = 0x10;
const VOLUME: u8 = 0x08;
/// Most bytes of a folder, and of a file: a kernel image has some 30 MiB.
const LARGEST: [usize; 2] = [1 << 20, 128 << 20];
/// From here on a number of the table ends a chain.
const END: u32 = 0x0fff_fff8;

/// Why a file system cannot be read.
#[derive(Debug, Error)]
pub enum FatError {
    /// The disk under it cannot be read.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// It is none.
    #[error("there is no FAT32 here: {0}")]
    None(&'static str),
    /// A chain of clusters leads nowhere, or in a circle.
    #[error("a chain of clusters is broken at cluster {0}")]
    Chain(u32),
    /// A file or folder is not there.
    #[error("there is no `{0}`")]
    Missing(String),
}

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FatEntry {
    /// Its name: the long one, where there is one.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its first cluster.
    cluster: u32,
    /// Size in bytes.
    pub size: u32,
}

/// A file system on a part of a disk.
pub struct Fat<'a> {
    disk: &'a ReplayedDisk<'a>,
    /// Bytes of a cluster.
    cluster: usize,
    /// First byte of cluster 2 on the disk.
    data: u64,
    table: Vec<u32>,
    root: u32,
}

impl<'a> Fat<'a> {
    /// Reads the head of the file system and its first table.
    pub fn open(disk: &'a ReplayedDisk<'a>, offset: u64) -> Result<Self, FatError> {
        let head = disk.read(offset, 512)?;
        let byte = |at: usize| u64::from(head.get(at).copied().unwrap_or_default());
        let word = |at: usize| byte(at) | byte(at + 1) << 8;
        let long = |at: usize| word(at) | word(at + 2) << 16;
        if word(510) != 0xaa55 || word(11) != 512 || word(22) != 0 {
            return Err(FatError::None("its first sector says something else"));
        }
        let (reserved, tables, table_sectors, per_cluster) = (word(14), byte(16), long(36), byte(13));
        if tables == 0 || per_cluster == 0 || table_sectors == 0 || table_sectors > 1 << 16 {
            return Err(FatError::None("its numbers are none"));
        }
        let table = disk.read(offset + reserved * 512, usize::try_from(table_sectors * 512).unwrap_or_default())?;
        let table = table.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3] & 0x0f]));
        Ok(Self {
            disk,
            cluster: usize::try_from(per_cluster * 512).unwrap_or(512),
            data: offset + (reserved + tables * table_sectors) * 512,
            table: table.collect(),
            root: u32::try_from(long(44)).unwrap_or_default(),
        })
    }

    /// What is in a folder below the root, e.g. `EFI/Linux`.
    pub fn list(&self, path: &str) -> Result<Vec<FatEntry>, FatError> {
        let mut cluster = self.root;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let entries = parse_folder(&self.read_chain(cluster, LARGEST[0])?);
            let found = entries.into_iter().find(|entry| entry.is_folder && entry.name.eq_ignore_ascii_case(part));
            cluster = found.ok_or_else(|| FatError::Missing(path.to_owned()))?.cluster;
        }
        Ok(parse_folder(&self.read_chain(cluster, LARGEST[0])?))
    }

    /// All bytes of a file.
    pub fn read(&self, entry: &FatEntry) -> Result<Vec<u8>, FatError> {
        let size = usize::try_from(entry.size).unwrap_or_default();
        if size == 0 {
            return Ok(Vec::new());
        }
        if size > LARGEST[1] {
            return Err(FatError::None("a file is larger than any of ours"));
        }
        let mut bytes = self.read_chain(entry.cluster, size)?;
        if bytes.len() < size {
            return Err(FatError::Chain(entry.cluster));
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    /// The bytes of a chain, to its end or until there are enough.
    fn read_chain(&self, first: u32, enough: usize) -> Result<Vec<u8>, FatError> {
        let (mut bytes, mut cluster, mut steps) = (Vec::new(), first, 0);
        while cluster < END && bytes.len() < enough {
            let next = usize::try_from(cluster).ok().and_then(|at| self.table.get(at)).copied();
            let next = next.filter(|_| cluster >= 2 && steps < self.table.len()).ok_or(FatError::Chain(cluster))?;
            let offset = self.data + u64::from(cluster - 2) * self.cluster as u64;
            bytes.extend(self.disk.read(offset, self.cluster)?);
            if next < 2 {
                return Err(FatError::Chain(cluster));
            }
            (cluster, steps) = (next, steps + 1);
        }
        Ok(bytes)
    }
}

fn parse_folder(bytes: &[u8]) -> Vec<FatEntry> {
    let (mut found, mut long) = (Vec::new(), LongName::default());
    for entry in bytes.chunks_exact(ENTRY) {
        match (entry[0], entry[11]) {
            (0, _) => break,
            (0xe5, _) => long = LongName::default(),
            (_, LONG_NAME) => long.take(entry),
            (_, kind) if kind & VOLUME != 0 => long = LongName::default(),
            (_, kind) => {
                let name = std::mem::take(&mut long).finish(&entry[..11]).unwrap_or_else(|| short_name(entry));
                let half = |at: usize| u32::from(entry[at]) | u32::from(entry[at + 1]) << 8;
                let (cluster, size) = (half(20) << 16 | half(26), half(28) | half(30) << 16);
                found.push(FatEntry { name, is_folder: kind & FOLDER != 0, cluster, size });
            }
        }
    }
    found.retain(|entry| entry.name != "." && entry.name != "..");
    found
}

/// The parts of a long name, last part first, each with the checksum of the short one.
#[derive(Default)]
struct LongName {
    units: Vec<u16>,
    next: u8,
    checksum: u8,
}

impl LongName {
    fn take(&mut self, entry: &[u8]) {
        let (number, is_last) = (entry[0] & 0x1f, entry[0] & 0x40 != 0);
        if is_last {
            *self = Self { units: Vec::new(), next: number, checksum: entry[13] };
        }
        if number == 0 || number != self.next || entry[13] != self.checksum {
            *self = Self::default();
            return;
        }
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
        let mut units: Vec<u16> = places.map(|at| u16::from_le_bytes([entry[at], entry[at + 1]])).collect();
        units.append(&mut self.units);
        (self.units, self.next) = (units, number - 1);
    }

    fn finish(self, short: &[u8]) -> Option<String> {
        let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.units.is_empty() || self.next != 0 || sum != self.checksum {
            return None;
        }
        let end = self.units.iter().position(|unit| *unit == 0).unwrap_or(self.units.len());
        String::from_utf16(&self.units[..end]).ok()
    }
}

/// `NAME    EXT`; two bits say whether a part is in small letters, as Linux and Windows write it.
fn short_name(entry: &[u8]) -> String {
    let part = |range: std::ops::Range<usize>, small: bool| {
        let text = String::from_utf8_lossy(&entry[range]).trim_end().to_owned();
        if small { text.to_lowercase() } else { text }
    };
    let (name, ending) = (part(0..8, entry[12] & 8 != 0), part(8..11, entry[12] & 16 != 0));
    if ending.is_empty() { name } else { format!("{name}.{ending}") }
}

#[cfg(test)]
mod tests;

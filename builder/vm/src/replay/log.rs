//! The log of a recorded disk, in the format of the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst), as QEMU writes it.
//!
//! That a single write was asked to be through at once (FUA) counts for nothing here: it may be lost like any other until the next flush.
//!
//! A superblock in the first sector, then entries: a header in a sector of its own, and the data of a write behind it.

use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::FileExt as _;
use thiserror::Error;

use super::{SECTOR, SECTOR_BYTES};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// Flags of an entry.
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// Why a log cannot be replayed.
#[derive(Debug, Error)]
pub enum LogError {
    /// It cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The log.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is not such a log.
    #[error(
        "`{path}` is no log of writes in sectors of 512 bytes: magic {magic:#x}, version {version}, sectors of {sector}"
    )]
    Superblock {
        /// The file.
        path: PathBuf,
        /// What stands there.
        magic: u64,
        /// What stands there.
        version: u64,
        /// What stands there.
        sector: u32,
    },
}

/// Some sectors that were written at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// First sector on the disk.
    pub sector: u64,
    /// How many.
    pub count: u64,
    /// Where their bytes lie in the log; nothing for sectors that were given back, and read as zeros from then on.
    pub data: Option<u64>,
}

/// What was written between two flushes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epoch {
    /// In the order in which it was recorded.
    pub writes: Vec<Write>,
}

/// A log.
#[derive(Debug)]
pub struct WriteLog {
    file: fs::File,
    /// Its epochs; the last one may have had no flush.
    pub epochs: Vec<Epoch>,
}

impl WriteLog {
    /// Reads all headers of a log. The bytes stay in the file.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let failed = |source| LogError::Read { path: path.to_owned(), source };
        let file = fs::File::open(path).map_err(failed)?;
        let entries = read_superblock(&file, path)?;
        let (mut epochs, mut at) = (vec![Epoch::default()], SECTOR);
        for _ in 0..entries {
            let header = read_header(&file, at).map_err(failed)?;
            let [sector, count, flags, length] = header;
            at += SECTOR;
            // A request to flush makes last what came before it.
            if flags & FLUSH != 0 {
                epochs.push(Epoch::default());
            }
            if flags & MARK != 0 || count == 0 {
                at += if flags & MARK != 0 { length.next_multiple_of(SECTOR) } else { 0 };
                continue;
            }
            let data = (flags & DISCARD == 0).then_some(at);
            if let Some(epoch) = epochs.last_mut() {
                epoch.writes.push(Write { sector, count, data });
            }
            if data.is_some() {
                at += count * SECTOR;
            }
        }
        epochs.retain(|epoch| !epoch.writes.is_empty());
        Ok(Self { file, epochs })
    }

    /// The bytes of one sector of a write.
    pub fn sector(&self, write: &Write, index: u64) -> std::io::Result<[u8; SECTOR_BYTES]> {
        let mut bytes = [0; SECTOR_BYTES];
        if let Some(data) = write.data {
            self.file.read_exact_at(&mut bytes, data + index * SECTOR)?;
        }
        Ok(bytes)
    }
}

fn read_superblock(file: &fs::File, path: &Path) -> Result<u64, LogError> {
    let mut bytes = [0; 28];
    file.read_exact_at(&mut bytes, 0).map_err(|source| LogError::Read { path: path.to_owned(), source })?;
    let sector = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
    let (magic, version, entries) = (number(&bytes, 0), number(&bytes, 8), number(&bytes, 16));
    if magic == MAGIC && version == VERSION && u64::from(sector) == SECTOR {
        return Ok(entries);
    }
    Err(LogError::Superblock { path: path.to_owned(), magic, version, sector })
}

fn read_header(file: &fs::File, at: u64) -> std::io::Result<[u64; 4]> {
    let mut bytes = [0; 32];
    file.read_exact_at(&mut bytes, at)?;
    Ok([number(&bytes, 0), number(&bytes, 8), number(&bytes, 16), number(&bytes, 24)])
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A log of nothing.
    pub(in super::super) fn nothing() -> Vec<u8> {
        let mut bytes: Vec<u8> = [MAGIC, VERSION, 0].iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend(512_u32.to_le_bytes());
        bytes.resize(512, 0);
        bytes
    }

    fn entry(sector: u64, count: u64, flags: u64, fill: u8) -> Vec<u8> {
        let mut bytes: Vec<u8> = [sector, count, flags, 0].iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.resize(512, 0);
        if flags & (DISCARD | MARK) == 0 {
            bytes.resize(512 + usize::try_from(count).unwrap() * 512, fill);
        }
        bytes
    }

    fn log(entries: &[Vec<u8>]) -> (tempfile::TempDir, WriteLog) {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes: Vec<u8> =
            [MAGIC, VERSION, entries.len() as u64].iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend(512_u32.to_le_bytes());
        bytes.resize(512, 0);
        bytes.extend(entries.concat());
        let path = dir.path().join("log");
        fs::write(&path, bytes).unwrap();
        let log = WriteLog::open(&path).unwrap();
        (dir, log)
    }

    #[test]
    fn epochs_end_at_flushes_and_before_writes_that_ask_for_one() {
        let (_dir, log) = log(&[
            entry(10, 2, 0, b'a'),
            entry(20, 1, 0, b'b'),
            entry(0, 0, FLUSH, 0),
            entry(30, 1, FLUSH, b'c'),
            entry(40, 8, DISCARD, 0),
            entry(0, 0, FLUSH, 0),
        ]);
        let sectors: Vec<Vec<u64>> =
            log.epochs.iter().map(|epoch| epoch.writes.iter().map(|write| write.sector).collect()).collect();
        assert_eq!(sectors, [vec![10, 20], vec![30, 40]]);
        assert_eq!(log.sector(&log.epochs[0].writes[0], 1).unwrap(), [b'a'; 512]);
        assert_eq!(log.sector(&log.epochs[1].writes[0], 0).unwrap(), [b'c'; 512]);
        assert_eq!(log.sector(&log.epochs[1].writes[1], 7).unwrap(), [0; 512]);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, vec![0; 4096]).unwrap();
        assert!(matches!(WriteLog::open(&path), Err(LogError::Superblock { .. })));
        fs::write(&path, b"short").unwrap();
        assert!(matches!(WriteLog::open(&path), Err(LogError::Read { .. })));
    }
}

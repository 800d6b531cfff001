//! A real disk as a [`BlockTarget`]: claimed while it is open, and read back from the medium instead of from memory.
//!
//! After [`BlockTarget::settle`] all reads go through a second descriptor opened with `O_DIRECT` (open(2)), which passes the page cache by.
//! Where a file system knows no `O_DIRECT`, as for image files in tests, the cached pages are dropped instead.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};
use tools::Failure;

/// Offset, length and memory address of a direct read are multiples of this; it fits sectors of 512 and 4096 bytes.
const ALIGNMENT: usize = 4096;
/// Bytes of one direct read.
const WINDOW: usize = 1 << 20;

/// A disk that is opened for writing and that nobody else may claim.
#[derive(Debug)]
pub struct BlockDevice {
    path: PathBuf,
    file: File,
    direct: Option<DirectReader>,
}

impl BlockDevice {
    /// Opens a disk; the kernel refuses (`O_EXCL`) when it or a partition of it is mounted or held by another device.
    pub fn open(path: &Path) -> Result<Self> {
        let file = claim(path, true)?;
        Ok(Self { path: path.to_owned(), file, direct: None })
    }

    /// Tries whether [`Self::open`] would be allowed, and lets go again.
    pub fn probe(path: &Path) -> Result<()> {
        claim(path, false).map(drop)
    }

    /// Size in bytes.
    pub fn size(&mut self) -> Result<u64> {
        Ok(self.file.seek(SeekFrom::End(0))?)
    }

    /// Size of a logical sector in bytes, from `/sys/dev/block`.
    pub fn sector_size(path: &Path) -> Result<u64> {
        let device = std::os::unix::fs::MetadataExt::rdev(&fs::metadata(path)?);
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let sys = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))?;
        // A partition has no queue of its own.
        let disk = if sys.join("partition").exists() { sys.parent().unwrap_or(&sys).to_owned() } else { sys };
        let text = fs::read_to_string(disk.join("queue/logical_block_size"))?;
        text.trim().parse().context("the kernel gives no sector size")
    }
}

/// Opened by the standard library itself, because its error still holds the system's number.
fn claim(path: &Path, write: bool) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(write).custom_flags(OFlag::O_EXCL.bits()).open(path);
    opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EBUSY) => {
            Failure::refused(format!("`{}` is in use: the kernel says that it is busy", path.display()))
                .hint("unmount it and all its partitions, and stop what else holds it")
                .into()
        }
        Some(Errno::EROFS) => Failure::refused(format!("`{}` is write-protected", path.display()))
            .hint("move the lock of the card, or take another device")
            .into(),
        _ => anyhow::Error::from(error).context(format!("cannot open `{}`", path.display())),
    })
}

impl Read for BlockDevice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.direct {
            Some(direct) => direct.read(buffer),
            None => self.file.read(buffer),
        }
    }
}

impl Write for BlockDevice {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // From here on the medium may be old again.
        self.direct = None;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for BlockDevice {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = self.file.seek(to)?;
        if let Some(direct) = &mut self.direct {
            direct.position = position;
        }
        Ok(position)
    }
}

impl crate::flash::BlockTarget for BlockDevice {
    fn settle(&mut self) -> Result<()> {
        self.file.sync_all().with_context(|| format!("`{}` did not take all that was written", self.path.display()))?;
        self.direct = DirectReader::open(&self.path)?;
        if self.direct.is_none() {
            posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
        Ok(())
    }
}

/// Reads past the page cache, a window at a time.
#[derive(Debug)]
struct DirectReader {
    file: File,
    /// Larger than the window, so that an aligned place for it can be found inside.
    memory: Vec<u8>,
    position: u64,
}

impl DirectReader {
    /// Opens the device a second time; `None` where direct reading is not known.
    fn open(path: &Path) -> Result<Option<Self>> {
        let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(path);
        match opened {
            Ok(file) => Ok(Some(Self { file, memory: vec![0; WINDOW + ALIGNMENT], position: 0 })),
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read `{}` past the cache", path.display())),
        }
    }
}

impl Read for DirectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let alignment = ALIGNMENT as u64;
        let start = self.position / alignment * alignment;
        let before = usize::try_from(self.position - start).unwrap_or_default();
        let wanted = before.saturating_add(buffer.len()).next_multiple_of(ALIGNMENT).min(WINDOW);
        let place = self.memory.as_ptr().align_offset(ALIGNMENT);
        let Some(window) = self.memory.get_mut(place..place.saturating_add(wanted)) else {
            return Err(io::Error::other("no aligned memory"));
        };
        self.file.seek(SeekFrom::Start(start))?;
        let filled = self.file.read(window)?;
        let found = window.get(before..filled).unwrap_or_default();
        let count = found.len().min(buffer.len());
        for (target, byte) in buffer.iter_mut().zip(found) {
            *target = *byte;
        }
        self.position += count as u64;
        Ok(count)
    }
}

//! What was written, read from the disk again and not from memory, and compared with the manifest.
//!
//! Disks lie, and so do cables and controllers: only what comes back is there. The hash tree is checked as the kernel
//! will check it, over all of the data, so a version that starts does not end in the middle of its life at a block that
//! never was right.

use std::fs;
use std::io;
use std::io::Read;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bundle::Manifest;
use bundle::Part;
use bundle::PartName;
use bundle::RootHash;
use bundle::Sha256Digest;
use formats::uki::Uki;
use formats::verity;
use formats::verity::Superblock;
use formats::verity::VerityError;
use rustix::fs::Advice;
use rustix::fs::OFlags;
use sha2::Digest as _;
use sha2::Sha256;

use super::UpdateError;
use crate::secure_boot;

/// Bytes of one read.
const BUFFER: usize = 1 << 20;
/// What reading past the page cache asks of memory and places (open(2), `O_DIRECT`); enough for every disk.
const ALIGNMENT: usize = 4096;

/// A part on the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'a> {
    /// The disk or file.
    pub(super) path: &'a Path,
    /// First byte.
    pub(super) offset: u64,
    /// Which part it is.
    pub(super) name: PartName,
    /// What the manifest says of it.
    pub(super) part: &'a Part,
}

/// Checks the hash tree against its digest, and every block of the root against the tree and the root hash.
pub(super) fn check_root(manifest: &Manifest, root: Written<'_>, tree: Written<'_>) -> Result<(), UpdateError> {
    let tree = read_whole(tree)?;
    let failed = |source| UpdateError::Read { path: root.path.to_owned(), source };
    let mut data = Uncached::open(root).map_err(failed)?;
    match verity::verify(&mut data, root.part.size, &tree, &manifest.root_hash) {
        Err(VerityError::Read { source, .. }) => Err(failed(source)),
        result => result.map_err(|error| root.blame(error)),
    }
}

/// Checks every block of a slot whose digests nobody knows: the hash tree leads to the root hash. Offsets and lengths of
/// both partitions are in bytes.
pub(super) fn check_slot(
    path: &Path,
    (start, room): (u64, u64),
    (tree_start, tree_room): (u64, u64),
    root_hash: &RootHash,
) -> Result<(), UpdateError> {
    let failed = |source| UpdateError::Read { path: path.to_owned(), source };
    let mut head = vec![0; verity::BLOCK_SIZE];
    Uncached::at(path, tree_start, tree_room).and_then(|mut tree| tree.read_exact(&mut head)).map_err(failed)?;
    let superblock = Superblock::parse(&head).map_err(UpdateError::Verity)?;
    let sizes = superblock.data_size().zip(superblock.hash_image_size());
    let (size, tree_size) = sizes
        .filter(|(size, tree_size)| *size <= room && *tree_size <= tree_room)
        .ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    let mut bytes = vec![0; usize::try_from(tree_size).unwrap_or_default()];
    Uncached::at(path, tree_start, tree_size).and_then(|mut tree| tree.read_exact(&mut bytes)).map_err(failed)?;
    let mut data = Uncached::at(path, start, size).map_err(failed)?;
    verity::verify(&mut data, size, &bytes, root_hash).map_err(UpdateError::Verity)
}

/// Checks a kernel image against its digest, that it starts this version from this root, and that the firmware behind `variables` will start it.
pub(super) fn check_uki(manifest: &Manifest, written: Written<'_>, variables: &Path) -> Result<(), UpdateError> {
    let bytes = read_whole(written)?;
    let uki = Uki::parse(&bytes).map_err(UpdateError::Uki)?;
    let release = |key| uki.os_release.get(key).unwrap_or_default();
    // By these the boot loader sorts, and by the root hash the kernel finds the slot.
    for (field, expected, found) in [
        ("IMAGE_ID", manifest.image.to_string(), release("IMAGE_ID")),
        ("IMAGE_VERSION", manifest.version.to_string(), release("IMAGE_VERSION")),
        ("roothash", manifest.root_hash.to_string(), uki.command_line.value("roothash").unwrap_or_default()),
    ] {
        if expected != found {
            return Err(UpdateError::OtherKernel { field, expected, found: found.to_owned() });
        }
    }
    Ok(secure_boot::check(variables, &bytes)?)
}

impl Written<'_> {
    /// Whose fault it is that the tree does not fit: the disk's, or that of who made both. Only then is all of it hashed once more.
    fn blame(&self, error: VerityError) -> UpdateError {
        let read = || -> io::Result<Sha256Digest> {
            let mut hasher = Sha256::new();
            io::copy(&mut Uncached::open(*self)?, &mut hasher)?;
            Ok(Sha256Digest::from_hasher(hasher))
        };
        match read() {
            Err(source) => UpdateError::Read { path: self.path.to_owned(), source },
            Ok(found) => self.compare(found).err().unwrap_or(UpdateError::Verity(error)),
        }
    }

    fn compare(&self, found: Sha256Digest) -> Result<(), UpdateError> {
        let expected = self.part.sha256;
        if found == expected {
            return Ok(());
        }
        Err(UpdateError::ReadBack { path: self.path.to_owned(), part: self.name, expected, found })
    }
}

/// Reads a part that fits in memory, and compares its digest.
pub(super) fn read_whole(written: Written<'_>) -> Result<Vec<u8>, UpdateError> {
    // The manifest's size is held against the place of the part before anything is written.
    let mut bytes = Vec::with_capacity(usize::try_from(written.part.size).unwrap_or_default());
    let read = Uncached::open(written).and_then(|mut reader| reader.read_to_end(&mut bytes));
    read.map_err(|source| UpdateError::Read { path: written.path.to_owned(), source })?;
    written.compare(Sha256Digest::of(&bytes))?;
    Ok(bytes)
}

/// A stretch of a disk or file, read past the page cache where that can be done, else after the cache was told to
/// forget it.
struct Uncached {
    file: fs::File,
    /// Where the next read begins.
    offset: u64,
    /// How many bytes the caller still gets.
    left: u64,
    /// One buffer and what aligning it may take.
    memory: Vec<u8>,
    /// The bytes of it that were read and not yet handed out.
    ready: std::ops::Range<usize>,
}

impl Uncached {
    fn open(written: Written<'_>) -> io::Result<Self> {
        Self::at(written.path, written.offset, written.part.size)
    }

    fn at(path: &Path, offset: u64, left: u64) -> io::Result<Self> {
        let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or_default();
        let file = match fs::OpenOptions::new().read(true).custom_flags(direct).open(path) {
            // Not every file system can: one in memory has no disk to go to.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let file = fs::File::open(path)?;
                rustix::fs::fadvise(&file, offset, NonZeroU64::new(left), Advice::DontNeed)?;
                file
            }
            opened => opened?,
        };
        Ok(Self { file, offset, left, memory: vec![0; BUFFER + ALIGNMENT], ready: 0..0 })
    }

    /// Fills the buffer from the disk. A disk that ends too early is an error, as the manifest says how much there must
    /// be.
    fn fill(&mut self) -> io::Result<()> {
        let start = self.memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let buffer = self.memory.get_mut(start..start + BUFFER).unwrap_or_default();
        let count = self.file.read_at(buffer, self.offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.ready = start..start + count;
        Ok(())
    }
}

impl Read for Uncached {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || bytes.is_empty() {
            return Ok(0);
        }
        if self.ready.is_empty() {
            self.fill()?;
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let count = bytes.len().min(self.ready.len()).min(most);
        bytes[..count].copy_from_slice(&self.memory[self.ready.start..self.ready.start + count]);
        self.ready.start += count;
        self.left -= count as u64;
        Ok(count)
    }
}

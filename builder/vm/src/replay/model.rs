//! What firmware, boot loader and kernel would start from a disk.
//!
//! The boot loader takes the first entry by its order, the kernel the partitions whose identities follow from the root hash of its command line, in the
//! primary table or, `gpt` being on the command line, in the backup. Whether all of a slot is there is known without reading all of it again: of each
//! block that was written since, whether it is the right one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use formats::boot_entry::BootEntry;
use formats::digest::Sha256Digest;
use formats::gpt::{self, Copies, ParsedTable, SectorSize, Table};
use formats::guid::Guid;
use formats::uki::Uki;
use formats::verity::RootHash;
use fs_err as fs;
use fs_err::os::unix::fs::FileExt as _;

use super::log::Write;
use super::{Fat, ReplayedDisk, SECTOR};

/// Bytes of a block of a slot.
const BLOCK: u64 = 4096;
const KIND: SectorSize = SectorSize::Bytes512;

/// A version that may start: what its slot and its kernel image must be.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Its version.
    pub version: String,
    /// Its root hash.
    pub root_hash: RootHash,
    /// Digest of its kernel image.
    pub uki: Sha256Digest,
}

/// What starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Version of the entry.
    pub version: String,
    /// Its name on the ESP.
    pub entry: String,
    /// Whether there is a name of a kernel image with nothing in it, which the boot loader passes over: FAT makes a name first, and writes place and
    /// size of the file into it with the file's inode.
    pub passes_over_a_name: bool,
}

/// Judges one disk at one moment after the other.
pub struct Judge {
    /// First byte of the ESP and its length.
    esp: (u64, u64),
    /// The slot that is written, and what must be in it.
    slot: Slot,
    old: Expected,
    new: Expected,
    /// Kernel images that were looked at, by the state of the ESP.
    seen: HashMap<u64, Started>,
}

/// The spare slot: its two partitions, and which blocks in them are not yet those of the new version.
struct Slot {
    parts: [Part; 2],
}

struct Part {
    /// First byte of the partition, and length of what must be there.
    offset: u64,
    length: u64,
    file: fs::File,
    /// Blocks that are wrong.
    wrong: HashSet<u64>,
}

impl Part {
    /// Looks at all blocks once.
    fn new(disk: &ReplayedDisk<'_>, offset: u64, path: &Path) -> Result<Self> {
        let file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        let mut part = Self { offset, length, file, wrong: HashSet::new() };
        for block in 0..length.div_ceil(BLOCK) {
            part.look(disk, block)?;
        }
        Ok(part)
    }

    fn look(&mut self, disk: &ReplayedDisk<'_>, block: u64) -> Result<()> {
        let start = block * BLOCK;
        let length = usize::try_from(BLOCK.min(self.length - start))?;
        let mut expected = vec![0; length];
        self.file.read_exact_at(&mut expected, start)?;
        let found = disk.read(self.offset + start, length)?;
        if found == expected {
            self.wrong.remove(&block)
        } else {
            self.wrong.insert(block)
        };
        Ok(())
    }

    /// The block of a sector, if it is one of those that must be right.
    fn block(&self, sector: u64) -> Option<u64> {
        let offset = (sector * SECTOR).checked_sub(self.offset)?;
        (offset < self.length).then_some(offset / BLOCK)
    }
}

impl Judge {
    /// `root` and `tree` are the files of the new version, `slot` the first bytes of the partitions that they go to.
    pub fn new(disk: &ReplayedDisk<'_>, old: Expected, new: Expected, (root, tree): (&Path, &Path)) -> Result<Self> {
        let table = read_table(disk)?;
        let partitions = table.partitions();
        let of =
            |kind: Guid| partitions.iter().filter(move |part| part.type_guid == kind).map(|part| table.extent(part));
        let esp = of(Guid::ESP).next().context("no ESP")?;
        let root_place = of(Guid::ROOT_X86_64).next_back().context("no slot B")?.0;
        let tree_place = of(Guid::ROOT_VERITY_X86_64).next_back().context("no slot B")?.0;
        let parts = [Part::new(disk, root_place, root)?, Part::new(disk, tree_place, tree)?];
        Ok(Self { esp, slot: Slot { parts }, old, new, seen: HashMap::new() })
    }

    /// Notes that these sectors are others now.
    pub fn changed(&mut self, disk: &ReplayedDisk<'_>, sectors: impl IntoIterator<Item = u64>) -> Result<()> {
        let mut blocks: [BTreeSet<u64>; 2] = Default::default();
        for sector in sectors {
            for (part, blocks) in self.slot.parts.iter().zip(&mut blocks) {
                blocks.extend(part.block(sector));
            }
        }
        for (part, blocks) in self.slot.parts.iter_mut().zip(blocks) {
            for block in blocks {
                part.look(disk, block)?;
            }
        }
        Ok(())
    }

    /// Whether a write goes where the boot looks.
    pub fn matters(&self, write: &Write) -> bool {
        let (start, end) = (write.sector * SECTOR, (write.sector + write.count) * SECTOR);
        let inside = |offset: u64, length: u64| start < offset + length && offset < end;
        let in_table = start < self.esp.0;
        in_table
            || inside(self.esp.0, self.esp.1)
            || self.slot.parts.iter().any(|part| inside(part.offset, part.length))
    }

    /// Whether a write goes to the ESP.
    pub fn is_on_esp(&self, write: &Write) -> bool {
        let (start, end) = (write.sector * SECTOR, (write.sector + write.count) * SECTOR);
        start < self.esp.0 + self.esp.1 && self.esp.0 < end
    }

    /// What starts now, after everything that must be so was looked at.
    pub fn judge(&mut self, disk: &ReplayedDisk<'_>, esp_writes: &[u64]) -> Result<Started> {
        let table = read_table(disk)?;
        self.leads_to_a_whole_slot_or_none(&table)?;
        let started = self.first_entry(disk, esp_writes)?;
        let expected = if started.version == self.old.version { &self.old } else { &self.new };
        let (data, hash) = expected.root_hash.partition_guids();
        for guid in [data, hash] {
            let is_there = table.partitions().iter().any(|part| part.part_guid == guid);
            ensure!(is_there, "{} would start, and no partition has its identity", started.entry);
        }
        Ok(started)
    }

    /// A command line that somebody has kept must not lead to half a version either.
    fn leads_to_a_whole_slot_or_none(&self, table: &Table) -> Result<()> {
        let (data, hash) = self.new.root_hash.partition_guids();
        for (part, guid) in self.slot.parts.iter().zip([data, hash]) {
            let is_named = table.partitions().iter().any(|found| found.part_guid == guid);
            ensure!(
                !is_named || part.wrong.is_empty(),
                "a partition has the identity of {}, and {} of its blocks are wrong",
                self.new.version,
                part.wrong.len()
            );
        }
        Ok(())
    }

    /// The entry that the boot loader takes, and that all of its kernel image is there.
    fn first_entry(&mut self, disk: &ReplayedDisk<'_>, esp_writes: &[u64]) -> Result<Started> {
        let mut hasher = DefaultHasher::new();
        for sector in esp_writes {
            (sector, disk.origin(*sector)).hash(&mut hasher);
        }
        let key = hasher.finish();
        if let Some(started) = self.seen.get(&key) {
            return Ok(started.clone());
        }
        let started = self.read_first_entry(disk)?;
        self.seen.insert(key, started.clone());
        Ok(started)
    }

    fn read_first_entry(&self, disk: &ReplayedDisk<'_>) -> Result<Started> {
        let fat = Fat::open(disk, self.esp.0)?;
        let files = fat.list("EFI/Linux")?;
        let is_image = |name: &str| name.to_lowercase().ends_with(".efi");
        let mut entries = Vec::new();
        let (images, bare): (Vec<_>, Vec<_>) =
            files.iter().filter(|file| is_image(&file.name)).partition(|file| file.size > 0);
        for file in images {
            let entry: BootEntry =
                file.name.parse().map_err(|error| anyhow::anyhow!("`{}` on the ESP: {error}", file.name))?;
            entries.push((entry, file));
        }
        let first = entries.iter().min_by(|(one, _), (other, _)| one.start_order(other));
        let (entry, file) = first.context("the ESP has no kernel image")?;
        let bytes = fat.read(file).with_context(|| format!("`{}` on the ESP", file.name))?;
        let digest = Sha256Digest::of(&bytes);
        let version = entry.version.to_string();
        let expected = [&self.old, &self.new].into_iter().find(|expected| expected.version == version);
        let Some(expected) = expected else { bail!("`{}` on the ESP is of no version that was there", file.name) };
        ensure!(digest == expected.uki, "`{}` on the ESP would start, and is not whole", file.name);
        let uki = Uki::parse(&bytes)?;
        let names = uki.command_line.value("roothash").is_some_and(|hash| hash == expected.root_hash.to_string());
        ensure!(names, "`{}` on the ESP names another root hash", file.name);
        Ok(Started { version, entry: file.name.clone(), passes_over_a_name: !bare.is_empty() })
    }
}

/// Whether the primary table cannot be used, and the backup can.
pub fn primary_is_torn(disk: &ReplayedDisk<'_>) -> Result<bool> {
    Ok(matches!(read_both(disk)?.copies, Copies::BackupOnly { .. }))
}

/// The table that counts: the primary one, or the backup where that is torn.
fn read_table(disk: &ReplayedDisk<'_>) -> Result<Table> {
    Ok(read_both(disk)?.table)
}

fn read_both(disk: &ReplayedDisk<'_>) -> Result<ParsedTable> {
    let (size, tail) = (disk.size(), KIND.tail_bytes());
    let head = disk.read(0, usize::try_from(KIND.head_bytes())?)?;
    let tail = disk.read(size - tail, usize::try_from(tail)?)?;
    Ok(gpt::parse(KIND, size / SECTOR, &head, &tail)?)
}

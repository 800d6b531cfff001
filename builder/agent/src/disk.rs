//! The disk this system was started from, and its partitions, read from `/sys` and the partition table.
//!
//! The way goes from the root file system down through dm-verity to the disk. So a second disk with the same labels is
//! never mistaken for ours. Nothing is written here.

use std::fs;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use formats::gpt;
use formats::gpt::SectorSize;
use formats::guid::Guid;
use thiserror::Error;

use crate::paths::Paths;

/// Unit of every size and offset below `/sys/class/block`, whatever the disk's own sector is.
const SYSFS_SECTOR: u64 = 512;
/// dm-verity stands on partitions; a deeper stack is not ours.
const DEEPEST: usize = 4;

/// Why a partition was not found.
#[derive(Debug, Error)]
pub enum DiskError {
    /// A file of `/sys` or the disk cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// What was read.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The root is no block device, as in a container.
    #[error("`{0}` is not on one disk; is this a container? then give host.toml as credential `casemate.host`")]
    NoDisk(PathBuf),
    /// The partition table is broken.
    #[error("partition table of `{disk}`: {source}; write the image to the disk again")]
    Table {
        /// The disk.
        disk: PathBuf,
        /// What is wrong with it.
        source: gpt::GptError,
    },
    /// No partition of this kind.
    #[error("disk `{disk}` has no {wanted} partition; write the image to the disk again")]
    Missing {
        /// The disk.
        disk: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
}

/// How a partition is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The EFI system partition, by its type.
    Esp,
    /// The partition of everything that lasts, by its name.
    State,
}

impl Wanted {
    fn word(self) -> &'static str {
        match self {
            Self::Esp => "EFI system",
            Self::State => "state",
        }
    }

    fn fits(self, partition: &gpt::Partition) -> bool {
        match self {
            Self::Esp => partition.type_guid == Guid::ESP,
            Self::State => partition.type_guid == Guid::LINUX_GENERIC && partition.name.as_str() == "state",
        }
    }
}

/// A disk, by its folder in `/sys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    folder: PathBuf,
    device: PathBuf,
}

impl Disk {
    /// The disk below a mounted file system, such as `/` or, in the initrd, `/sysroot`.
    pub fn below(paths: &Paths, mount_point: &Path) -> Result<Self, DiskError> {
        let number = fs::metadata(mount_point).map_err(|source| read_error(mount_point, source))?.dev();
        let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        Self::of_device(paths, &number).ok_or_else(|| DiskError::NoDisk(mount_point.to_owned()))
    }

    /// The disk below a block device `major:minor`.
    fn of_device(paths: &Paths, number: &str) -> Option<Self> {
        let mut folder = fs::canonicalize(paths.at("/sys/dev/block").join(number)).ok()?;
        for _ in 0..DEEPEST {
            folder = match lower_devices(&folder).as_slice() {
                [] => break,
                devices => common_disk(devices)?,
            };
        }
        if folder.join("partition").exists() {
            folder = folder.parent()?.to_owned();
        }
        let device = paths.devices().join(folder.file_name()?);
        Some(Self { folder, device })
    }

    /// The device node of the one partition that is wanted.
    pub fn partition(&self, wanted: Wanted) -> Result<PathBuf, DiskError> {
        let missing = || DiskError::Missing { disk: self.device.clone(), wanted: wanted.word() };
        let table = self.table()?;
        let found = table.partitions().iter().find(|partition| wanted.fits(partition)).ok_or_else(missing)?;
        let start = table.extent(found).0 / SYSFS_SECTOR;
        self.node_at(start)?.ok_or_else(missing)
    }

    /// The node of the whole disk.
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Size of its sectors, and their number.
    pub fn sectors(&self) -> Result<(SectorSize, u64), DiskError> {
        let sector = self.number("queue/logical_block_size")?;
        let sector_size = if sector == 4096 { SectorSize::Bytes4096 } else { SectorSize::Bytes512 };
        Ok((sector_size, self.number("size")? / (sector_size.bytes() / SYSFS_SECTOR)))
    }

    fn table(&self) -> Result<gpt::Table, DiskError> {
        let (sector_size, sectors) = self.sectors()?;
        let head = self.bytes(0, sector_size.head_bytes())?;
        let tail_start = (sectors * sector_size.bytes()).saturating_sub(sector_size.tail_bytes());
        let tail = self.bytes(tail_start, sector_size.tail_bytes())?;
        let parsed = gpt::parse(sector_size, sectors, &head, &tail);
        Ok(parsed.map_err(|source| DiskError::Table { disk: self.device.clone(), source })?.table)
    }

    /// The kernel's partition that begins there; the table's order and the kernel's numbers need not agree.
    fn node_at(&self, start: u64) -> Result<Option<PathBuf>, DiskError> {
        let entries = fs::read_dir(&self.folder).map_err(|source| read_error(&self.folder, source))?;
        let found = entries.flatten().map(|entry| entry.path()).find(|folder| {
            folder.join("partition").exists() && read_number(&folder.join("start")).is_ok_and(|number| number == start)
        });
        let devices = self.device.parent().unwrap_or(Path::new("/dev"));
        Ok(found.and_then(|folder| folder.file_name().map(|name| devices.join(name))))
    }

    fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>, DiskError> {
        let mut bytes = Vec::new();
        let read = fs::File::open(&self.device).and_then(|mut disk| {
            disk.seek(SeekFrom::Start(offset))?;
            disk.take(length).read_to_end(&mut bytes)
        });
        read.map_err(|source| read_error(&self.device, source))?;
        Ok(bytes)
    }

    fn number(&self, name: &str) -> Result<u64, DiskError> {
        read_number(&self.folder.join(name))
    }
}

/// What a device-mapper device stands on.
fn lower_devices(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("slaves")).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect()
}

/// Data and hash tree must lie on one disk; a root that is put together of two is not ours.
fn common_disk(devices: &[PathBuf]) -> Option<PathBuf> {
    let disk = |device: &PathBuf| {
        if device.join("partition").exists() { device.parent().map(Path::to_owned) } else { Some(device.clone()) }
    };
    let first = devices.first().and_then(disk)?;
    devices.iter().all(|device| disk(device).as_ref() == Some(&first)).then_some(first)
}

fn read_number(path: &Path) -> Result<u64, DiskError> {
    let text = fs::read_to_string(path).map_err(|source| read_error(path, source))?;
    text.trim().parse().map_err(|_| read_error(path, io::Error::other("not a number")))
}

fn read_error(path: &Path, source: io::Error) -> DiskError {
    DiskError::Read { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use formats::gpt::Attributes;
    use formats::gpt::DiskSize;
    use formats::gpt::PlannedPartition;

    use super::*;

    /// A tree as the kernel shows it: `dm-0` (verity) on `vda2` and `vda3` of `vda`, which has an ESP and maybe a state partition.
    fn tree(names: &[(&str, Guid)]) -> (tempfile::TempDir, Paths) {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let planned: Vec<PlannedPartition> = names
            .iter()
            .enumerate()
            .map(|(number, (name, kind))| PlannedPartition {
                type_guid: *kind,
                part_guid: Guid::from_u128(number as u128 + 1),
                size_bytes: 1 << 20,
                attributes: Attributes::NONE,
                name: name.parse().unwrap(),
            })
            .collect();
        let table = gpt::plan_layout(SectorSize::Bytes512, DiskSize::Smallest, Guid::from_u128(9), &planned).unwrap();
        let disk = paths.at("/sys/devices/pci/block/vda");
        fs::create_dir_all(disk.join("queue")).unwrap();
        fs::write(disk.join("queue/logical_block_size"), "512\n").unwrap();
        fs::write(disk.join("size"), format!("{}\n", table.disk_sectors())).unwrap();
        for (number, partition) in table.partitions().iter().enumerate() {
            let folder = disk.join(format!("vda{}", number + 1));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("partition"), format!("{}\n", number + 1)).unwrap();
            fs::write(folder.join("start"), format!("{}\n", partition.first_lba)).unwrap();
        }
        let verity = paths.at("/sys/devices/virtual/block/dm-0");
        fs::create_dir_all(verity.join("slaves")).unwrap();
        for name in ["vda2", "vda3"] {
            symlink(disk.join(name), verity.join("slaves").join(name)).unwrap();
        }
        fs::create_dir_all(paths.at("/sys/dev/block")).unwrap();
        symlink(&verity, paths.at("/sys/dev/block/253:0")).unwrap();
        fs::create_dir_all(paths.devices()).unwrap();
        let mut bytes = table.primary_bytes();
        bytes.resize(usize::try_from(table.backup_offset()).unwrap(), 0);
        bytes.extend(table.backup_bytes());
        fs::write(paths.devices().join("vda"), bytes).unwrap();
        (root, paths)
    }

    const WHOLE: [(&str, Guid); 4] = [
        ("esp", Guid::ESP),
        ("root", Guid::ROOT_X86_64),
        ("verity", Guid::ROOT_VERITY_X86_64),
        ("state", Guid::LINUX_GENERIC),
    ];

    #[test]
    fn finds_the_partitions_of_the_disk_below_verity() {
        let (_root, paths) = tree(&WHOLE);
        let disk = Disk::of_device(&paths, "253:0").unwrap();
        assert_eq!(disk.partition(Wanted::Esp).unwrap(), paths.devices().join("vda1"));
        assert_eq!(disk.partition(Wanted::State).unwrap(), paths.devices().join("vda4"));
    }

    #[test]
    fn refuses_a_root_on_two_disks() {
        let (_root, paths) = tree(&WHOLE);
        let foreign = paths.at("/sys/devices/pci/block/vdb/vdb1");
        fs::create_dir_all(&foreign).unwrap();
        fs::write(foreign.join("partition"), "1\n").unwrap();
        symlink(&foreign, paths.at("/sys/devices/virtual/block/dm-0/slaves/vdb1")).unwrap();
        assert_eq!(Disk::of_device(&paths, "253:0"), None);
    }

    #[test]
    fn names_a_missing_partition() {
        let (_root, paths) = tree(&WHOLE[..3]);
        let error = Disk::of_device(&paths, "253:0").unwrap().partition(Wanted::State).unwrap_err();
        assert!(error.to_string().contains("has no state partition"), "{error}");
    }

    #[test]
    fn refuses_a_disk_without_a_table() {
        let (_root, paths) = tree(&WHOLE);
        fs::write(paths.devices().join("vda"), vec![0; 5 << 20]).unwrap();
        let error = Disk::of_device(&paths, "253:0").unwrap().partition(Wanted::Esp).unwrap_err();
        assert!(matches!(error, DiskError::Table { .. }), "{error}");
    }

    #[test]
    fn a_root_without_a_disk_is_a_container() {
        let root = tempfile::tempdir().unwrap();
        let error = Disk::below(&Paths::new(root.path()), root.path()).unwrap_err();
        assert!(matches!(error, DiskError::NoDisk(_)), "{error}");
    }
}

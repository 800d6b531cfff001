//! What is known of a device before anything is written to it, and the reasons not to.

use std::fmt;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;

/// Slots, EFI system partition and a little state: docs/formats/artifacts.md.
pub const SMALLEST_DISK: u64 = 8 << 30;

/// What the kernel says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The path as given.
    pub path: PathBuf,
    /// Whether it is a block device.
    pub is_block_device: bool,
    /// Whether it is a partition of a larger device.
    pub is_partition: bool,
    /// Size in bytes.
    pub size: u64,
    /// Where it or one of its partitions is mounted, swapped to, or held by another device.
    pub in_use: Vec<String>,
}

/// One reason not to write to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A regular file or directory.
    NotABlockDevice,
    /// One partition instead of the disk.
    Partition,
    /// Less than the smallest disk or the image.
    TooSmall {
        /// Size of the device in bytes.
        size: u64,
        /// Least size in bytes.
        least: u64,
    },
    /// Mounted or otherwise in use.
    InUse(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABlockDevice => write!(f, "it is not a block device"),
            Self::Partition => write!(f, "it is a partition: name the whole disk"),
            Self::TooSmall { size, least } => {
                write!(f, "it has {} MiB, a host needs at least {} MiB", size >> 20, least >> 20)
            }
            Self::InUse(place) => write!(f, "it is in use: {place}"),
        }
    }
}

/// All reasons not to write an image of `image_size` bytes to the device.
pub fn refusals(facts: &DeviceFacts, image_size: u64) -> Vec<Refusal> {
    if !facts.is_block_device {
        return vec![Refusal::NotABlockDevice];
    }
    let mut reasons = Vec::new();
    if facts.is_partition {
        reasons.push(Refusal::Partition);
    }
    let least = SMALLEST_DISK.max(image_size);
    if facts.size < least {
        reasons.push(Refusal::TooSmall { size: facts.size, least });
    }
    reasons.extend(facts.in_use.iter().cloned().map(Refusal::InUse));
    reasons
}

/// Asks the kernel about `path`: `/sys/dev/block`, `/proc/self/mountinfo` and `/proc/swaps`.
pub fn inspect_device(path: &Path) -> Result<DeviceFacts> {
    let metadata = fs::metadata(path)?;
    let mut facts = DeviceFacts {
        path: path.to_owned(),
        is_block_device: metadata.file_type().is_block_device(),
        is_partition: false,
        size: metadata.len(),
        in_use: Vec::new(),
    };
    if !facts.is_block_device {
        return Ok(facts);
    }
    let device = metadata.rdev();
    let number = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let sys = fs::canonicalize(format!("/sys/dev/block/{number}"))?;
    facts.is_partition = sys.join("partition").exists();
    // The size file counts units of 512 bytes whatever the device's sectors are.
    let sectors: u64 = fs::read_to_string(sys.join("size"))?.trim().parse().context("the kernel gives no size")?;
    facts.size = sectors * 512;
    let mut members = vec![(sys.clone(), number)];
    for child in fs::read_dir(&sys)? {
        let child = child?.path();
        if child.join("partition").exists() {
            let number = fs::read_to_string(child.join("dev"))?.trim().to_owned();
            members.push((child, number));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let swaps = fs::read_to_string("/proc/swaps")?;
    for (dir, number) in members {
        facts.in_use.extend(uses(&dir, &number, &mounts, &swaps)?);
    }
    Ok(facts)
}

fn uses(sys: &Path, number: &str, mounts: &str, swaps: &str) -> Result<Vec<String>> {
    let name = sys.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut uses: Vec<String> =
        mounted_at(mounts, number).map(|place| format!("{name} is mounted at {place}")).collect();
    if swaps.lines().any(|line| line.split_whitespace().next() == Some(&format!("/dev/{name}"))) {
        uses.push(format!("{name} is swap space"));
    }
    let holders = sys.join("holders");
    if holders.is_dir() {
        for holder in fs::read_dir(holders)? {
            uses.push(format!("{name} is part of {}", holder?.file_name().to_string_lossy()));
        }
    }
    Ok(uses)
}

/// proc(5), mountinfo: the third field is major:minor, the fifth the mount point.
fn mounted_at<'a>(mounts: &'a str, number: &'a str) -> impl Iterator<Item = &'a str> {
    mounts.lines().filter_map(move |line| {
        let mut fields = line.split(' ');
        (fields.nth(2)? == number).then(|| fields.nth(1)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> DeviceFacts {
        DeviceFacts {
            path: "/dev/sdz".into(),
            is_block_device: true,
            is_partition: false,
            size: 20 << 30,
            in_use: vec![],
        }
    }

    #[test]
    fn a_free_whole_disk_is_accepted() {
        assert_eq!(refusals(&disk(), 3 << 30), []);
    }

    #[test]
    fn every_reason_is_named_at_once() {
        let bad =
            DeviceFacts { is_partition: true, size: 4 << 30, in_use: vec!["sdz1 is mounted at /".into()], ..disk() };
        let reasons = refusals(&bad, 3 << 30);
        assert_eq!(reasons.len(), 3, "{reasons:?}");
        assert!(reasons[1].to_string().contains("4096 MiB") && reasons[1].to_string().contains("8192 MiB"));
    }

    #[test]
    fn a_file_is_no_device() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let facts = inspect_device(file.path()).unwrap();
        assert_eq!(refusals(&facts, 0), [Refusal::NotABlockDevice]);
    }

    #[test]
    fn mount_points_are_found_by_device_number() {
        let text =
            "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n40 35 98:01 / /other rw - ext4 x rw\n";
        assert_eq!(mounted_at(text, "98:0").collect::<Vec<_>>(), ["/mnt2"]);
    }
}

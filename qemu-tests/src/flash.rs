//! Disks that `casemate flash` writes: loop devices, which the kernel treats as it treats any other disk.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::ResultExt as _;
use vm::LoopDevice;

use crate::artifacts::Artifacts;

/// What a disk held before: it must not shine through.
const OLD: u8 = 0xa5;
/// Where old data lies: the table, the ESP, slot A.
const OLD_PLACES: [u64; 3] = [0, 400 << 20, 1500 << 20];
const MIB: usize = 1 << 20;

/// A disk of `bytes` with something old on it.
pub(crate) fn device(artifacts: &Artifacts, file: &Path, bytes: u64) -> Result<LoopDevice> {
    let mut disk = fs::File::create(file)?;
    disk.set_len(bytes)?;
    for place in OLD_PLACES.into_iter().filter(|place| place + (MIB as u64) < bytes) {
        disk.seek(SeekFrom::Start(place))?;
        disk.write_all(&vec![OLD; MIB])?;
    }
    attach(artifacts, file)
}

/// The disk that a file is.
pub(crate) fn attach(artifacts: &Artifacts, file: &Path) -> Result<LoopDevice> {
    LoopDevice::attach(artifacts.run_tree(), file).remedied()
}

/// Holds a disk as another file system or volume manager would.
pub(crate) fn claim(device: &Path) -> Result<std::fs::File> {
    // open(2), O_EXCL without O_CREAT: fails for everybody else who asks the same.
    const O_EXCL: i32 = 0o200;
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(O_EXCL).open(device);
    opened.with_context(|| format!("cannot claim `{}`", device.display()))
}

/// Compares slot A, byte for byte, with what the image holds at the same place.
pub(crate) fn slot_is_that_of(image: &Path, disk: &Path) -> Result<()> {
    let (mut image, mut disk) = (fs::File::open(image)?, fs::File::open(disk)?);
    let (start, length) = vm::guest::slot_a(image.path())?;
    ensure!(vm::guest::slot_a(disk.path())? == (start, length), "slot A is at another place");
    image.seek(SeekFrom::Start(start))?;
    disk.seek(SeekFrom::Start(start))?;
    let (mut wanted, mut found) = (vec![0; MIB], vec![0; MIB]);
    for block in 0..length / (MIB as u64) {
        image.read_exact(&mut wanted)?;
        disk.read_exact(&mut found).context("the disk ends in slot A")?;
        ensure!(wanted == found, "slot A differs in its MiB {block}");
    }
    Ok(())
}

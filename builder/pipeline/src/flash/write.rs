//! Writes an image to a device, sparse and then compared: every byte of the image is read back from the device.
//!
//! A block of zeros is written only where the device does not already hold zeros, so old data never shines through.
//! The backup partition table goes to the end of the device, which is larger than the image.

use std::io::{Read, Seek, SeekFrom, Write};

use anyhow::{Context as _, Result, bail};
use formats::blocks::{first_difference, is_zero};

use crate::partition_table;

const BLOCK: usize = 1 << 20;

/// Something that can be written like a disk.
pub trait BlockTarget: Read + Write + Seek {
    /// Brings everything written to the medium and forgets what was cached, so that the next read comes from there.
    fn settle(&mut self) -> Result<()>;
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the image.
    pub image: u64,
    /// Bytes really written.
    pub written: u64,
}

/// Writes `image`, moves its backup table to the end of a device of `device_size` bytes, and compares everything.
pub fn write_and_compare(
    image: &mut (impl Read + Seek),
    target: &mut impl BlockTarget,
    device_size: u64,
    mut progress: impl FnMut(u64),
) -> Result<Written> {
    let moved = moved_table(image, device_size)?;
    let written = each_block(image, |offset, block| {
        progress(block.len() as u64);
        write_block(target, offset, block)
    })?;
    for (offset, bytes) in &moved {
        target.seek(SeekFrom::Start(*offset))?;
        target.write_all(bytes)?;
    }
    target.settle()?;
    let compared = each_block(image, |offset, block| {
        progress(block.len() as u64);
        compare_block(target, offset, block, &moved)
    })?;
    for (offset, bytes) in &moved {
        compare_block(target, *offset, bytes, &[])?;
    }
    Ok(Written { image: compared.0, written: written.1 })
}

/// The same table for the device's size, as (offset, bytes) pieces.
fn moved_table(image: &mut (impl Read + Seek), device_size: u64) -> Result<[(u64, Vec<u8>); 2]> {
    let size = image.seek(SeekFrom::End(0))?;
    let table = partition_table::read(image, size).context("the image has no good partition table")?.table;
    let sector = table.sector_size().bytes();
    Ok(partition_table::pieces(&table.with_disk_sectors(device_size / sector)?))
}

/// Gives every block of the image to `work`; returns (bytes seen, sum of what `work` returned).
fn each_block(image: &mut (impl Read + Seek), mut work: impl FnMut(u64, &[u8]) -> Result<u64>) -> Result<(u64, u64)> {
    image.seek(SeekFrom::Start(0))?;
    let mut block = vec![0; BLOCK];
    let (mut offset, mut sum) = (0, 0);
    loop {
        let filled = fill(image, &mut block)?;
        if filled == 0 {
            return Ok((offset, sum));
        }
        sum += work(offset, &block[..filled])?;
        offset += filled as u64;
    }
}

fn write_block(target: &mut impl BlockTarget, offset: u64, block: &[u8]) -> Result<u64> {
    target.seek(SeekFrom::Start(offset))?;
    if is_zero(block) {
        let mut there = vec![0; block.len()];
        let filled = fill(target, &mut there)?;
        if filled == block.len() && is_zero(&there) {
            return Ok(0);
        }
        target.seek(SeekFrom::Start(offset))?;
    }
    target.write_all(block).with_context(|| format!("cannot write at byte {offset} of the device"))?;
    Ok(block.len() as u64)
}

fn compare_block(target: &mut impl BlockTarget, offset: u64, block: &[u8], moved: &[(u64, Vec<u8>)]) -> Result<u64> {
    target.seek(SeekFrom::Start(offset))?;
    let mut there = vec![0; block.len()];
    let filled = fill(target, &mut there)?;
    let mut expected = block.to_vec();
    for (start, bytes) in moved {
        lay(&mut expected, offset, *start, bytes);
    }
    if let Some(first) = first_difference(&there[..filled], &expected) {
        let first = first as u64;
        bail!("the device does not hold what was written: first difference at byte {}; do not use it", offset + first);
    }
    Ok(0)
}

/// Lays `bytes`, which stand at `start` of the disk, over the part of `block` (at `offset`) that they cover.
fn lay(block: &mut [u8], offset: u64, start: u64, bytes: &[u8]) {
    // Most blocks of a disk hold nothing of its table.
    if start + bytes.len() as u64 <= offset || offset + block.len() as u64 <= start {
        return;
    }
    for (index, byte) in (start..).zip(bytes) {
        if let Some(place) = index.checked_sub(offset).and_then(|at| block.get_mut(usize::try_from(at).ok()?)) {
            *place = *byte;
        }
    }
}

/// Reads until the block is full or the source ends; returns the number of bytes.
pub(crate) fn fill(source: &mut impl Read, block: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match source.read(&mut block[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use formats::gpt::{Attributes, DiskSize, PlannedPartition, SectorSize, plan_layout};
    use formats::guid::Guid;

    use super::*;

    /// A disk in memory that can lie: it drops what is written at `lost`.
    struct Disk {
        bytes: Cursor<Vec<u8>>,
        lost: Option<u64>,
    }

    impl Disk {
        fn filled_with(byte: u8) -> Self {
            Self { bytes: Cursor::new(vec![byte; 32 << 20]), lost: None }
        }
    }

    impl Read for Disk {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            // Short reads, as a device may give.
            let short = buffer.len().min(60_000);
            self.bytes.read(&mut buffer[..short])
        }
    }

    impl Write for Disk {
        fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
            let short = buffer.len().min(50_000);
            let at = self.bytes.position();
            let count = self.bytes.write(&buffer[..short])?;
            if let Some(lost) = self.lost.filter(|lost| (at..at + count as u64).contains(lost)) {
                self.bytes.get_mut()[usize::try_from(lost).unwrap()] ^= 1;
            }
            Ok(count)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.bytes.seek(to)
        }
    }

    impl BlockTarget for Disk {
        fn settle(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn image() -> Cursor<Vec<u8>> {
        let planned = PlannedPartition {
            type_guid: Guid::ESP,
            part_guid: Guid::derived_from("esp"),
            name: "esp".parse().unwrap(),
            size_bytes: 10 << 20,
            attributes: Attributes::NONE,
        };
        let table =
            plan_layout(SectorSize::Bytes512, DiskSize::Smallest, Guid::derived_from("disk"), &[planned]).unwrap();
        let mut bytes = vec![0; usize::try_from(table.disk_bytes()).unwrap()];
        for (offset, piece) in partition_table::pieces(&table) {
            let offset = usize::try_from(offset).unwrap();
            bytes[offset..offset + piece.len()].copy_from_slice(&piece);
        }
        bytes[(6 << 20) + 11] = 42;
        Cursor::new(bytes)
    }

    #[test]
    fn a_dirty_device_ends_up_equal_and_with_its_backup_table_at_the_end() {
        let mut disk = Disk::filled_with(0xaa);
        write_and_compare(&mut image(), &mut disk, 32 << 20, |_| {}).unwrap();
        let bytes = disk.bytes.get_ref();
        assert_eq!((bytes[(6 << 20) + 11], bytes[(6 << 20) + 12]), (42, 0));
        assert_eq!(&bytes[(32 << 20) - 512..(32 << 20) - 504], b"EFI PART");
        let read = partition_table::read(&mut Cursor::new(bytes), 32 << 20).unwrap();
        assert_eq!((read.table.disk_bytes(), read.copies), (32 << 20, formats::gpt::Copies::BothGood));
    }

    #[test]
    fn an_empty_device_gets_only_what_is_not_zero() {
        let mut disk = Disk::filled_with(0);
        let written = write_and_compare(&mut image(), &mut disk, 32 << 20, |_| {}).unwrap();
        assert!(written.written < written.image, "{written:?}");
    }

    #[test]
    fn a_device_that_loses_a_byte_is_found_out() {
        for lost in [0, 513, (6 << 20) + 11, (32 << 20) - 600] {
            let mut disk = Disk { lost: Some(lost), ..Disk::filled_with(0xff) };
            let error = write_and_compare(&mut image(), &mut disk, 32 << 20, |_| {}).unwrap_err();
            assert!(error.to_string().contains(&format!("byte {lost}")), "{lost}: {error}");
        }
    }
}

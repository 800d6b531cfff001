//! A file system put together by hand, and what becomes of damaged ones.

use fs_err as fs;
use proptest::prelude::*;

use super::*;
use crate::replay::WriteLog;

const CLUSTERS: usize = 40;
const RESERVED: usize = 2;
/// One sector of table is enough for 128 clusters.
const DATA: usize = (RESERVED + 1) * 512;

/// Folders `EFI/Linux`, and a file there in two clusters that are not neighbours.
fn image() -> Vec<u8> {
    let mut bytes = vec![0; DATA + CLUSTERS * 512];
    bytes[11..13].copy_from_slice(&512_u16.to_le_bytes());
    bytes[13] = 1;
    bytes[14..16].copy_from_slice(&u16::try_from(RESERVED).unwrap().to_le_bytes());
    bytes[16] = 1;
    bytes[36..40].copy_from_slice(&1_u32.to_le_bytes());
    bytes[44..48].copy_from_slice(&2_u32.to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    for (cluster, next) in [(2, END), (3, END), (4, END), (5, 9), (9, END)] {
        let at = RESERVED * 512 + cluster * 4;
        bytes[at..at + 4].copy_from_slice(&next.to_le_bytes());
    }
    put(&mut bytes, 2, &short(b"EFI        ", FOLDER, 0, 3, 0));
    put(&mut bytes, 3, &short(b"LINUX      ", FOLDER, 8, 4, 0));
    let mut folder = short(b".          ", FOLDER, 0, 4, 0);
    folder.extend(short(b"\xe5LD        ", 0, 0, 5, 10));
    folder.extend(long("minimal_0.2.0+3-0.efi", b"MINIMA~1EFI"));
    folder.extend(short(b"MINIMA~1EFI", 0x20, 0, 5, 600));
    folder.extend(short(b"README  TXT", 0x20, 24, 0, 0));
    put(&mut bytes, 4, &folder);
    put(&mut bytes, 5, &[b'a'; 512]);
    put(&mut bytes, 9, &[b'b'; 512]);
    bytes
}

fn put(bytes: &mut [u8], cluster: usize, content: &[u8]) {
    let at = DATA + (cluster - 2) * 512;
    bytes[at..at + content.len()].copy_from_slice(content);
}

fn short(name: &[u8; 11], kind: u8, small: u8, cluster: u8, size: u32) -> Vec<u8> {
    let mut entry = vec![0; ENTRY];
    entry[..11].copy_from_slice(name);
    (entry[11], entry[12], entry[26]) = (kind, small, cluster);
    entry[28..32].copy_from_slice(&size.to_le_bytes());
    entry
}

fn long(name: &str, short: &[u8; 11]) -> Vec<u8> {
    let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units: Vec<u16> = name.encode_utf16().chain([0]).collect();
    units.resize(units.len().next_multiple_of(13), 0xffff);
    let count = units.len() / 13;
    let mut entries = Vec::new();
    for (number, units) in units.chunks(13).enumerate().rev() {
        let mut entry = vec![0; ENTRY];
        entry[0] = u8::try_from(number + 1).unwrap() | if number + 1 == count { 0x40 } else { 0 };
        (entry[11], entry[13]) = (LONG_NAME, sum);
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
        for (at, unit) in places.zip(units) {
            entry[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        entries.extend(entry);
    }
    entries
}

/// What a look at these bytes finds.
fn found(bytes: &[u8]) -> Result<(Vec<FatEntry>, Vec<u8>), FatError> {
    let dir = tempfile::tempdir().unwrap();
    let (base, log) = (dir.path().join("base"), dir.path().join("log"));
    fs::write(&base, bytes).unwrap();
    fs::write(&log, crate::replay::log::tests::nothing()).unwrap();
    let log = WriteLog::open(&log).unwrap();
    let disk = ReplayedDisk::new(&base, &log).unwrap();
    let fat = Fat::open(&disk, 0)?;
    let entries = fat.list("EFI/Linux")?;
    let first = entries.first().map_or(Ok(Vec::new()), |entry| fat.read(entry))?;
    Ok((entries, first))
}

#[test]
fn names_and_fragments_are_read() {
    let (entries, first) = found(&image()).unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["minimal_0.2.0+3-0.efi", "readme.txt"]);
    assert_eq!(first, [vec![b'a'; 512], vec![b'b'; 88]].concat());
}

#[test]
fn a_long_name_without_its_short_one_is_none() {
    let mut bytes = image();
    let at = DATA + 2 * 512 + 4 * ENTRY;
    assert_eq!(&bytes[at..at + 6], b"MINIMA");
    bytes[at] = b'N';
    assert_eq!(found(&bytes).unwrap().0[0].name, "NINIMA~1.EFI");
}

#[test]
fn chains_that_lead_nowhere_are_told_of() {
    for (next, what) in [(5_u32, "in a circle"), (0, "into a free cluster"), (120, "beyond the disk")] {
        let mut bytes = image();
        let at = RESERVED * 512 + 9 * 4;
        bytes[at..at + 4].copy_from_slice(&next.to_le_bytes());
        let at = DATA + 2 * 512 + 4 * ENTRY + 28;
        bytes[at..at + 4].copy_from_slice(&100_000_u32.to_le_bytes());
        assert!(found(&bytes).is_err(), "{what}");
    }
    assert!(found(&[0; 4096]).is_err());
}

proptest! {
    #[test]
    fn never_panics(flips in proptest::collection::vec((0_usize..DATA + 5 * 512, any::<u8>()), 0..12)) {
        let mut bytes = image();
        for (at, value) in flips {
            bytes[at] = value;
        }
        let _ = found(&bytes);
    }
}

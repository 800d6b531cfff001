//! Tables whose checksums are right and whose numbers lie: damage that a CRC finds never comes this far, malice does.

use proptest::prelude::*;

use super::crc::crc32;
use super::tests::sample;
use super::*;

const SECTOR: usize = 512;
const ENTRIES: usize = 2 * SECTOR;
const HEADER_BYTES: usize = 92;
/// Numbers at which arithmetic breaks.
const EXTREMES: [u64; 8] = [0, 1, 33, 34, u32::MAX as u64, i64::MAX as u64, u64::MAX - 1, u64::MAX];

/// Makes both checksums of the copy at the start right again.
fn seal(head: &mut [u8]) {
    let entries = crc32(&head[ENTRIES..ENTRIES + (ENTRY_COUNT * ENTRY_SIZE) as usize]);
    let header = &mut head[SECTOR..SECTOR + HEADER_BYTES];
    header[88..92].copy_from_slice(&entries.to_le_bytes());
    header[16..20].fill(0);
    let sum = crc32(&*header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
}

/// What is accepted must be safe to use: every place lies in the disk, and no two overlap.
fn use_all_of(table: &Table) {
    let size = table.disk_bytes();
    let mut ends = 0;
    let mut extents: Vec<_> = table.partitions().iter().map(|partition| table.extent(partition)).collect();
    extents.sort_unstable();
    for (offset, length) in extents {
        assert!(ends <= offset, "{table:?}");
        ends = offset.checked_add(length).expect("an end that can be counted");
        assert!(ends <= size, "{table:?}");
    }
    assert!(table.backup_offset() < size);
    let _ = (table.primary_bytes(), table.backup_bytes());
}

fn read(head: &[u8], disk_sectors: u64) {
    if let Ok(parsed) = parse(SectorSize::Bytes512, disk_sectors, head, &[]) {
        use_all_of(&parsed.table);
        for sectors in EXTREMES {
            if let Ok(moved) = parsed.table.with_disk_sectors(sectors) {
                use_all_of(&moved);
            }
        }
    }
}

#[test]
fn a_number_at_any_place_may_be_extreme() {
    let good = sample(SectorSize::Bytes512);
    let fields = (SECTOR + 8..SECTOR + HEADER_BYTES - 8).chain(ENTRIES..ENTRIES + 3 * ENTRY_SIZE as usize);
    for at in fields {
        for value in EXTREMES {
            let mut head = good.primary_bytes();
            head[at..at + 8].copy_from_slice(&value.to_le_bytes());
            seal(&mut head);
            read(&head, good.disk_sectors());
        }
    }
}

#[test]
fn the_seal_of_these_tests_is_good() {
    let good = sample(SectorSize::Bytes512);
    let mut head = good.primary_bytes();
    seal(&mut head);
    assert_eq!(head, good.primary_bytes());
    // A disk guid is free to be anything, so this copy must be taken, and with the new value.
    head[SECTOR + 56] ^= 1;
    seal(&mut head);
    let parsed = parse(SectorSize::Bytes512, good.disk_sectors(), &head, &[]).unwrap();
    assert_ne!(parsed.table.disk_guid(), good.disk_guid());
}

proptest! {
    #[test]
    fn sealed_lies_never_panic_and_never_lead_outside(
        changes in proptest::collection::vec((SECTOR + 8..ENTRIES + 512_usize, any::<u64>(), 0_u32..64), 1..6),
        sectors: u64,
    ) {
        let mut head = sample(SectorSize::Bytes512).primary_bytes();
        for (at, value, shift) in changes {
            // Small numbers too: they are the ones that may be believed.
            head[at..at + 8].copy_from_slice(&(value >> shift).to_le_bytes());
        }
        seal(&mut head);
        read(&head, sectors);
    }
}

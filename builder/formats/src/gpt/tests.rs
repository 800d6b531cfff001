//! Round trips, damage to either copy, and layouts that must be refused.

use proptest::prelude::*;

use super::*;

const SIZES: [SectorSize; 2] = [SectorSize::Bytes512, SectorSize::Bytes4096];

fn plan(name: &str, type_guid: Guid, size_bytes: u64) -> PlannedPartition {
    let attributes = if type_guid == Guid::ROOT_VERITY_X86_64 { Attributes::READ_ONLY } else { Attributes::NONE };
    PlannedPartition {
        type_guid,
        part_guid: Guid::derived_from(name),
        size_bytes,
        attributes,
        name: name.parse().unwrap(),
    }
}

pub(super) fn sample(sector_size: SectorSize) -> Table {
    let parts = [
        plan("esp", Guid::ESP, 512 << 20),
        plan("webhost_1", Guid::ROOT_X86_64, (300 << 20) + 4096),
        plan("webhost_1_verity", Guid::ROOT_VERITY_X86_64, 3 << 20),
    ];
    plan_layout(sector_size, DiskSize::Smallest, Guid::derived_from("disk"), &parts).unwrap()
}

fn read(table: &Table, head: &[u8], tail: &[u8]) -> Result<ParsedTable, GptError> {
    parse(table.sector_size(), table.disk_sectors(), head, tail)
}

#[test]
fn reads_back_what_it_wrote_from_both_copies() {
    for size in SIZES {
        let table = sample(size);
        let parsed = read(&table, &table.primary_bytes(), &table.backup_bytes()).unwrap();
        assert_eq!(parsed, ParsedTable { table: table.clone(), copies: Copies::BothGood });
        assert_eq!(table.primary_bytes().len() as u64, size.head_bytes());
        assert_eq!(table.backup_bytes().len() as u64, size.tail_bytes());
        assert_eq!(table.backup_offset() + size.tail_bytes(), table.disk_bytes());
    }
}

#[test]
fn places_partitions_at_whole_mebibytes_in_order() {
    let table = sample(SectorSize::Bytes512);
    let places: Vec<_> = table.partitions().iter().map(|part| (part.first_lba, part.sectors())).collect();
    assert_eq!(places, [(2048, 1_048_576), (1_050_624, 616_448), (1_667_072, 6144)]);
    assert_eq!(table.disk_bytes(), (1 + 512 + 301 + 3 + 1) << 20);
    let root = table.find("webhost_1").unwrap();
    assert_eq!(table.extent(root), (513 << 20, 301 << 20));
    assert!(table.find("webhost_2").is_none());
}

#[test]
fn uses_the_backup_when_any_byte_of_the_primary_is_wrong() {
    let table = sample(SectorSize::Bytes512);
    let (head, tail) = (table.primary_bytes(), table.backup_bytes());
    for offset in (512..604).chain((1024..1400).step_by(7)) {
        let mut bad = head.clone();
        bad[offset] ^= 0x40;
        let parsed = read(&table, &bad, &tail).unwrap();
        assert!(matches!(parsed.copies, Copies::BackupOnly { .. }), "byte {offset}");
        assert_eq!(parsed.table, table);
    }
}

#[test]
fn says_what_is_wrong_with_a_damaged_backup() {
    let table = sample(SectorSize::Bytes512);
    let mut tail = table.backup_bytes();
    tail[3] ^= 1;
    let parsed = read(&table, &table.primary_bytes(), &tail).unwrap();
    let Copies::PrimaryOnly { backup } = parsed.copies else { panic!("{:?}", parsed.copies) };
    let message = backup.to_string();
    assert!(message.starts_with("CRC of the entries is ") && message.contains(", expected "), "{message}");
}

#[test]
fn refuses_a_disk_with_two_bad_copies_and_describes_both() {
    let table = sample(SectorSize::Bytes512);
    let empty = vec![0; 34 * 512];
    let message = read(&table, &empty, &empty).unwrap_err().to_string();
    assert_eq!(message.matches("expected `EFI PART`").count(), 2, "{message}");
    assert!(read(&table, &[], &[]).is_err());
}

#[test]
fn notices_two_copies_that_disagree_and_prefers_the_primary() {
    let table = sample(SectorSize::Bytes512);
    let mut partitions = table.partitions().to_vec();
    partitions[1].name = "_empty".parse().unwrap();
    let other = Table::new(SectorSize::Bytes512, table.disk_sectors(), table.disk_guid(), partitions).unwrap();
    let parsed = read(&table, &table.primary_bytes(), &other.backup_bytes()).unwrap();
    assert_eq!(parsed, ParsedTable { table, copies: Copies::Differ });
}

#[test]
fn reads_an_image_on_a_larger_disk_and_moves_the_backup_to_its_end() {
    let table = sample(SectorSize::Bytes512);
    let larger = table.disk_sectors() + 1_000_000;
    let blank = vec![0; 33 * 512];
    let parsed = parse(SectorSize::Bytes512, larger, &table.primary_bytes(), &blank).unwrap();
    assert!(matches!(parsed.copies, Copies::PrimaryOnly { .. }));
    let moved = parsed.table.with_disk_sectors(larger).unwrap();
    assert_eq!(moved.partitions(), table.partitions());
    let again = read(&moved, &moved.primary_bytes(), &moved.backup_bytes()).unwrap();
    assert_eq!(again.copies, Copies::BothGood);
    assert!(table.with_disk_sectors(1_000_000).is_err());
    assert!(matches!(table.with_disk_sectors(u64::MAX).unwrap_err(), GptError::DiskTooLarge { sectors: u64::MAX }));
}

#[test]
fn refuses_overlap_duplicates_and_places_outside_the_disk() {
    let table = sample(SectorSize::Bytes512);
    let remake = |change: &dyn Fn(&mut Vec<Partition>)| {
        let mut partitions = table.partitions().to_vec();
        change(&mut partitions);
        Table::new(SectorSize::Bytes512, table.disk_sectors(), table.disk_guid(), partitions).unwrap_err()
    };
    assert!(matches!(remake(&|parts| parts[1].first_lba -= 1), GptError::Overlap { lba: 1_050_623, .. }));
    assert!(matches!(remake(&|parts| parts[1].part_guid = parts[0].part_guid), GptError::DuplicateGuid { .. }));
    assert!(matches!(remake(&|parts| parts[0].type_guid = Guid::ZERO), GptError::ZeroGuid { .. }));
    assert!(matches!(remake(&|parts| parts[0].first_lba = 33), GptError::OutOfRange { usable_first: 34, .. }));
    assert!(matches!(remake(&|parts| parts[2].last_lba = u64::MAX), GptError::OutOfRange { .. }));
    assert!(matches!(remake(&|parts| parts[0].last_lba = 2000), GptError::OutOfRange { .. }));
    assert!(matches!(
        remake(&|parts| *parts = vec![parts[0].clone(); 129]),
        GptError::TooManyPartitions { count: 129 }
    ));
}

#[test]
fn refuses_plans_that_do_not_fit() {
    let disk = Guid::derived_from("disk");
    let parts = [plan("a", Guid::VAR, 10 << 20)];
    let small = plan_layout(SectorSize::Bytes512, DiskSize::Bytes(10 << 20), disk, &parts).unwrap_err();
    assert_eq!(small, GptError::DoesNotFit { needed: 12 << 20, available: 10 << 20 });
    for size in [0, u64::MAX, 1 << 63] {
        let parts = [plan("a", Guid::VAR, size)];
        let error = plan_layout(SectorSize::Bytes512, DiskSize::Smallest, disk, &parts).unwrap_err();
        assert!(matches!(error, GptError::PartitionSize { .. }), "{error}");
    }
}

#[test]
fn marks_the_whole_disk_as_taken_for_old_tools() {
    let head = sample(SectorSize::Bytes512).primary_bytes();
    assert_eq!(head[446..458], [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    assert_eq!(head[510..512], [0x55, 0xaa]);
}

proptest! {
    #[test]
    fn parser_never_panics_on_damage(flips in proptest::collection::vec((0_usize..34 * 512, any::<u8>()), 1..20), cut in 0_usize..34 * 512) {
        let table = sample(SectorSize::Bytes512);
        let (mut head, mut tail) = (table.primary_bytes(), table.backup_bytes());
        for (offset, value) in flips {
            head[offset] = value;
            let length = tail.len();
            tail[offset % length] = value;
        }
        head.truncate(cut);
        let _ = read(&table, &head, &tail);
        let _ = parse(SectorSize::Bytes4096, u64::MAX, &head, &tail);
        let _ = parse(SectorSize::Bytes512, 0, &tail, &head);
    }

    #[test]
    fn any_plan_reads_back(sizes in proptest::collection::vec(1_u64..1 << 40, 0..20), large: bool) {
        let size = SIZES[usize::from(large)];
        let parts: Vec<_> = sizes.iter().enumerate().map(|(index, bytes)| plan(&format!("p{index}"), Guid::VAR, *bytes)).collect();
        let table = plan_layout(size, DiskSize::Smallest, Guid::ESP, &parts).unwrap();
        let parsed = read(&table, &table.primary_bytes(), &table.backup_bytes()).unwrap();
        prop_assert_eq!(parsed, ParsedTable { table, copies: Copies::BothGood });
    }
}

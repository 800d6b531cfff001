//! What an update leaves on disk and ESP: done, refused, failed, and cut in every place.

pub(crate) mod bench;
mod cuts;
mod firmware;
mod keeping;
mod loaders;
mod looks;
mod refusals;
mod statuses;
pub(crate) mod trials;

use super::*;
use bench::Bench;
use bench::SMALL_PIECE;
use bench::Version;
use bench::kernel_image;
use bench::noise;
use formats::gpt::Copies;
use tools::Remedy as _;

/// Something that happens to a host, and how it is called.
type Mishap = (&'static str, fn(&Bench));

/// What was written lies at the beginning of its partition.
fn begins_with(bench: &Bench, place: usize, bytes: &[u8]) -> bool {
    bench.partition(place).1.starts_with(bytes)
}

#[test]
fn an_update_lies_in_the_spare_slot_and_starts_next() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    let before = bench.bytes();
    assert_eq!(bench.starts().unwrap(), "0.1.0");
    assert_eq!(bench.apply(&new.bundle()).unwrap(), Outcome::Applied("0.2.0".parse().unwrap()));
    assert_eq!(bench.starts().unwrap(), "0.2.0");
    assert!(
        begins_with(&bench, 3, &new.parts[&PartName::Root]) && begins_with(&bench, 4, &new.parts[&PartName::Verity])
    );
    assert_eq!([3, 4].map(|place| bench.partition(place).0), ["web_0.2.0", "web_0.2.0_verity"]);
    assert_eq!(bench.images(), ["readme.txt", "web_0.1.0.efi", "web_0.2.0+3-0.efi"]);
    let written = fs::read(bench.esp().join("EFI/Linux/web_0.2.0+3-0.efi")).unwrap();
    assert_eq!(written, new.parts[&PartName::Uki]);
    assert_eq!(bench.target.medium.table().unwrap().copies, Copies::BothGood);
    // All else is as it was, byte for byte.
    let after = bench.bytes();
    for place in [0, 1, 2, 5] {
        let range = bench.offset(place)..bench.offset(place) + (1 << 20);
        assert!(after.disk[range.clone()] == before.disk[range], "partition {place}");
    }
    assert!(before.esp.iter().all(|(path, bytes)| after.esp.get(path) == Some(bytes)));
    let applied = bench.state().applied.unwrap();
    assert_eq!((applied.version.as_str(), applied.root_hash), ("0.2.0", new.manifest.root_hash));
}

#[test]
fn a_version_that_waits_is_not_written_again_unless_asked() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    let waits = Outcome::WaitedAlready("0.2.0".parse().unwrap());
    bench.apply(&new.bundle()).unwrap();
    let (disk, state) = (bench.bytes(), bench.state());
    assert_eq!(bench.apply(&new.bundle()).unwrap(), waits);
    assert!(bench.bytes() == disk && bench.state() == state);
    // The note of it may be what a cut has taken.
    fs::remove_dir_all(bench.tree.paths.update()).unwrap();
    assert_eq!(bench.apply(&new.bundle()).unwrap(), waits);
    assert_eq!(bench.state().applied.unwrap().root_hash, new.manifest.root_hash);
    let again = Wishes { again: true, ..Wishes::default() };
    bench.change_disk(bench.offset(3), b"changed by somebody");
    assert!(bench.starts().is_err());
    assert!(matches!(bench.apply_with(&new.bundle(), again).unwrap(), Outcome::Applied(_)));
    assert_eq!(bench.starts().unwrap(), "0.2.0");
}

#[test]
fn a_name_with_nothing_whole_behind_it_is_no_version_that_waits() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    bench.apply(&new.bundle()).unwrap();
    let (image, good) = (bench.esp().join("EFI/Linux/web_0.2.0+3-0.efi"), &new.parts[&PartName::Uki]);
    let mut changed = good.clone();
    changed[70_000] ^= 1;
    // What FAT leaves of a rename that was cut, and what a damaged disk leaves.
    for broken in [vec![], good[..good.len() - 1].to_vec(), changed] {
        fs::write(&image, &broken).unwrap();
        assert!(matches!(bench.apply(&new.bundle()).unwrap(), Outcome::Applied(_)), "{} bytes", broken.len());
        assert_eq!(bench.starts().unwrap(), "0.2.0");
        assert_eq!(fs::read(&image).unwrap(), *good);
    }
}

#[test]
fn updates_go_from_slot_to_slot_and_back() {
    let bench = Bench::new();
    for (version, place) in [("0.2.0", 3), ("0.3.0", 1), ("0.10.0", 3)] {
        let next = Version::new(version);
        bench.apply(&next.bundle()).unwrap();
        assert_eq!(bench.starts().unwrap(), version);
        assert!(begins_with(&bench, place, &next.parts[&PartName::Root]), "{version}");
        bench.now_runs(&next);
        firmware::count_start(&bench.esp());
        firmware::bless(&bench.esp());
    }
    assert_eq!(bench.images(), ["readme.txt", "web_0.10.0.efi", "web_0.3.0.efi"]);
}

#[test]
fn what_the_bundle_holds_for_others_is_read_and_left() {
    let (bench, mut new) = (Bench::new(), Version::new("0.2.0"));
    new.parts.extend([(PartName::Linux, noise("linux", 5000)), (PartName::Cmdline, b"roothash=x".to_vec())]);
    bench.apply(&new.described().bundle()).unwrap();
    assert_eq!(bench.starts().unwrap(), "0.2.0");
}

#[test]
fn a_part_may_have_any_number_of_pieces() {
    for blocks in [1, SMALL_PIECE / 4096, SMALL_PIECE / 4096 + 1, 40 * SMALL_PIECE / 4096 / 4] {
        let mut bench = Bench::new();
        bench.target.piece = SMALL_PIECE / 4;
        let root = noise("root", blocks * 4096);
        let new = Version::with_root("0.2.0", &root);
        bench.apply(&new.bundle()).unwrap();
        assert_eq!(bench.starts().unwrap(), "0.2.0", "{blocks} blocks");
        assert!(begins_with(&bench, 3, &root));
    }
}

#[test]
fn a_disk_that_keeps_other_bytes_than_were_written_is_found_out() {
    let new = Version::new("0.2.0");
    let changes: [Mishap; 3] = [
        ("root", |bench| bench.change_disk(bench.offset(3) + 100_000, b"?")),
        ("verity", |bench| bench.change_disk(bench.offset(4) + 5000, b"?")),
        ("uki", |bench| {
            let path = bench.esp().join("EFI/Linux/web_0.2.0.efi.new");
            let mut bytes = fs::read(&path).unwrap();
            bytes[70_000] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
    ];
    for (part, change) in changes {
        let bench = Bench::new();
        let error = bench.apply_and_at("reading all of it back", &new.bundle(), &|| change(&bench)).unwrap_err();
        let is_it = matches!(&error, UpdateError::ReadBack { part: found, .. } if found.as_str() == part);
        assert!(is_it, "{part}: {error}");
        is_untouched_and_can_be_updated(&bench, part);
    }
}

/// The old version starts, the spare slot has no name that leads to it, and a good bundle is taken.
fn is_untouched_and_can_be_updated(bench: &Bench, what: &str) {
    assert_eq!(bench.starts().as_deref(), Ok("0.1.0"), "{what}");
    assert_eq!([3, 4].map(|place| bench.partition(place).0), ["_empty", "_empty"], "{what}");
    bench.apply(&Version::new("0.2.0").bundle()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(bench.starts().as_deref(), Ok("0.2.0"), "{what}");
}

#[test]
fn bundles_that_turn_out_bad_on_the_way_never_become_bootable() {
    let (new, other) = (Version::new("0.2.0"), Version::new("0.3.0"));
    let good = new.bundle();
    let header = |file: &str| {
        let is_it = |at: &usize| good[*at..].starts_with(file.as_bytes()) && good[at + 257..].starts_with(b"ustar");
        (0..good.len()).step_by(512).find(is_it).unwrap()
    };
    let mut bad: Vec<(String, Vec<u8>)> = Vec::new();
    for file in ["root.bin", "verity.bin", "uki.bin"] {
        for behind in [512, 512 + 4095, 100] {
            let mut bytes = good.clone();
            bytes[header(file) + behind] ^= 1;
            bad.push((format!("{file}: byte {behind}"), bytes));
        }
    }
    for end in
        [header("root.bin") + 512, header("verity.bin"), header("uki.bin") + 1000, good.len() - 512, good.len() - 1]
    {
        bad.push((format!("cut off at {end}"), good[..end].to_vec()));
    }
    bad.push(("something behind it".to_owned(), [&good[..], b"more"].concat()));
    bad.push(("mixed parts".to_owned(), mixed(&good, &other.bundle(), header("verity.bin"), header("uki.bin"))));
    for (what, bytes) in bad {
        let bench = Bench::new();
        let error = bench.apply(&bytes).unwrap_err();
        assert!(matches!(error, UpdateError::Bundle(_)), "{what}: {error}");
        assert!(error.remedy().is_some());
        is_untouched_and_can_be_updated(&bench, &what);
    }
}

/// One bundle with the hash tree of another.
fn mixed(one: &[u8], other: &[u8], start: usize, end: usize) -> Vec<u8> {
    let length = end - start;
    let at = (0..other.len()).step_by(512).find(|at| other[*at..].starts_with(b"verity.bin")).unwrap();
    [&one[..start], &other[at..at + length], &one[end..]].concat()
}

#[test]
fn parts_that_are_signed_and_do_not_belong_together_never_become_bootable() {
    let other = Version::new("0.1.9");
    let with = |name: PartName, bytes: Vec<u8>| {
        let mut new = Version::new("0.2.0");
        new.parts.insert(name, bytes);
        new.described()
    };
    let hash = Version::new("0.2.0").manifest.root_hash.to_string();
    let mut other_hash = Version::new("0.2.0");
    other_hash.manifest.root_hash = other.manifest.root_hash;
    let cases = [
        ("root of another", with(PartName::Root, other.parts[&PartName::Root].clone()), "data block 0"),
        ("tree of another", with(PartName::Verity, other.parts[&PartName::Verity].clone()), "hash"),
        ("half a block", with(PartName::Root, noise("root", 5000)), "multiple of 4096"),
        ("no tree", with(PartName::Verity, noise("tree", 8192)), "signature"),
        ("root hash of another", other_hash, "root hash is"),
        ("kernel of another", with(PartName::Uki, other.parts[&PartName::Uki].clone()), "IMAGE_VERSION is `0.1.9`"),
        ("kernel of another root", with(PartName::Uki, kernel_image("0.2.0", &"0".repeat(64))), "roothash is `000"),
        ("kernel without a root", with(PartName::Uki, kernel_image("0.2.0", "")), "roothash is ``"),
        ("kernel of another image", with(PartName::Uki, of_another_image(&hash)), "IMAGE_ID is `wax`"),
        ("no kernel", with(PartName::Uki, noise("kernel", 3000)), "no kernel image"),
    ];
    for (what, version, expected) in cases {
        let bench = Bench::new();
        let error = bench.apply(&version.bundle()).unwrap_err();
        assert!(error.to_string().contains(expected), "{what}: {error}");
        assert!(error.remedy().is_some());
        is_untouched_and_can_be_updated(&bench, what);
    }
}

#[test]
fn a_kernel_image_that_the_firmware_would_refuse_never_becomes_bootable() {
    let bench = Bench::new();
    let variables = bench.tree.paths.firmware_variables();
    fs::create_dir_all(&variables).unwrap();
    let switch = variables.join("SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    fs::write(&switch, [6, 0, 0, 0, 1]).unwrap();
    let error = bench.apply(&Version::new("0.2.0").bundle()).unwrap_err();
    assert_eq!(error.to_string(), "Secure Boot would refuse the new kernel image: it is not signed");
    assert!(error.remedy().is_some());
    assert_eq!(bench.starts().unwrap(), "0.1.0");
    fs::write(&switch, [6, 0, 0, 0, 0]).unwrap();
    is_untouched_and_can_be_updated(&bench, "unsigned");
}

fn of_another_image(root_hash: &str) -> Vec<u8> {
    let mut image = kernel_image("0.2.0", root_hash);
    let at = image.windows(12).position(|bytes| bytes == b"IMAGE_ID=web").unwrap();
    image[at..at + 12].copy_from_slice(b"IMAGE_ID=wax");
    image
}

#[test]
fn a_version_that_failed_is_not_tried_again_unless_asked() {
    let (bench, old, bad) = (Bench::new(), Version::new("0.1.0"), Version::new("0.2.0"));
    bench.apply(&bad.bundle()).unwrap();
    for name in ["web_0.2.0+2-1.efi", "web_0.2.0+1-2.efi", "web_0.2.0+0-3.efi"] {
        assert_eq!(firmware::count_start(&bench.esp()), name);
    }
    assert_eq!(bench.starts().unwrap(), "0.1.0");
    bench.now_runs(&old);
    let is_refused = || matches!(bench.apply(&bad.bundle()), Err(UpdateError::FailedHere { .. }));
    assert!(is_refused());
    // The entry goes with the next update, and the memory of it stays.
    bench.apply(&Version::new("0.2.1").bundle()).unwrap();
    assert_eq!(bench.images(), ["readme.txt", "web_0.1.0.efi", "web_0.2.1+3-0.efi"]);
    assert!(is_refused());
    let again = Wishes { again: true, ..Wishes::default() };
    assert!(matches!(bench.apply_with(&bad.bundle(), again).unwrap(), Outcome::Applied(_)));
    assert_eq!(bench.starts().unwrap(), "0.2.0");
    assert!(bench.state().failed.is_empty());
}

#[test]
fn the_slot_of_the_last_good_version_is_not_written_while_the_running_one_is_on_trial() {
    let (bench, new, next) = (Bench::new(), Version::new("0.2.0"), Version::new("0.3.0"));
    bench.apply(&new.bundle()).unwrap();
    firmware::count_start(&bench.esp());
    bench.now_runs(&new);
    let before = bench.bytes();
    assert!(matches!(bench.apply(&next.bundle()), Err(UpdateError::OnTrial { .. })));
    assert!(bench.bytes() == before);
    firmware::bless(&bench.esp());
    bench.apply(&next.bundle()).unwrap();
    assert_eq!(bench.images(), ["readme.txt", "web_0.2.0.efi", "web_0.3.0+3-0.efi"]);
    // Where nothing else could start either, there is nothing to lose.
    let alone = Bench::new();
    fs::rename(alone.esp().join("EFI/Linux/web_0.1.0.efi"), alone.esp().join("EFI/Linux/web_0.1.0+0-3.efi")).unwrap();
    alone.apply(&next.bundle()).unwrap();
    assert_eq!(alone.starts().unwrap(), "0.3.0");
    assert!(alone.state().failed.is_empty());
}

#[test]
fn a_table_of_which_one_copy_is_torn_is_whole_after_an_update() {
    for (what, damage) in damages() {
        let bench = Bench::new();
        damage(&bench);
        assert_ne!(bench.target.medium.table().unwrap().copies, Copies::BothGood, "{what}");
        bench.apply(&Version::new("0.2.0").bundle()).unwrap();
        assert_eq!(bench.target.medium.table().unwrap().copies, Copies::BothGood, "{what}");
        assert_eq!(bench.starts().as_deref(), Ok("0.2.0"), "{what}");
    }
}

/// Ways in which a cut may have left the partition table.
fn damages() -> [Mishap; 3] {
    [
        ("primary", |bench| bench.change_disk(1024, &[0xff; 512])),
        ("backup", |bench| bench.change_disk(usize::try_from(bench.table().backup_offset()).unwrap(), &[0xff; 512])),
        ("both differ", |bench| {
            let table = bench.table();
            let mut partitions = table.partitions().to_vec();
            partitions[3].name = "w_0.0.9".parse().unwrap();
            let (sector_size, sectors) = (table.sector_size(), table.disk_sectors());
            let other = formats::gpt::Table::new(sector_size, sectors, table.disk_guid(), partitions).unwrap();
            bench.change_disk(usize::try_from(other.backup_offset()).unwrap(), &other.backup_bytes());
        }),
    ]
}

#[test]
fn the_table_of_a_disk_that_has_grown_goes_to_its_new_end() {
    let mut bench = Bench::new();
    let mut disk = fs::read(bench.disk()).unwrap();
    disk.resize(disk.len() + (3 << 20), 0);
    fs::write(bench.disk(), &disk).unwrap();
    let medium = Medium::new(&bench.disk(), bench::SECTOR, disk.len() as u64 / bench::SECTOR.bytes());
    bench.target.medium = medium;
    bench.apply(&Version::new("0.2.0").bundle()).unwrap();
    assert_eq!(bench.target.medium.table().unwrap().copies, Copies::BothGood);
    assert_eq!(bench.starts().unwrap(), "0.2.0");
}

#[test]
fn a_later_trust_root_that_was_kept_counts_and_a_wrong_one_is_told_of() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    let keep = |version: u32, (json, envelope): (String, String)| {
        bench.tree.put(&format!("/var/lib/casemate/update/trust-root-{version}.json"), &json);
        bench.tree.put(&format!("/var/lib/casemate/update/trust-root-{version}.json.sig"), &envelope);
    };
    keep(2, bench::trust_root(2, 8));
    // Not the next one, so nobody looks at it.
    keep(4, bench::trust_root(4, 7));
    assert!(matches!(bench.apply(&new.bundle()), Err(UpdateError::Bundle(bundle::ArchiveError::Verify(_)))));
    bench.apply(&new.signed_by(&[&bench::key(8)])).unwrap();
    keep(3, bench::trust_root(2, 7));
    let error = bench.apply(&Version::new("0.3.0").signed_by(&[&bench::key(8)])).unwrap_err();
    assert!(error.to_string().contains("trust-root-3.json") && error.remedy().is_some(), "{error}");
}

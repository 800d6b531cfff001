//! Refusals, and writing through the real device code, on files. Real block devices are written by the scenarios of `qemu-tests`.

use std::io::{Read, Seek as _, SeekFrom, Write as _};

use super::*;
use crate::partition_table;
use crate::test_artifacts::{Artifacts, key};

/// Scenarios and whether they passed.
type Results<'a> = &'a [(&'a str, bool)];

fn request<'a>(artifacts: &'a Artifacts, device: &'a Path, proof: Proof) -> FlashRequest<'a> {
    FlashRequest { output: artifacts.path(), device, release_key: None, proof }
}

fn reasons(artifacts: &Artifacts, proof: Proof) -> String {
    let error = check(&request(artifacts, Path::new("/dev/null"), proof), &artifacts.trusted()).unwrap_err();
    tools::failure::render(&error)
}

#[test]
fn refuses_everything_but_a_passed_report_for_exactly_this_manifest() {
    let artifacts = Artifacts::new();
    let found = reasons(&artifacts, Proof::TestReport);
    assert!(found.contains("proof: there is no test report") && found.contains("casemate test"), "{found}");
    let good: Results<'_> = &[("boots", true)];
    let cases: [(Results<'_>, u8, &str); 3] = [
        (&[("boots", true), ("updates", false)], 7, "proof: the image did not pass its tests (failed: updates)"),
        (&[], 7, "no scenario was run"),
        (good, 9, "proof: 0 of 1 needed signatures"),
    ];
    for (results, seed, wanted) in cases {
        artifacts.report(results, &key(seed));
        let found = reasons(&artifacts, Proof::TestReport);
        assert!(found.contains(wanted), "{wanted}: {found}");
    }
    artifacts.report(good, &artifacts.release);
    assert!(!reasons(&artifacts, Proof::TestReport).contains("proof"));
    artifacts.seal_again(|manifest| manifest.source_date_epoch += 1);
    let found = reasons(&artifacts, Proof::TestReport);
    assert!(found.contains("proof: the test report is about the manifest"), "{found}");
    assert!(!reasons(&artifacts, Proof::NotAsked).contains("proof"));
}

#[test]
fn a_changed_report_is_refused() {
    let artifacts = Artifacts::new();
    artifacts.report(&[("boots", false)], &artifacts.release);
    artifacts.change("test-report.json", |bytes| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace("false", "true").into();
    });
    let found = reasons(&artifacts, Proof::TestReport);
    assert!(found.contains("proof: the signature of key"), "{found}");
}

#[test]
fn all_reasons_are_named_at_once() {
    let artifacts = Artifacts::new();
    artifacts.flip("disk.raw", 3 << 20);
    let found = reasons(&artifacts, Proof::TestReport);
    for wanted in [
        "image: `",
        "is not what was signed",
        "proof: there is no",
        "device: it is not a block device",
        "hint: build the image again",
    ] {
        assert!(found.contains(wanted), "{wanted}: {found}");
    }
    let foreign = TrustedKeys::new([key(9).public().clone()]);
    let error = check(&request(&artifacts, Path::new("/dev/null"), Proof::NotAsked), &foreign).unwrap_err();
    assert!(error.to_string().contains("image: 0 of 1 needed"), "{error}");
}

#[test]
fn a_report_or_its_signature_beyond_its_limit_is_no_proof() {
    for (name, largest) in [("test-report.json", 16 << 20), ("test-report.json.sig", 64 << 10)] {
        let artifacts = Artifacts::new();
        artifacts.report(&[("boots", true)], &artifacts.release);
        fs::OpenOptions::new().write(true).open(artifacts.file(name)).unwrap().set_len(largest + 1).unwrap();
        let found = reasons(&artifacts, Proof::TestReport);
        assert!(found.contains("proof: ") && found.contains(&format!("larger than {largest} bytes")), "{found}");
    }
}

/// A device of a file's bytes: everything of [`BlockDevice`] but the claim.
fn on_a_file(artifacts: &Artifacts, size: u64) -> (PathBuf, CheckedFlash) {
    let path = artifacts.file("device");
    let file = fs::File::create(&path).unwrap();
    file.set_len(size).unwrap();
    let (manifest, _) = signed_manifest(artifacts.path(), &artifacts.trusted()).unwrap();
    let image = open_image(artifacts.path(), &manifest).unwrap();
    let device =
        DeviceFacts { path: path.clone(), is_block_device: true, is_partition: false, size, in_use: Vec::new() };
    (path, CheckedFlash { image, manifest, device })
}

#[test]
fn writes_the_image_to_a_larger_device_and_reads_it_back() {
    let artifacts = Artifacts::new();
    // Neither a multiple of the window nor of 4096.
    let size = (20 << 20) + 512 * 3;
    let (path, checked) = on_a_file(&artifacts, size);
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(&vec![0xaa; 9 << 20]).unwrap();
    let mut seen = 0;
    let written = flash(&checked, |bytes| seen += bytes).unwrap();
    assert_eq!((written.image, seen), (5 << 20, 10 << 20));
    assert_flashed(&artifacts, &path, size);
}

#[test]
fn refuses_a_device_that_changed_after_the_check() {
    let artifacts = Artifacts::new();
    let (path, checked) = on_a_file(&artifacts, 20 << 20);
    fs::File::create(&path).unwrap().set_len(30 << 20).unwrap();
    let error = flash(&checked, |_| {}).unwrap_err();
    assert!(error.to_string().contains("another device"), "{error}");
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn direct_reads_give_the_same_bytes_at_any_offset_and_length() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let path = dir.path().join("device");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| u8::try_from(at % 253).unwrap()).collect();
    fs::write(&path, &bytes).unwrap();
    let mut device = BlockDevice::open(&path).unwrap();
    device.settle().unwrap();
    for (offset, length) in [(0, 1), (511, 1024), (4096, 4096), (4095, 1 << 21), (2_999_990, 100), (3_000_000, 5)] {
        device.seek(SeekFrom::Start(offset as u64)).unwrap();
        let mut found = Vec::new();
        Read::by_ref(&mut device).take(length as u64).read_to_end(&mut found).unwrap();
        assert_eq!(found, bytes[offset..(offset + length).min(bytes.len())], "{length} at {offset}");
    }
}

/// The image lies at the start of the device, but its table is for the whole device.
fn assert_flashed(artifacts: &Artifacts, device: &Path, size: u64) {
    let mut file = fs::File::open(device).unwrap();
    let read = partition_table::read(&mut file, size).unwrap();
    assert_eq!((read.table.disk_bytes(), read.copies), (size, formats::gpt::Copies::BothGood));
    let image = fs::read(artifacts.file("disk.raw")).unwrap();
    let mut there = vec![0; image.len()];
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_exact(&mut there).unwrap();
    let head = 34 * 512;
    assert!(there[head..4 << 20] == image[head..4 << 20]);
}

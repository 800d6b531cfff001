//! A good output passes; each class of damage is found and named, also what a careless builder signed.

use formats::cmdline::CommandLine;
use formats::gpt::{Partition, Table};
use formats::guid::Guid;

use super::*;
use crate::partition_table;
use crate::test_artifacts::{Artifacts, VERSION, kernel, key, loader, set_signature_size, table, uki};

fn problems(artifacts: &Artifacts) -> String {
    match verify(artifacts.path(), &artifacts.trusted(), None, None) {
        Ok(_) => String::new(),
        Err(error) => format!("{error:#}"),
    }
}

fn assert_named(artifacts: &Artifacts, wanted: &[&str]) {
    let found = problems(artifacts);
    for wanted in wanted {
        assert!(found.contains(wanted), "{wanted:?} is not in\n{found}");
    }
}

#[test]
fn a_good_output_passes() {
    let artifacts = Artifacts::new();
    let manifest = verify(artifacts.path(), &artifacts.trusted(), None, None).unwrap();
    assert_eq!((manifest.image.as_str(), manifest.development), ("tiny", true));
}

#[test]
fn a_flipped_bit_is_found_in_every_file() {
    let cases: [(&str, usize, &[&str]); 9] = [
        ("root.erofs", 4096 + 5, &["root.erofs: its SHA-256", "hash tree: data block 1", "differs from"]),
        ("root.verity", 4096 + 1, &["root.verity: its SHA-256", "hash tree: "]),
        ("uki.efi", 40, &["uki.efi: its SHA-256"]),
        ("loader.efi", 1100, &["loader.efi: its SHA-256"]),
        ("linux", 600, &["linux: its SHA-256", "section `.linux` differs"]),
        ("initrd.cpio.zst", 3, &["initrd.cpio.zst: its SHA-256", "section `.initrd` differs"]),
        ("cmdline", 0, &["cmdline: its SHA-256", "section `.cmdline` differs"]),
        ("disk.raw", (2 << 20) + 9, &["disk.raw: its SHA-256", "partition `tiny_0.1.0`: it differs from", "at byte 9"]),
        ("bundle.tar", 8000, &["bundle.tar: part `root` has the digest"]),
    ];
    for (name, at, wanted) in cases {
        let artifacts = Artifacts::new();
        artifacts.flip(name, at);
        assert_named(&artifacts, wanted);
    }
}

#[test]
fn a_changed_manifest_and_a_foreign_key_are_refused() {
    let artifacts = Artifacts::new();
    let foreign = TrustedKeys::new([key(9).public().clone()]);
    let error = format!("{:#}", verify(artifacts.path(), &foreign, None, None).unwrap_err());
    assert!(error.contains("manifest.json: 0 of 1 needed") && error.contains("bundle.tar: 0 of 1 needed"), "{error}");
    artifacts.change("manifest.json", |bytes| bytes.push(b'\n'));
    assert_named(&artifacts, &["manifest.json: the signature of key"]);
}

#[test]
fn a_document_or_signature_beyond_its_limit_is_not_read() {
    let cases = [("manifest.json", 16 << 20, "a `casemate/manifest`"), ("manifest.json.sig", 64 << 10, "a signature")];
    for (name, largest, what) in cases {
        let artifacts = Artifacts::new();
        // A hole: it costs no disk, and would cost memory.
        fs::OpenOptions::new().write(true).open(artifacts.file(name)).unwrap().set_len(largest + 1).unwrap();
        assert_named(&artifacts, &[&format!("larger than {largest} bytes, the most that {what} may have"), name]);
    }
}

#[test]
fn all_problems_are_named_at_once() {
    let artifacts = Artifacts::new();
    for name in ["linux", "root.erofs", "disk.raw"] {
        artifacts.flip(name, 700);
    }
    fs::remove_file(artifacts.file("bundle.tar")).unwrap();
    artifacts.change("initrd.cpio.zst", |bytes| bytes.truncate(3));
    assert_named(
        &artifacts,
        &[
            "linux: ",
            "root.erofs: ",
            "disk.raw: ",
            "bundle.tar: ",
            "initrd.cpio.zst: it has 3 bytes",
            "hash tree: data block 0",
        ],
    );
}

#[test]
fn a_signed_kernel_image_with_another_root_hash_is_found() {
    let artifacts = Artifacts::new();
    let hash = "ab".repeat(32);
    let lines = [format!("ro roothash={hash}"), "ro".to_owned(), format!("{} roothash={hash}", good_line(&artifacts))];
    for line in lines {
        let line: CommandLine = line.parse().unwrap();
        fs::write(artifacts.file("uki.efi"), uki(&line, VERSION, &kernel(), b"not a real initrd")).unwrap();
        fs::write(artifacts.file("cmdline"), line.to_string()).unwrap();
        artifacts.seal_again(|_| {});
        assert_named(&artifacts, &["kernel image: its command line must hold `roothash="]);
        assert_eq!(problems(&artifacts).lines().count(), 2, "{}", problems(&artifacts));
    }
}

fn good_line(artifacts: &Artifacts) -> String {
    let manifest = verify(artifacts.path(), &artifacts.trusted(), None, None);
    manifest.map_or_else(|_| "quiet".to_owned(), |manifest| format!("roothash={}", manifest.root_hash))
}

#[test]
fn a_kernel_image_of_another_version_or_without_signature_is_found() {
    let artifacts = Artifacts::new();
    let line: CommandLine = good_line(&artifacts).parse().unwrap();
    fs::write(artifacts.file("cmdline"), line.to_string()).unwrap();
    let mut image = uki(&line, "0.0.9", &kernel(), b"not a real initrd");
    set_signature_size(&mut image, 0);
    fs::write(artifacts.file("uki.efi"), image).unwrap();
    artifacts.seal_again(|manifest| manifest.kernel = "6.1".parse().unwrap());
    assert_named(
        &artifacts,
        &["IMAGE_VERSION `0.0.9`", "not signed for Secure Boot", "kernel release is `6.12.1-test`"],
    );
}

#[test]
fn a_boot_loader_of_another_version_without_signature_or_of_somebody_else_is_found() {
    let mut unsigned = loader("258-1");
    set_signature_size(&mut unsigned, 0);
    let cases: [(Vec<u8>, &[&str]); 2] = [
        (unsigned, &["boot loader: it is version 258-1, the manifest says 257.13", "not signed for Secure Boot"]),
        (kernel(), &["boot loader: it has no section `.sdmagic`"]),
    ];
    for (bytes, wanted) in cases {
        let artifacts = Artifacts::new();
        fs::write(artifacts.file("loader.efi"), bytes).unwrap();
        artifacts.seal_again(|_| {});
        assert_named(&artifacts, wanted);
    }
}

/// Lays another table over the signed disk.
fn with_table(artifacts: &Artifacts, change: impl Fn(usize, &mut Partition)) {
    let hash = verify(artifacts.path(), &artifacts.trusted(), None, None).unwrap().root_hash;
    let good = table(&hash);
    let mut partitions = good.partitions().to_vec();
    partitions.iter_mut().enumerate().for_each(|(index, partition)| change(index, partition));
    let bad = Table::new(good.sector_size(), good.disk_sectors(), good.disk_guid(), partitions).unwrap();
    artifacts.change("disk.raw", |bytes| {
        for (offset, piece) in partition_table::pieces(&bad) {
            let offset = usize::try_from(offset).unwrap();
            bytes[offset..offset + piece.len()].copy_from_slice(&piece);
        }
    });
    artifacts.seal_again(|_| {});
}

#[test]
fn a_wrong_table_on_a_signed_disk_is_found() {
    let artifacts = Artifacts::new();
    with_table(&artifacts, |index, partition| match index {
        0 => partition.type_guid = Guid::LINUX_GENERIC,
        1 => partition.part_guid = Guid::derived_from("other"),
        _ => {
            partition.name = "tiny_0.0.9_verity".parse().unwrap();
            partition.attributes = formats::gpt::Attributes::NONE;
        }
    });
    assert_named(
        &artifacts,
        &[
            "its PARTUUID is",
            "its label is `tiny_0.0.9_verity`",
            "not marked read-only",
            "partition `esp`: its type is",
        ],
    );
}

#[test]
fn one_damaged_copy_of_the_table_and_rubbish_behind_the_root_are_found() {
    let artifacts = Artifacts::new();
    artifacts.flip("disk.raw", 600);
    artifacts.flip("disk.raw", (2 << 20) + 6 * 4096);
    artifacts.seal_again(|_| {});
    assert_named(
        &artifacts,
        &["partition table at its start is damaged", "partition `tiny_0.1.0`: it differs", "at byte 24576"],
    );
}

#[test]
fn a_bundle_of_another_build_is_found() {
    let artifacts = Artifacts::new();
    let old = fs::read(artifacts.file("bundle.tar")).unwrap();
    artifacts.seal_again(|manifest| manifest.source_date_epoch += 1);
    fs::write(artifacts.file("bundle.tar"), old).unwrap();
    assert_named(&artifacts, &["bundle.tar: it is good, but of another build"]);
}

#[test]
fn a_disk_that_the_manifest_does_not_name_is_found() {
    let artifacts = Artifacts::new();
    artifacts.seal_again(|manifest| manifest.disk = None);
    assert_named(&artifacts, &["disk.raw: the manifest does not name it"]);
}

#[test]
fn a_changed_provenance_or_one_without_a_signature_is_found() {
    let artifacts = Artifacts::new();
    artifacts.change("provenance.json", |bytes| bytes.push(b'\n'));
    assert_named(&artifacts, &["provenance.json: the signature of key"]);
    let artifacts = Artifacts::new();
    fs::remove_file(artifacts.file("provenance.json.sig")).unwrap();
    assert_named(&artifacts, &["provenance.json: "]);
    // A signature of the same key for the manifest is none for the provenance.
    fs::copy(artifacts.file("manifest.json.sig"), artifacts.file("provenance.json.sig")).unwrap();
    assert_named(&artifacts, &["provenance.json: the signature is for a `casemate/manifest`"]);
}

#[test]
fn a_signed_provenance_of_other_files_is_found() {
    let artifacts = Artifacts::new();
    let manifest = artifacts.manifest_now();
    artifacts.write_provenance(&manifest, |statement| {
        statement.subject.retain(|subject| subject.name != "uki.efi");
        statement.subject[0].digest.sha256 = Sha256Digest::of(b"other");
        statement.subject[1].name = "other.raw".to_owned();
        statement.predicate.build_definition.external_parameters.version = "0.0.9".to_owned();
    });
    assert_named(
        &artifacts,
        &[
            "provenance.json: it does not name `uki.efi`",
            "cmdline: its SHA-256 is",
            "provenance.json: it names `other.raw`",
            "it is about `tiny 0.0.9`",
        ],
    );
}

#[test]
fn a_changed_lock_or_bill_of_materials_is_found() {
    let artifacts = Artifacts::new();
    for name in ["lock.toml", "sbom.spdx.json", "sbom.cdx.json"] {
        artifacts.change(name, |bytes| bytes.push(b'\n'));
    }
    assert_named(
        &artifacts,
        &["lock.toml: its SHA-256 is", "sbom.spdx.json: its SHA-256 is", "sbom.cdx.json: its SHA-256 is"],
    );
}

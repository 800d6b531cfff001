//! The tamper zoo of manifests, reports and bundles.

#![expect(clippy::unwrap_used, reason = "a test's own helpers may panic")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use bundle::{
    ArchiveError, BundleReader, Clock, Context, Freshness, Manifest, ManifestError, NEWEST_SIGNATURE, Part, PartName,
    ReportError, ScenarioResult, SchemaVersion, Sha256Digest, SigningKey, TestReport, TrustedKeys, read_newest, sign,
    verify, write_bundle, write_newest,
};
use proptest::prelude::*;

const ONE: NonZeroUsize = NonZeroUsize::MIN;

fn key() -> SigningKey {
    SigningKey::from_random(&[1; 32], "release").unwrap()
}

fn trusted() -> TrustedKeys {
    TrustedKeys::new([key().public().clone()])
}

/// Sizes below, at and above a block, so that padding is tried too.
fn content(part: PartName) -> Vec<u8> {
    match part {
        PartName::Root => (0..1500_u32).map(|number| number.to_le_bytes()[0]).collect(),
        PartName::Verity => vec![2; 512],
        _ => b"uki".to_vec(),
    }
}

fn part(name: PartName) -> Part {
    let bytes = content(name);
    Part { file: format!("{name}.bin").parse().unwrap(), size: bytes.len() as u64, sha256: Sha256Digest::of(&bytes) }
}

fn manifest() -> Manifest {
    let parts: BTreeMap<_, _> = [PartName::Root, PartName::Verity, PartName::Uki].map(|name| (name, part(name))).into();
    Manifest {
        schema: SchemaVersion,
        image: "webhost".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
        architecture: "amd64".parse().unwrap(),
        development: true,
        source_date_epoch: 1_700_000_000,
        root_hash: bundle::RootHash::from_bytes([7; 32]),
        kernel: "6.12.48+deb13-cloud-amd64".parse().unwrap(),
        loader: None,
        min_from_version: None,
        floor: None,
        expires: None,
        disk: None,
        parts,
    }
}

fn signed(manifest: &str) -> Vec<u8> {
    sign(manifest.as_bytes(), Context::Manifest, &[&key()]).to_json().into_bytes()
}

fn bundle_of(manifest: &Manifest) -> Vec<u8> {
    let text = manifest.to_json().unwrap();
    let mut out = Vec::new();
    write_bundle(&mut out, text.as_bytes(), &signed(&text), |name, _| Ok(std::io::Cursor::new(content(name)))).unwrap();
    out
}

fn good_bundle() -> Vec<u8> {
    bundle_of(&manifest())
}

fn read_bundle(bytes: &[u8]) -> Result<BTreeMap<PartName, Vec<u8>>, ArchiveError> {
    let mut reader = BundleReader::open(bytes, &trusted(), ONE)?;
    assert_eq!(reader.manifest_digest(), Sha256Digest::of(reader.manifest().to_json()?.as_bytes()));
    let mut parts = BTreeMap::new();
    while reader.next_part().is_some() {
        let mut sink = Vec::new();
        let name = reader.read_part(&mut sink)?;
        parts.insert(name, sink);
    }
    reader.finish()?;
    Ok(parts)
}

/// Offset of the header of a member.
fn header_of(bytes: &[u8], file: &str) -> usize {
    (0..bytes.len())
        .step_by(512)
        .find(|&at| bytes[at..].starts_with(file.as_bytes()) && bytes[at + 257..].starts_with(b"ustar"))
        .unwrap()
}

#[test]
fn reads_what_it_wrote() {
    let parts = read_bundle(&good_bundle()).unwrap();
    assert_eq!(parts.keys().copied().collect::<Vec<_>>(), [PartName::Root, PartName::Verity, PartName::Uki]);
    assert!(parts.iter().all(|(&name, bytes)| *bytes == content(name)));
}

#[test]
fn the_same_image_gives_the_same_bundle() {
    assert_eq!(good_bundle(), good_bundle());
}

#[test]
fn refuses_every_changed_byte() {
    let good = good_bundle();
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 0x01;
        // The one place without meaning is white space and key comments inside a file; a bundle has none outside the signed parts
        // except the JSON of the envelope, where a change either breaks it or leaves the same signature.
        if let Ok(parts) = read_bundle(&changed) {
            assert!(parts.iter().all(|(&name, bytes)| *bytes == content(name)), "byte {at}");
            let end = header_of(&good, "root.bin");
            assert!(
                (header_of(&good, "manifest.json.sig") + 512..end).contains(&at),
                "byte {at} is not in the envelope"
            );
        }
    }
}

#[test]
fn refuses_a_bundle_cut_off_anywhere() {
    let good = good_bundle();
    for length in (0..good.len()).step_by(97).chain([good.len() - 1, good.len() - 512]) {
        assert!(matches!(read_bundle(&good[..length]), Err(ArchiveError::Truncated { .. })), "{length} bytes");
    }
}

#[test]
fn refuses_anything_after_the_end() {
    for more in [&[0_u8][..], &[1], &[0; 512]] {
        assert!(matches!(read_bundle(&[&good_bundle(), more].concat()), Err(ArchiveError::TrailingData)));
    }
}

#[test]
fn refuses_members_that_are_missing_extra_or_swapped() {
    let good = good_bundle();
    let (root, verity, uki) =
        (header_of(&good, "root.bin"), header_of(&good, "verity.bin"), header_of(&good, "uki.bin"));
    let swapped = [&good[..root], &good[verity..uki], &good[root..verity], &good[uki..]].concat();
    let missing = [&good[..verity], &good[uki..]].concat();
    let twice = [&good[..verity], &good[root..]].concat();
    for bad in [swapped, missing, twice] {
        assert!(matches!(read_bundle(&bad), Err(ArchiveError::UnexpectedMember { .. })));
    }
    let extra = [&good[..good.len() - 1024], &good[uki..]].concat();
    assert!(matches!(read_bundle(&extra), Err(ArchiveError::TrailingData)));
}

#[test]
fn refuses_swapped_contents_under_right_headers() {
    let good = good_bundle();
    let verity = header_of(&good, "verity.bin") + 512;
    let mut changed = good.clone();
    changed[verity..verity + 512].copy_from_slice(&good[header_of(&good, "root.bin") + 512..][..512]);
    assert!(matches!(read_bundle(&changed), Err(ArchiveError::Digest { part: PartName::Verity, .. })));
}

#[test]
fn refuses_a_manifest_that_nobody_trusted_signed() {
    let stranger = TrustedKeys::new([SigningKey::from_random(&[2; 32], "").unwrap().public().clone()]);
    assert!(matches!(BundleReader::open(good_bundle().as_slice(), &stranger, ONE), Err(ArchiveError::Verify(_))));
}

#[test]
fn refuses_to_finish_before_all_parts_were_read() {
    let bytes = good_bundle();
    let reader = BundleReader::open(bytes.as_slice(), &trusted(), ONE).unwrap();
    assert!(matches!(reader.finish(), Err(ArchiveError::Order { left: 3 })));
}

#[test]
fn refuses_to_write_parts_that_are_not_those_of_the_manifest() {
    let text = manifest().to_json().unwrap();
    let write = |change: fn(Vec<u8>) -> Vec<u8>| {
        write_bundle(&mut Vec::new(), text.as_bytes(), &signed(&text), |name, _| {
            Ok(std::io::Cursor::new(change(content(name))))
        })
    };
    assert!(matches!(write(|bytes| [bytes, vec![0]].concat()), Err(ArchiveError::PartTooLong { .. })));
    assert!(matches!(write(|bytes| bytes[1..].to_vec()), Err(ArchiveError::Truncated { .. })));
    assert!(matches!(write(|bytes| bytes.into_iter().rev().collect()), Err(ArchiveError::Digest { .. })));
}

#[test]
fn refuses_malformed_manifests() {
    let good = manifest().to_json().unwrap();
    assert_eq!(Manifest::parse_unverified(good.as_bytes()).unwrap(), manifest());
    let cases = [
        good.replace("root.bin", "../root.bin"),
        good.replace("root.bin", "/etc/passwd"),
        good.replace("root.bin", "verity.bin"),
        good.replace("root.bin", "manifest.json"),
        good.replace("\"size\": 512", "\"size\": 0"),
        good.replace("\"size\": 512", "\"size\": 8589934592"),
        good.replace("\"size\": 512", "\"size\": -1"),
        good.replace("\"size\": 512", "\"size\": 18446744073709551616"),
        good.replace("\"uki\": {", "\"kernel\": {"),
        good.replace("\"development\": true", "\"development\": \"true\""),
        good.replace("\"development\": true,", ""),
        good.replace("\"development\": true", "\"develop\": 1, \"development\": true"),
        good.replace("0.1.0", "0.1.0/../../x"),
        good.replace(&"07".repeat(32), &"07".repeat(31)),
        good[..good.len() - 3].to_owned(),
    ];
    for bad in cases {
        assert!(Manifest::parse_unverified(bad.as_bytes()).is_err(), "{bad}");
    }
    let later = good.replace("\"schema\": 1", "\"schema\": 2, \"new\": []");
    let message = Manifest::parse_unverified(later.as_bytes()).unwrap_err().to_string();
    assert!(message.contains("schema 2"), "{message}");
}

#[test]
fn a_manifest_says_from_where_and_until_when() {
    let rules = Manifest {
        min_from_version: Some("0.0.9".parse().unwrap()),
        floor: Some("0.1.0".parse().unwrap()),
        expires: Some(1_700_000_001),
        ..manifest()
    };
    let text = rules.to_json().unwrap();
    assert_eq!(Manifest::parse_unverified(text.as_bytes()).unwrap(), rules);
    // The earlier form, without them, is read as it was written.
    assert!(!manifest().to_json().unwrap().contains("floor"));
    for (field, wrong) in [("min_from_version", "0.0.9"), ("floor", "0.1.0")] {
        let newer = text.replace(&format!("\"{field}\": \"{wrong}\""), &format!("\"{field}\": \"0.1.1\""));
        let error = Manifest::parse_unverified(newer.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}` 0.1.1 is newer")) && error.contains("an older one"), "{error}");
    }
    for ends in [0, 1_699_999_999, 1_700_000_000] {
        let error = Manifest { expires: Some(ends), ..manifest() }.to_json().unwrap_err().to_string();
        assert!(error.contains("give it more days"), "{error}");
    }
    for malformed in ["\"floor\": \"\"", "\"floor\": null, \"floor\": 3", "\"floor\": 3"] {
        assert!(Manifest::parse_unverified(text.replace("\"floor\": \"0.1.0\"", malformed).as_bytes()).is_err());
    }
    for malformed in ["-1", "1.5", "\"soon\"", "18446744073709551616"] {
        let text = text.replace("\"expires\": 1700000001", &format!("\"expires\": {malformed}"));
        assert!(Manifest::parse_unverified(text.as_bytes()).is_err(), "{malformed}");
    }
}

#[test]
fn a_version_that_has_ended_is_known_by_a_true_clock_only() {
    let ending = Manifest { expires: Some(1_800_000_000), ..manifest() };
    assert_eq!(ending.freshness(Clock::Synchronised(1_799_999_999)), Ok(Freshness::Proven));
    assert_eq!(ending.freshness(Clock::Unproven), Ok(Freshness::Unproven));
    let error = ending.freshness(Clock::Synchronised(1_800_000_060)).unwrap_err().to_string();
    assert!(error.contains("has ended 60 s ago"), "{error}");
    assert_eq!(manifest().freshness(Clock::Synchronised(u64::MAX)), Ok(Freshness::Proven));
    assert_eq!(manifest().freshness(Clock::Unproven), Ok(Freshness::Proven));
}

/// `newest.tar` over any bytes: the archive is not what judges them.
fn newest_tar() -> Vec<u8> {
    let mut out = Vec::new();
    write_newest(&mut out, b"{\"what\": \"is newest\"}\n", b"who says so").unwrap();
    out
}

#[test]
fn a_statement_and_its_signature_come_out_of_their_file_as_they_went_in() {
    let (statement, signature) = read_newest(newest_tar().as_slice()).unwrap();
    assert_eq!(
        (statement.as_slice(), signature.as_slice()),
        (&b"{\"what\": \"is newest\"}\n"[..], &b"who says so"[..])
    );
    // Any tar(1) reads it too: both members have the one header of a bundle's members.
    assert_eq!(header_of(&newest_tar(), NEWEST_SIGNATURE), 1024);
}

#[test]
fn a_newest_file_that_is_cut_off_longer_or_of_other_members_is_refused() {
    let good = newest_tar();
    for end in 0..good.len() {
        assert!(read_newest(&good[..end]).is_err(), "cut off at {end}");
    }
    assert!(matches!(read_newest([&good[..], &[0]].concat().as_slice()), Err(ArchiveError::TrailingData)));
    assert!(matches!(read_newest(good_bundle().as_slice()), Err(ArchiveError::UnexpectedMember { .. })));
    let mut large = Vec::new();
    write_newest(&mut large, &vec![b' '; (64 << 10) + 1], b"").unwrap();
    assert!(matches!(read_newest(large.as_slice()), Err(ArchiveError::TooLarge { .. })));
    // An endless source is left after what a statement may have.
    assert!(read_newest(std::io::repeat(0)).is_err());
}

#[test]
fn a_manifest_needs_root_verity_and_kernel() {
    for name in [PartName::Root, PartName::Verity, PartName::Uki] {
        let mut manifest = manifest();
        manifest.parts.remove(&name);
        assert_eq!(manifest.to_json(), Err(ManifestError::MissingPart { part: name }));
    }
}

#[test]
fn a_boot_loader_comes_behind_the_kernel_image_and_with_its_version_or_not_at_all() {
    let version = "257.13-1~deb13u1".parse().unwrap();
    let mut with = Manifest { loader: Some(version), ..manifest() };
    assert_eq!(with.to_json(), Err(ManifestError::Loader));
    with.parts.extend([PartName::Linux, PartName::Loader].map(|name| (name, part(name))));
    let parsed = Manifest::parse_unverified(with.to_json().unwrap().as_bytes()).unwrap();
    assert_eq!(parsed, with);
    let bytes = bundle_of(&with);
    let places = ["root.bin", "verity.bin", "uki.bin", "loader.bin", "linux.bin"].map(|file| header_of(&bytes, file));
    assert!(places.is_sorted());
    assert_eq!(read_bundle(&bytes).unwrap()[&PartName::Loader], content(PartName::Loader));
    assert_eq!(Manifest { loader: None, ..with }.to_json(), Err(ManifestError::Loader));
    // The earlier form, without it, is read as it was written.
    assert!(!manifest().to_json().unwrap().contains("loader"));
}

#[test]
fn bytes_signed_as_another_kind_are_not_parsed() {
    let text = manifest().to_json().unwrap();
    let envelope = sign(text.as_bytes(), Context::TestReport, &[&key()]).to_json();
    let verified = verify(text.as_bytes(), envelope.as_bytes(), Context::TestReport, &trusted(), ONE).unwrap();
    assert!(matches!(Manifest::parse(&verified), Err(ManifestError::Context { .. })));
}

#[test]
fn a_report_stands_for_one_image_that_passed_everything() {
    let manifest_digest = Sha256Digest::of(b"manifest");
    let result = |passed| ScenarioResult { name: "boots".to_owned(), passed, milliseconds: 1200 };
    let report = |scenarios| TestReport {
        schema: SchemaVersion,
        image: "webhost".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
        manifest: manifest_digest,
        accelerator: "tcg".to_owned(),
        scenarios,
    };
    let parse = |report: &TestReport| {
        let text = report.to_json();
        let envelope = sign(text.as_bytes(), Context::TestReport, &[&key()]).to_json();
        TestReport::parse(&verify(text.as_bytes(), envelope.as_bytes(), Context::TestReport, &trusted(), ONE).unwrap())
            .unwrap()
    };
    assert_eq!(parse(&report(vec![result(true)])).check_passed(manifest_digest), Ok(()));
    assert!(matches!(
        parse(&report(vec![result(true)])).check_passed(Sha256Digest::of(b"other")),
        Err(ReportError::OtherImage { .. })
    ));
    for scenarios in [vec![], vec![result(true), result(false)]] {
        assert!(matches!(parse(&report(scenarios)).check_passed(manifest_digest), Err(ReportError::NotPassed { .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn foreign_archives_never_panic(start in 0_usize..4096, noise in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(read_bundle(&noise).is_err());
        let good = good_bundle();
        let mut changed = good[..start.min(good.len())].to_vec();
        changed.extend(&noise);
        prop_assert!(read_bundle(&changed).is_err());
        let newest = newest_tar();
        let changed = [&newest[..start.min(newest.len())], &noise].concat();
        prop_assert!(read_newest(noise.as_slice()).is_err());
        prop_assert!(changed == newest || read_newest(changed.as_slice()).is_err());
    }

    /// Also a manifest that is signed may be wrong: what is accepted names plain files only.
    #[test]
    fn damaged_manifests_never_panic_and_never_name_a_path(
        at in 0_usize..1500, remove in 0_usize..30, piece in "[\\[\\]{}\",:a-z0-9./\\\\-]{0,8}",
    ) {
        let good = manifest().to_json().unwrap();
        let (start, end) = (at.min(good.len()), at.saturating_add(remove).min(good.len()));
        let text = format!("{}{piece}{}", &good[..start], &good[end..]);
        if let Ok(manifest) = Manifest::parse_unverified(text.as_bytes()) {
            for part in manifest.parts.values().chain(&manifest.disk) {
                let path = std::path::Path::new(part.file.as_str());
                prop_assert!(matches!(path.components().collect::<Vec<_>>()[..], [std::path::Component::Normal(_)]), "{path:?}");
            }
        }
        let envelope = sign(text.as_bytes(), Context::TestReport, &[&key()]).to_json();
        let verified = verify(text.as_bytes(), envelope.as_bytes(), Context::TestReport, &trusted(), ONE).unwrap();
        let _ = TestReport::parse(&verified);
    }
}

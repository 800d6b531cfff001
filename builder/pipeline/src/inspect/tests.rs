//! Each kind of artifact is recognised by its bytes, and shown.

use super::*;
use crate::test_artifacts::{Artifacts, set_signature_size};

fn described(path: &Path) -> (Value, String) {
    let value = inspect(path).unwrap();
    let text = as_text(&value);
    (value, text)
}

#[test]
fn an_output_directory_shows_manifest_lock_and_stages() {
    let artifacts = Artifacts::new();
    let (value, text) = described(artifacts.path());
    assert_eq!(value["kind"], "output");
    assert_eq!((&value["lock"]["package_count"], &value["lock"]["package_size"]), (&2.into(), &15.into()));
    assert_eq!((&value["lock"]["suite_count"], value["lock"].get("suite_size")), (&1.into(), None));
    assert_eq!(value["manifest"]["parts"].as_array().unwrap().len(), 8);
    let provenance = &value["provenance"];
    assert_eq!(provenance["made_of"], serde_json::json!({ "definition": 1, "root": 1 }));
    assert_eq!((&provenance["about"][0], &provenance["signed_by"]), (&"cmdline".into(), &value["signed_by"]));
    assert_eq!(value["signed_by"][0], artifacts.release.public().id().to_string());
    for wanted in [
        "kind       output\n",
        "  development        yes\n",
        "    root     root.erofs       20 KiB",
        "  rootfs  1.5      12 B\n",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

#[test]
fn a_disk_is_recognised_whatever_its_name_is_and_both_copies_are_judged() {
    let artifacts = Artifacts::new();
    let path = artifacts.file("something.efi");
    fs::rename(artifacts.file("disk.raw"), &path).unwrap();
    let (value, text) = described(&path);
    assert_eq!((&value["kind"], &value["table"]), (&"disk".into(), &"both copies are good".into()));
    assert_eq!(value["partitions"][1]["label"], "tiny_0.1.0");
    assert!(text.contains("tiny_0.1.0_verity  root-x86-64-verity  3072 KiB  1024 KiB  read-only"), "{text}");
    for (at, wanted) in
        [(600, "only the copy at the end is good"), (5 * (1 << 20) - 500, "only the copy at the start is good")]
    {
        artifacts.flip("something.efi", at);
        let found = inspect(&path).unwrap()["table"].as_str().unwrap().to_owned();
        assert!(found.starts_with(wanted), "{found}");
        artifacts.flip("something.efi", at);
    }
    artifacts.change("something.efi", |bytes| bytes[..4096].fill(0));
    assert_eq!(inspect(&path).unwrap()["kind"], "disk");
}

#[test]
fn a_kernel_image_shows_its_texts_and_whether_it_is_signed() {
    let artifacts = Artifacts::new();
    let (value, text) = described(&artifacts.file("uki.efi"));
    assert_eq!(
        (&value["kind"], &value["signed"], &value["kernel"]),
        (&"uki".into(), &true.into(), &"6.12.1-test".into())
    );
    assert!(value["command_line"].as_str().unwrap().contains("roothash="), "{value}");
    assert_eq!(value["os_release"]["IMAGE_VERSION"], "0.1.0");
    assert!(text.contains("  .linux"), "{text}");
    artifacts.change("uki.efi", |bytes| set_signature_size(bytes, 0));
    assert_eq!(inspect(&artifacts.file("uki.efi")).unwrap()["signed"], false);
    assert_eq!(inspect(&artifacts.file("linux")).unwrap()["kind"], "efi program");
}

#[test]
fn a_bundle_shows_its_manifest_and_members_in_order() {
    let artifacts = Artifacts::new();
    let (value, _) = described(&artifacts.file("bundle.tar"));
    let names: Vec<&str> =
        value["members"].as_array().unwrap().iter().map(|member| member["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["manifest.json", "manifest.json.sig", "root.erofs"]);
    assert_eq!((names.len(), &value["manifest"]["image"]), (9, &"tiny".into()));
}

#[test]
fn refuses_what_it_does_not_know_and_says_what_it_knows() {
    let dir = tempfile::tempdir().unwrap();
    let other_tar = Artifacts::new();
    other_tar.change("bundle.tar", |bytes| drop(bytes.drain(..1024 * 4)));
    for (bytes, wanted) in
        [(b"".as_slice(), "no disk"), (b"hello", "no disk"), (b"MZ", "cannot read"), (b"MZ\0\0", "cannot read")]
    {
        let path = dir.path().join("x");
        fs::write(&path, bytes).unwrap();
        let error = format!("{:#}", inspect(&path).unwrap_err());
        assert!(error.contains(wanted), "{error}");
    }
    let error = format!("{:#}", inspect(dir.path()).unwrap_err());
    assert!(error.contains("manifest.json"), "{error}");
}

#[test]
fn damaged_artifacts_never_panic() {
    let artifacts = Artifacts::new();
    for name in ["uki.efi", "bundle.tar", "disk.raw"] {
        let whole = fs::read(artifacts.file(name)).unwrap();
        for at in (0..whole.len().min(8192)).step_by(61) {
            let mut bytes = whole[..whole.len().min(64 << 10)].to_vec();
            bytes[at] ^= 0xff;
            fs::write(artifacts.file("damaged"), &bytes).unwrap();
            let _ = inspect(&artifacts.file("damaged")).map(|value| as_text(&value));
        }
    }
}

#[test]
fn foreign_text_cannot_command_the_terminal() {
    let text = as_text(&serde_json::json!({ "label": "a\u{1b}[2Jb" }));
    assert_eq!(text, "label  a\\u{1b}[2Jb\n");
}

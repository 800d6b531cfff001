//! The overlays of this repository: each is valid, they fit together, and their templates can be rendered.

mod overlays;

use std::path::Path;

use hostconf::{ImageDef, OverlaySet, SshPublicKey, StateFormats, trial};

#[test]
fn every_overlay_of_the_repository_fits_and_renders() {
    let overlays = overlays::all();
    assert!(overlays.len() >= 6, "{} overlays", overlays.len());
    let set = OverlaySet::new(overlays).unwrap_or_else(|conflicts| panic!("{conflicts}"));
    let plan = trial(&set).unwrap_or_else(|error| panic!("{error}"));
    assert!(plan.files.iter().any(|file| file.path.as_str() == "/run/casemate/etc/ssh/sshd_config"));
}

#[test]
fn a_database_is_told_from_that_of_another_series_and_an_image_without_its_server_is_refused() {
    let set = OverlaySet::new(overlays::all()).unwrap_or_else(|conflicts| panic!("{conflicts}"));
    let formats = |version: &str| StateFormats::of(&set, |_| Some(version.to_owned())).unwrap().to_toml();
    assert!(formats("1:11.8.3-0+deb13u1").contains("\"mariadb-server-core 11.8\"\nnocow = true"));
    assert_eq!(formats("1:11.8.3-0+deb13u1"), formats("1:11.8.6-0+deb13u2"));
    assert_ne!(formats("1:11.8.3-0+deb13u1"), formats("1:12.3.1-1"));
    let refused = StateFormats::of(&set, |_| None).unwrap_err().to_string();
    assert!(refused.contains("/var/lib/mysql") && refused.contains("mariadb-server-core"), "{refused}");
}

#[test]
fn sshd_lets_in_every_kind_of_key_that_a_document_may_hold() {
    let set = OverlaySet::new(overlays::all()).unwrap_or_else(|conflicts| panic!("{conflicts}"));
    let plan = trial(&set).unwrap_or_else(|error| panic!("{error}"));
    let file =
        plan.files.iter().find(|file| file.path.as_str().ends_with("/ssh/sshd_config")).expect("sshd is configured");
    let config = String::from_utf8_lossy(&file.bytes);
    let accepted = config.lines().find_map(|line| line.strip_prefix("PubkeyAcceptedAlgorithms ")).expect("a list");
    for kind in SshPublicKey::KINDS {
        // RSA keys sign with SHA-2 only (RFC 8332).
        let algorithm = if kind == "ssh-rsa" { "rsa-sha2-512" } else { kind };
        assert!(accepted.split(',').any(|found| found == algorithm), "{kind} is not in {accepted}");
    }
}

#[test]
fn every_image_of_the_repository_is_valid_and_names_existing_overlays() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut images = 0;
    for entry in std::fs::read_dir(root.join("images")).unwrap() {
        let directory = entry.unwrap().path();
        let text = std::fs::read_to_string(directory.join("image.toml")).unwrap();
        let name = directory.join("image.toml").display().to_string();
        let image = ImageDef::parse(&name, &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let overlays = image.overlays.iter().map(|name| overlays::load(&root.join("overlays").join(name.as_str())));
        OverlaySet::new(overlays.collect()).unwrap_or_else(|conflicts| panic!("{conflicts}"));
        images += 1;
    }
    assert!(images >= 2, "{images} images");
}

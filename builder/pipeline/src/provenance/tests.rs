//! The statement's shape, and what of a definition gets into it.

use fs_err as fs;
use serde_json::Value;

use super::*;
use crate::definition::Definition;
use crate::packages::LockedPackages;
use crate::test_artifacts::Artifacts;

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn lock(package: &str) -> debian::lock::Lock {
    let text = format!(
        "schema = 2\nsource_date_epoch = 1757663741\narchitecture = \"amd64\"\nbase = \"essential\"\nwanted = []\n\
         [[suite]]\nname = \"trixie\"\nsite = \"archive\"\ncomponents = [\"main\"]\ndate = \"2025-09-12T07:55:41Z\"\n\
         release = \"{DIGEST}\"\n[[package]]\nname = \"{package}\"\nversion = \"1:2-3+b1\"\narchitecture = \"amd64\"\n\
         size = 1\nsha256 = \"{DIGEST}\"\norigin = \"trixie/main\"\nfile = \"pool/x.deb\"\n"
    );
    debian::lock::Lock::parse(&text).unwrap()
}

/// The dependencies of the repository's small image.
fn resources() -> Vec<Resource> {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
    let definition = Definition::load(&images.join("minimal")).unwrap();
    let key = definition.repo.join("LICENSE-MIT");
    let materials = Materials {
        definition: &definition,
        packages: &LockedPackages { root: lock("g++"), tools: lock("mtools") },
        assets: &[],
        keys: vec![("release.pub".to_owned(), key)],
    };
    materials.resources().unwrap()
}

#[test]
fn a_statement_has_what_in_toto_and_slsa_require() {
    let artifacts = Artifacts::new();
    let value: Value = serde_json::from_slice(&fs::read(artifacts.file(FILE)).unwrap()).unwrap();
    assert_eq!((&value["_type"], &value["predicateType"]), (&STATEMENT_TYPE.into(), &PREDICATE_TYPE.into()));
    let subjects: Vec<&str> =
        value["subject"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(
        subjects,
        [
            "cmdline",
            "disk.raw",
            "initrd.cpio.zst",
            "linux",
            "loader.efi",
            "manifest.json",
            "root.erofs",
            "root.verity",
            "sbom.cdx.json",
            "sbom.spdx.json",
            "uki.efi"
        ]
    );
    let definition = &value["predicate"]["buildDefinition"];
    assert_eq!(definition["buildType"], BUILD_TYPE);
    assert_eq!(definition["externalParameters"]["image"], "tiny");
    assert_eq!(
        definition["resolvedDependencies"][1]["annotations"],
        serde_json::json!({ "use": "root", "version": "1" })
    );
    assert_eq!(value["predicate"]["runDetails"]["builder"]["id"], BUILDER);
    // Times and ids of a run would make two equal builds differ.
    assert_eq!(value["predicate"]["runDetails"].get("metadata"), None);
}

#[test]
fn packages_overlays_units_and_the_agents_sources_are_among_what_it_was_made_of() {
    let all = resources();
    let find = |purpose: Use, name: &str| {
        let found = all.iter().find(|row| row.purpose() == Some(purpose) && row.name == name);
        found.unwrap_or_else(|| panic!("no {} `{name}`", purpose.as_str())).clone()
    };
    let package = find(Use::Root, "g++");
    assert_eq!(package.uri.as_deref(), Some("pkg:deb/debian/g%2B%2B@1%3A2-3%2Bb1?arch=amd64&distro=trixie"));
    assert_eq!(package.annotations.unwrap().version.as_deref(), Some("1:2-3+b1"));
    assert_eq!(find(Use::Tools, "mtools").digest.sha256.to_string(), DIGEST);
    for (purpose, name) in [
        (Use::Definition, LOCK),
        (Use::Definition, "image.toml"),
        (Use::Overlay, "overlays/ssh/overlay.toml"),
        (Use::Units, "units/initrd.toml"),
        (Use::Agent, "Cargo.lock"),
        (Use::Agent, "builder/agent/src/main.rs"),
        (Use::Agent, "builder/formats/src/lib.rs"),
        (Use::Key, "release.pub"),
    ] {
        find(purpose, name);
    }
    assert!(find(Use::Crate, "toml").uri.unwrap().starts_with("pkg:cargo/toml@"));
    // Other overlays, and crates that the agent does not link, shape nothing.
    assert!(!all.iter().any(|row| row.name.starts_with("overlays/php/") || row.name.starts_with("builder/pipeline/")));
}

#[test]
fn the_same_definition_gives_the_same_bytes_and_names_no_place_of_the_machine() {
    let (one, two) = (resources(), resources());
    assert_eq!(one, two);
    let text = serde_json::to_string(&one).unwrap();
    assert!(!text.contains(env!("CARGO_MANIFEST_DIR")) && !text.contains("/../"), "{text}");
    assert!(one.iter().all(|row| !row.name.starts_with('/')));
}

#[test]
fn links_and_programs_are_told_from_plain_files() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("images/x");
    for folder in ["overlays/base/root", "units", "images/x", "builder"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    let definition = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/minimal/image.toml"));
    let definition = definition.unwrap().replace("overlays = [\"base\", \"ssh\"]", "overlays = [\"base\"]");
    fs::write(image.join("image.toml"), definition).unwrap();
    let base = dir.path().join("overlays/base");
    fs::write(base.join("overlay.toml"), "summary = \"x\"\n").unwrap();
    std::os::unix::fs::symlink("target", base.join("root/link")).unwrap();
    fs::write(base.join("root/program"), "target").unwrap();
    fs::set_permissions(base.join("root/program"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for name in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(repo.join(name), dir.path().join(name)).unwrap();
    }
    for name in crate::stages::agent::CRATES {
        fs::create_dir(dir.path().join("builder").join(name)).unwrap();
    }
    let definition = Definition::load(&image).unwrap();
    let packages = LockedPackages { root: lock("aa"), tools: lock("bb") };
    let materials = Materials { definition: &definition, packages: &packages, assets: &[], keys: Vec::new() };
    let all = materials.resources().unwrap();
    let marks = |name: &str| {
        let row = all.iter().find(|row| row.name == name).unwrap();
        let annotations = row.annotations.clone().unwrap();
        (row.digest.sha256, annotations.link, annotations.executable)
    };
    let digest = Sha256Digest::of(b"target");
    assert_eq!(marks("overlays/base/root/link"), (digest, true, false));
    assert_eq!(marks("overlays/base/root/program"), (digest, false, true));
    assert!(!marks("overlays/base/overlay.toml").2);
}

#[test]
fn refuses_another_kind_of_statement_and_keys_that_it_does_not_know() {
    let artifacts = Artifacts::new();
    let text = fs::read_to_string(artifacts.file(FILE)).unwrap();
    for (from, to) in [
        (BUILD_TYPE, "urn:other:build:1"),
        (PREDICATE_TYPE, "https://slsa.dev/provenance/v0.2"),
        (STATEMENT_TYPE, "https://in-toto.io/Statement/v0.1"),
        ("\"compiler\"", "\"unknown\""),
    ] {
        assert!(parse_unverified(text.replace(from, to).as_bytes()).is_err(), "{to}");
    }
    assert!(parse_unverified(text.as_bytes()).is_ok());
}

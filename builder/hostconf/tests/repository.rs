//! The overlays of this repository: each is valid, they fit together, and their templates can be rendered.

#![expect(clippy::unwrap_used, reason = "a test's own helpers may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use hostconf::{FileName, ImageDef, LoadedOverlay, OverlayDef, OverlaySet, trial};

fn load(directory: &Path) -> LoadedOverlay {
    let name = directory.file_name().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(directory.join("overlay.toml")).unwrap();
    let def = OverlayDef::parse(&format!("{name}/overlay.toml"), &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let template = |file: &FileName| (file.clone(), std::fs::read_to_string(directory.join(file.as_str())).unwrap());
    let templates: BTreeMap<_, _> = def.render.iter().map(|row| template(&row.template)).collect();
    LoadedOverlay { name: name.parse().unwrap(), def, templates }
}

#[test]
fn every_overlay_of_the_repository_fits_and_renders() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../overlays");
    let mut directories: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    directories.sort();
    assert!(directories.len() >= 6, "{directories:?}");
    let set = OverlaySet::new(directories.iter().map(|path| load(path)).collect())
        .unwrap_or_else(|conflicts| panic!("{conflicts}"));
    let plan = trial(&set).unwrap_or_else(|error| panic!("{error}"));
    assert!(plan.files.iter().any(|file| file.path.as_str() == "/run/casemate/etc/ssh/sshd_config"));
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
        let overlays = image.overlays.iter().map(|name| load(&root.join("overlays").join(name.as_str())));
        OverlaySet::new(overlays.collect()).unwrap_or_else(|conflicts| panic!("{conflicts}"));
        images += 1;
    }
    assert!(images >= 2, "{images} images");
}

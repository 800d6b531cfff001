//! The overlays of this repository, loaded as the builder does.

#![expect(clippy::unwrap_used, reason = "a test's own helpers may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use hostconf::{FileName, LoadedOverlay, OverlayDef};

/// Reads one overlay with its templates.
pub(crate) fn load(directory: &Path) -> LoadedOverlay {
    let name = directory.file_name().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(directory.join("overlay.toml")).unwrap();
    let def = OverlayDef::parse(&format!("{name}/overlay.toml"), &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let template = |file: &FileName| (file.clone(), std::fs::read_to_string(directory.join(file.as_str())).unwrap());
    let templates: BTreeMap<_, _> = def.render.iter().map(|row| template(&row.template)).collect();
    LoadedOverlay { name: name.parse().unwrap(), def, templates }
}

/// Reads all of them, by name.
pub(crate) fn all() -> Vec<LoadedOverlay> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../overlays");
    let mut directories: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    directories.sort();
    directories.iter().map(|path| load(path)).collect()
}

//! The manifest's fields, its parts by their digests, and the other files of the output directory.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::{Context, Limit, MANIFEST_FILE, Manifest, Sha256Digest};
use fs_err as fs;
use tools::failure::HintExt as _;

use super::HINT;
use super::change::{PartChange, differing};
use crate::verify_output::signed_file;

/// What tells of one build and not of the image: times, and later tests.
const OF_ONE_BUILD: [&str; 3] = ["build.json", "test-report.json", "test-report.json.sig"];

/// Reads a manifest. Its signature is the business of `verify`: here nothing is decided by it.
pub(super) fn manifest(output: &Path) -> Result<Manifest> {
    let path = output.join(MANIFEST_FILE);
    let bytes = signed_file::read(&path, Limit::Document(Context::Manifest)).or_refuse(HINT)?;
    Manifest::parse_unverified(&bytes).with_context(|| format!("cannot read `{}`", path.display()))
}

/// The fields of both manifests but those of the parts.
pub(super) fn compare_manifests(before: &Manifest, after: &Manifest) -> Vec<PartChange> {
    let fields = |manifest: &Manifest| -> BTreeMap<&'static str, String> {
        let mut fields = BTreeMap::from([
            ("image", manifest.image.to_string()),
            ("version", manifest.version.to_string()),
            ("architecture", manifest.architecture.to_string()),
            ("development", manifest.development.to_string()),
            ("source_date_epoch", manifest.source_date_epoch.to_string()),
            ("root_hash", manifest.root_hash.to_string()),
            ("kernel", manifest.kernel.to_string()),
        ]);
        fields.extend(manifest.min_from_version.as_ref().map(|version| ("min_from_version", version.to_string())));
        fields.extend(manifest.floor.as_ref().map(|version| ("floor", version.to_string())));
        fields.extend(manifest.expires.map(|expires| ("expires", expires.to_string())));
        fields
    };
    let (old, new) = (fields(before), fields(after));
    let rows = differing(&old, &new).into_iter();
    rows.map(|(name, old, new)| PartChange::of_texts("manifest", name, old.cloned(), new.cloned())).collect()
}

/// The files that a manifest names, by file name: size and digest.
pub(super) fn parts(manifest: &Manifest) -> BTreeMap<String, (u64, Sha256Digest)> {
    let parts = manifest.parts.values().chain(&manifest.disk);
    parts.map(|part| (part.file.to_string(), (part.size, part.sha256))).collect()
}

/// All other files of both directories.
pub(super) fn compare_files(
    before: &Path,
    after: &Path,
    named: &[&BTreeMap<String, (u64, Sha256Digest)>],
) -> Result<Vec<PartChange>> {
    let files = |dir: &Path| -> Result<BTreeMap<String, (u64, Sha256Digest)>> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // The bundle holds nothing but the manifest and the parts, and may be large.
            let other = OF_ONE_BUILD.contains(&name.as_str()) || name == "bundle.tar";
            if entry.file_type()?.is_file() && !other && !named.iter().any(|parts| parts.contains_key(&name)) {
                let bytes = fs::read(entry.path())?;
                files.insert(name, (bytes.len() as u64, Sha256Digest::of(&bytes)));
            }
        }
        Ok(files)
    };
    Ok(PartChange::of_contents("output", &files(before)?, &files(after)?, |(size, _)| *size))
}

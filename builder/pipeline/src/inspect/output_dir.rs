//! An output directory: manifest, lock, stages of the build, provenance and the test report, as far as they are there.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::{Context, Envelope, Limit, MANIFEST_FILE, Manifest, SIGNATURE_FILE};
use fs_err as fs;
use serde_json::{Map, Value, json};
use tools::Failure;

use crate::provenance::{self, Resource};
use crate::verify_output::signed_file;

/// Describes an output directory.
pub(super) fn describe(dir: &Path) -> Result<Value> {
    let manifest = dir.join(MANIFEST_FILE);
    if !manifest.is_file() {
        return Err(Failure::refused(format!("`{}` holds no `{MANIFEST_FILE}`", dir.display()))
            .hint("name the directory that `casemate build` wrote, e.g. out/webhost")
            .into());
    }
    let manifest = manifest_value(&signed_file::read(&manifest, Limit::Document(Context::Manifest))?)
        .with_context(|| format!("cannot read `{}`", manifest.display()))?;
    let signed_by = optional(&dir.join(SIGNATURE_FILE))?.map(|bytes| signers(&bytes)).unwrap_or_default();
    let mut value = json!({ "kind": "output", "manifest": manifest, "signed_by": signed_by });
    if let Some(bytes) = optional(&dir.join("lock.toml"))? {
        value["lock"] = lock_summary(&bytes).context("cannot read `lock.toml`")?;
    }
    if let Some(bytes) = optional(&dir.join("build.json"))? {
        let build: Value = serde_json::from_slice(&bytes).context("cannot read `build.json`")?;
        value["stages"] = build.get("stages").cloned().unwrap_or(build);
    }
    if let Some(bytes) = optional(&dir.join(provenance::FILE))? {
        let signature = optional(&dir.join(provenance::SIGNATURE))?;
        value["provenance"] =
            provenance_summary(&bytes, signature.as_deref()).context("cannot read `provenance.json`")?;
    }
    if let Some(bytes) = optional(&dir.join("test-report.json"))? {
        value["test_report"] = serde_json::from_slice(&bytes).context("cannot read `test-report.json`")?;
    }
    Ok(value)
}

/// The manifest with its parts as rows.
pub(super) fn manifest_value(bytes: &[u8]) -> Result<Value> {
    let manifest = Manifest::parse_unverified(bytes)?;
    let row = |name: &str, part: &bundle::Part| json!({ "name": name, "file": part.file, "size": part.size, "sha256": part.sha256 });
    let mut parts: Vec<Value> = manifest.parts.iter().map(|(name, part)| row(name.as_str(), part)).collect();
    parts.extend(manifest.disk.iter().map(|disk| row("disk", disk)));
    let mut value = json!({
        "image": manifest.image, "version": manifest.version, "architecture": manifest.architecture,
        "development": manifest.development, "kernel": manifest.kernel, "root_hash": manifest.root_hash,
        "source_date_epoch": manifest.source_date_epoch, "parts": parts,
    });
    if let Some(version) = &manifest.loader {
        value["loader"] = json!(version);
    }
    if let Some(version) = &manifest.min_from_version {
        value["min_from_version"] = json!(version);
    }
    if let Some(version) = &manifest.floor {
        value["floor"] = json!(version);
    }
    if let Some(expires) = manifest.expires {
        value["expires"] = json!(expires);
    }
    Ok(value)
}

/// The key ids that claim to have signed; none when the envelope cannot be read.
pub(super) fn signers(envelope: &[u8]) -> Vec<String> {
    let entries = Envelope::parse(envelope).map(|envelope| envelope.entries).unwrap_or_default();
    entries.iter().map(|entry| entry.key.to_string()).collect()
}

/// The lock's own values, and how many packages of how many bytes it holds.
fn lock_summary(bytes: &[u8]) -> Result<Value> {
    let lock: toml::Table = std::str::from_utf8(bytes)?.parse()?;
    let mut summary = Map::new();
    for (key, value) in &lock {
        match value {
            toml::Value::Array(rows) if rows.iter().all(toml::Value::is_table) => {
                summary.insert(format!("{key}_count"), json!(rows.len()));
                let sizes: Vec<i64> =
                    rows.iter().filter_map(|row| row.get("size").and_then(toml::Value::as_integer)).collect();
                // Suites have no size of their own; nothing is said of what is not there.
                if !sizes.is_empty() {
                    summary.insert(format!("{key}_size"), json!(sizes.into_iter().fold(0, i64::saturating_add)));
                }
            }
            toml::Value::Table(_) | toml::Value::Array(_) => {}
            scalar => {
                summary.insert(key.clone(), serde_json::to_value(scalar)?);
            }
        }
    }
    Ok(Value::Object(summary))
}

/// What it is about, and how many files of each kind it was made of.
fn provenance_summary(bytes: &[u8], signature: Option<&[u8]>) -> Result<Value> {
    let statement = provenance::parse_unverified(bytes)?;
    let definition = &statement.predicate.build_definition;
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for purpose in definition.resolved_dependencies.iter().filter_map(Resource::purpose) {
        *uses.entry(purpose.as_str()).or_default() += 1;
    }
    let subjects: Vec<&str> = statement.subject.iter().map(|subject| subject.name.as_str()).collect();
    Ok(json!({
        "about": subjects, "build_type": definition.build_type, "made_of": uses,
        "compression": definition.external_parameters.compression, "compiler": definition.internal_parameters.compiler,
        "signed_by": signature.map(signers).unwrap_or_default(),
    }))
}

fn optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

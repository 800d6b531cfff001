//! The source packages of an output directory or a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use debian::lock::Lock;
use fs_err as fs;
use serde::Deserialize;
use tools::failure::HintExt as _;

use crate::sbom;

/// What is audited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Debian's release.
    pub suite: String,
    /// Source package and version, with the packages built from it.
    pub sources: BTreeMap<(String, String), BTreeSet<String>>,
}

/// Reads an output directory or a lock file.
pub fn read_target(target: &Path) -> Result<Audited> {
    let file = if target.is_dir() { target.join("lock.toml") } else { target.to_owned() };
    let text = fs::read_to_string(&file).or_refuse("name the output directory of a build, or a lock")?;
    let lock = Lock::parse(&text).or_refuse("name the output directory of a build, or a lock")?;
    let bill = target.join(sbom::FILES[1]);
    let exact = if target.is_dir() && bill.is_file() { of_bill(&fs::read_to_string(bill)?)? } else { BTreeMap::new() };
    let suite = lock.suites.first().context("the lock names no suite")?.name.to_string();
    let mut sources: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for package in &lock.packages {
        let (name, version) = (package.name.to_string(), package.version.to_string());
        let source = exact.get(&name).cloned();
        let source = source.unwrap_or_else(|| of_pool(&package.file.to_string(), &name, &version));
        sources.entry(tracked(source, &version)).or_default().insert(name);
    }
    Ok(Audited { suite, sources })
}

#[derive(Deserialize)]
struct BillOfMaterials {
    components: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    #[serde(default)]
    properties: Vec<Property>,
}

#[derive(Deserialize)]
struct Property {
    name: String,
    value: String,
}

/// Packages and their sources, as our own bill has them.
fn of_bill(text: &str) -> Result<BTreeMap<String, (String, String)>> {
    let bill: BillOfMaterials = serde_json::from_str(text).or_refuse("build the image again: its bill is damaged")?;
    let source = |row: Row| {
        let property = row.properties.into_iter().find(|property| property.name == "casemate:source")?;
        let (source, version) = property.value.split_once(' ')?;
        Some((row.name, (source.to_owned(), version.to_owned())))
    };
    Ok(bill.components.into_iter().filter_map(source).collect())
}

/// `pool/main/a/apache2/FILE` is of source `apache2`. Its version is taken for that of the package, without the mark of a rebuild.
fn of_pool(file: &str, name: &str, version: &str) -> (String, String) {
    let source = file.rsplit('/').nth(1).unwrap_or(name);
    let rebuilt = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
    let version = version.rsplit_once("+b").filter(|(_, count)| rebuilt(count)).map_or(version, |(front, _)| front);
    (source.to_owned(), version.to_owned())
}

/// The tracker knows the kernel as `linux`: its signed packages are made of that by a source of their own, with another version.
fn tracked((source, version): (String, String), of_package: &str) -> (String, String) {
    if source.starts_with("linux-signed-") { ("linux".into(), of_package.to_owned()) } else { (source, version) }
}

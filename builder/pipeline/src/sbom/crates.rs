//! The crates that a member of the workspace is made of, by `Cargo.lock` alone.
//!
//! The lock does not say which dependency is for tests or for building only, so the list is what may be in the binary.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{Component, Kind, Licence};

#[derive(Deserialize)]
struct CargoLock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// `member` and everything that it depends on.
pub(super) fn of(cargo_lock: &str, member: &str) -> Result<Vec<Component>> {
    let lock: CargoLock = toml::from_str(cargo_lock).context("cannot read `Cargo.lock`")?;
    let mut by_name: BTreeMap<&str, Vec<&Locked>> = BTreeMap::new();
    for package in &lock.package {
        by_name.entry(&package.name).or_default().push(package);
    }
    let (mut seen, mut todo, mut found) = (BTreeSet::new(), vec![member.to_owned()], Vec::new());
    while let Some(wanted) = todo.pop() {
        // `NAME`, or `NAME VERSION` where there are several.
        let (name, version) = wanted.split_once(' ').unwrap_or((&wanted, ""));
        let version = version.split(' ').next().unwrap_or_default();
        let known = by_name.get(name).into_iter().flatten();
        let package = known.copied().find(|package| version.is_empty() || package.version == version);
        let package = package.with_context(|| format!("`Cargo.lock` does not hold `{wanted}`"))?;
        if seen.insert((&package.name, &package.version)) {
            todo.extend(package.dependencies.iter().cloned());
            found.push(component(package));
        }
    }
    Ok(found)
}

fn component(package: &Locked) -> Component {
    Component {
        kind: Kind::Crate,
        name: package.name.clone(),
        version: package.version.clone(),
        architecture: None,
        source: None,
        sha256: package.checksum.clone(),
        address: None,
        licence: Licence::Unknown("`Cargo.lock` does not state licences"),
    }
}

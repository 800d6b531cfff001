//! Whose the paths of a root are: by the image's package database, and by the provenance beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use crate::provenance::{self, Use};
use crate::root_tree::RootTree;

const INFO: &str = "/usr/lib/sysimage/dpkg/info";

/// Paths and whose they are.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Path to package.
    packages: BTreeMap<String, String>,
    /// Paths that overlays and `units/` lay over the packages.
    laid: BTreeMap<String, String>,
    /// Where assets were unpacked, with the asset's name.
    assets: BTreeSet<(String, String)>,
}

impl Owners {
    /// What tree and output directory say. An output without a provenance has packages only.
    pub(super) fn read(tree: &RootTree, output: &Path) -> Result<Self> {
        let mut owners = Self { packages: packages(tree)?, ..Self::default() };
        let file = output.join(provenance::FILE);
        if file.is_file() {
            // Nothing is decided by it: it is shown.
            owners.take(&provenance::parse_unverified(&fs::read(file)?)?);
        }
        Ok(owners)
    }

    /// Whose a path is.
    pub(super) fn of(&self, path: &str) -> String {
        // A directory on the way to an asset that no package has was made for it.
        let asset = || self.assets.iter().find(|(into, _)| is_below(path, into) || is_below(into, path));
        if let Some(owner) = self.laid.get(path) {
            owner.clone()
        } else if let Some(package) = self.packages.get(path) {
            format!("package:{package}")
        } else if let Some((_, name)) = asset() {
            format!("asset:{name}")
        } else {
            "build".to_owned()
        }
    }

    fn take(&mut self, statement: &provenance::Statement) {
        for row in statement.used_for(Use::Overlay) {
            let Some((name, rest)) = row.name.strip_prefix("overlays/").and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            let path = rest
                .strip_prefix("root")
                .map_or_else(|| format!("/usr/lib/casemate/overlays/{name}/{rest}"), str::to_owned);
            self.laid.insert(path, format!("overlay:{name}"));
        }
        for row in statement.used_for(Use::Units) {
            // `units/systemd/x` is `/usr/lib/systemd/x`; what is at the top, and what is for the initrd, is not in the root.
            if let Some(rest) = row.name.strip_prefix("units/").filter(|rest| rest.contains('/')) {
                self.laid.insert(format!("/usr/lib/{rest}"), "units".to_owned());
            }
        }
        for row in statement.used_for(Use::Asset) {
            if let Some(into) = row.annotations.as_ref().and_then(|annotations| annotations.into.clone()) {
                self.assets.insert((into, row.name.clone()));
            }
        }
    }
}

/// Path to package, by dpkg's lists; merged `/usr` has its files under one name there and under another in the tree.
fn packages(tree: &RootTree) -> Result<BTreeMap<String, String>> {
    let mut owners = BTreeMap::new();
    for file in tree.children(INFO)? {
        let Some(package) = file.strip_suffix(".list") else { continue };
        let package = package.split(':').next().unwrap_or(package);
        for path in tree.read_text(&format!("{INFO}/{file}"))?.lines() {
            let merged = ["/bin/", "/sbin/", "/lib/", "/lib64/"].iter().any(|dir| path.starts_with(dir));
            let path = if merged { format!("/usr{path}") } else { path.to_owned() };
            owners.entry(path).or_insert_with(|| package.to_owned());
        }
    }
    Ok(owners)
}

fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

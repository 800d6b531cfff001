//! Packages, by the locks of both outputs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use debian::lock::{Lock, LockedPackage};
use fs_err as fs;
use tools::failure::HintExt as _;

use super::HINT;
use super::change::{Change, PackageChange, differing};

/// Every package that differs, of the root and of the tools tree.
pub(super) fn compare(before: &Path, after: &Path) -> Result<Vec<PackageChange>> {
    let (before, after) = (read(before)?, read(after)?);
    let mut changes = compare_trees("root", &by_name(&before), &by_name(&after));
    let (before, after) = (before.tools(), after.tools());
    let of = |lock: &Option<Lock>| lock.as_ref().map(by_name).unwrap_or_default();
    changes.extend(compare_trees("tools", &of(&before), &of(&after)));
    Ok(changes)
}

fn read(output: &Path) -> Result<Lock> {
    Lock::parse(&fs::read_to_string(output.join("lock.toml")).or_refuse(HINT)?).or_refuse(HINT)
}

fn by_name(lock: &Lock) -> BTreeMap<String, LockedPackage> {
    lock.packages.iter().map(|package| (package.name.to_string(), package.clone())).collect()
}

fn compare_trees(
    tree: &'static str,
    before: &BTreeMap<String, LockedPackage>,
    after: &BTreeMap<String, LockedPackage>,
) -> Vec<PackageChange> {
    // Where the archive keeps a package is not what it is.
    let is_same = |pair: (Option<&LockedPackage>, Option<&LockedPackage>)| match pair {
        (Some(before), Some(after)) => before.sha256 == after.sha256 && before.version == after.version,
        _ => false,
    };
    let rows = differing(before, after).into_iter().filter(|(_, before, after)| !is_same((*before, *after)));
    rows.map(|(name, before, after)| PackageChange {
        tree,
        name: name.clone(),
        change: Change::of(before, after),
        before: before.map(|package| package.version.to_string()),
        after: after.map(|package| package.version.to_string()),
        before_size: before.map(|package| package.size),
        after_size: after.map(|package| package.size),
    })
    .collect()
}

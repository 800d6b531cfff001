//! `casemate repo prune`: removes bundles that no channel names any more.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use bundle::{FileName, ImageName};
use formats::version_order;
use fs_err as fs;
use tools::failure::HintExt as _;

use super::Repository;

/// What was removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// File names of bundles, oldest version first.
    pub bundles: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes the bundles that no channel names, but the `keep` newest of them: hosts may be in the middle of fetching
/// one.
pub fn prune(repo: &Path, image: Option<&ImageName>, keep: usize) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    for repository in Repository::all(repo, image)? {
        let _lock = repository.lock()?;
        let named = named(&repository)?;
        let mut others: Vec<FileName> =
            bundles(&repository)?.into_iter().filter(|name| !named.contains(name)).collect();
        others.sort_by(|left, right| version_order::compare_text(version(left), version(right)));
        others.truncate(others.len().saturating_sub(keep));
        for name in others {
            remove(&repository, &name, &mut pruned)?;
        }
        remove_leftovers(&repository, &mut pruned)?;
    }
    Ok(pruned)
}

/// The bundles that channels name. One channel that cannot be read may name any, so nothing is removed then.
fn named(repository: &Repository) -> Result<BTreeSet<FileName>> {
    let (roots, _) = repository.some_trust_roots()?;
    let mut names = BTreeSet::new();
    for channel in repository.channels()? {
        let last =
            repository.last_statement(&channel, &roots).or_refuse("mend this channel first: nothing was removed")?;
        names.extend(last.map(|last| last.bundle.file));
    }
    Ok(names)
}

fn bundles(repository: &Repository) -> Result<Vec<FileName>> {
    let dir = repository.bundles();
    let mut names = Vec::new();
    if !dir.is_dir() {
        return Ok(names);
    }
    let start = format!("{}_", repository.image);
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let ours = name
            .to_str()
            .filter(|name| name.starts_with(&start) && Path::new(name).extension().is_some_and(|end| end == "tar"));
        names.extend(ours.and_then(|name| name.parse().ok()));
    }
    Ok(names)
}

/// What a publish that was killed left: nobody publishes now, so nobody will finish it.
fn remove_leftovers(repository: &Repository, pruned: &mut Pruned) -> Result<()> {
    let dir = repository.bundles();
    if !dir.is_dir() {
        return Ok(());
    }
    let start = format!(".{}_", repository.image);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&start) {
            pruned.bytes += entry.metadata()?.len();
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// `1.2` of `webhost_1.2.tar`; no image has a `_` in its name.
fn version(name: &FileName) -> &str {
    let name = name.as_str();
    let name = name.strip_suffix(".tar").unwrap_or(name);
    name.split_once('_').map_or(name, |(_, version)| version)
}

fn remove(repository: &Repository, name: &FileName, pruned: &mut Pruned) -> Result<()> {
    let path = repository.bundle(name);
    pruned.bytes += fs::metadata(&path)?.len();
    fs::remove_file(path)?;
    for ending in ["manifest.json", "manifest.json.sig"] {
        let beside = repository.beside(name, ending);
        if beside.exists() {
            fs::remove_file(beside)?;
        }
    }
    pruned.bundles.push(name.to_string());
    Ok(())
}

//! The files of both roots, unpacked from the sealed file systems and compared path by path.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use super::change::{Change, FileChange};
use super::owners::Owners;
use crate::flash::fill;
use crate::root_tree::{self, Entry, RootTree};

/// One root, unpacked, and whose its paths are.
pub(super) struct Side<'a> {
    pub(super) tree: &'a RootTree,
    pub(super) owners: &'a Owners,
}

/// Every path that differs.
pub(super) fn compare(before: &Side<'_>, after: &Side<'_>) -> Result<Vec<FileChange>> {
    let (old, new) = (entries(before.tree)?, entries(after.tree)?);
    let mut changes = Vec::new();
    for (name, entry) in &old {
        match new.get(name) {
            None => changes.push(row(name, Some(entry), None, Vec::new(), before.owners)),
            Some(other) => {
                let what = differences(entry, other)?;
                if !what.is_empty() {
                    changes.push(row(name, Some(entry), Some(other), what, after.owners));
                }
            }
        }
    }
    for (name, entry) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        changes.push(row(name, None, Some(entry), Vec::new(), after.owners));
    }
    changes.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(changes)
}

fn entries(tree: &RootTree) -> Result<BTreeMap<String, Entry>> {
    Ok(tree.walk()?.into_iter().map(|entry| (entry.name.clone(), entry)).collect())
}

fn row(
    path: &str,
    before: Option<&Entry>,
    after: Option<&Entry>,
    what: Vec<&'static str>,
    owners: &Owners,
) -> FileChange {
    // A directory's own size says how the file system keeps it, and nothing about the image.
    let size = |entry: &Entry| if entry.metadata.is_dir() { 0 } else { entry.metadata.len() };
    FileChange {
        path: path.to_owned(),
        change: Change::of(before, after),
        what,
        before_size: before.map(size),
        after_size: after.map(size),
        owner: owners.of(path),
    }
}

fn differences(before: &Entry, after: &Entry) -> Result<Vec<&'static str>> {
    let (old, new) = (&before.metadata, &after.metadata);
    let mut what = Vec::new();
    if kind(before) != kind(after) {
        what.push("kind");
    } else if old.is_symlink() {
        if fs::read_link(&before.path)? != fs::read_link(&after.path)? {
            what.push("link");
        }
    } else if old.is_file() && (old.len() != new.len() || !same_content(&before.path, &after.path)?) {
        what.push("content");
    } else if old.rdev() != new.rdev() {
        what.push("device");
    }
    if !old.is_symlink() && old.mode() & 0o7777 != new.mode() & 0o7777 {
        what.push("mode");
    }
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        what.push("owner");
    }
    if attributes(before)? != attributes(after)? {
        what.push("attributes");
    }
    Ok(what)
}

/// What the image itself says: capabilities of programs and the like, and not what the disk it is unpacked to adds.
fn attributes(entry: &Entry) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut all = root_tree::attributes(&entry.path)?;
    all.retain(|name, _| name.starts_with("security.") || name.starts_with("user."));
    Ok(all)
}

fn kind(entry: &Entry) -> u8 {
    let kind = entry.metadata.file_type();
    let kinds = [kind.is_file(), kind.is_dir(), kind.is_symlink(), kind.is_char_device(), kind.is_block_device()];
    kinds.iter().position(|is| *is).map_or(u8::MAX, |at| u8::try_from(at).unwrap_or(u8::MAX))
}

fn same_content(before: &Path, after: &Path) -> Result<bool> {
    let (mut before, mut after) = (fs::File::open(before)?, fs::File::open(after)?);
    let (mut left, mut right) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    loop {
        let (one, two) = (fill(&mut before, &mut left)?, fill(&mut after, &mut right)?);
        if left[..one] != right[..two] {
            return Ok(false);
        }
        if one == 0 {
            return Ok(true);
        }
    }
}

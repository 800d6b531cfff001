//! What differs between two outputs: packages, files of the root, and parts. For two builds that should be equal, and for two versions.
//!
//! Reads and compares, and decides nothing: neither output is verified, and nothing is changed.

mod change;
mod disk;
mod kernel;
mod output;
mod owners;
mod packages;
mod root;
#[cfg(test)]
mod tests;
mod text;

use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::{Manifest, Part, PartName};
use serde::Serialize;

pub use self::change::{Change, FileChange, PackageChange, PartChange};
use self::owners::Owners;
use self::root::Side;
use crate::programs::{ToolsTree, fsck_erofs};
use crate::root_tree::RootTree;

pub(crate) const HINT: &str = "name the directories that two builds wrote, e.g. out/webhost";

/// Everything that differs; each list is sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Packages of the root and of the tools tree.
    pub packages: Vec<PackageChange>,
    /// Paths of the root.
    pub files: Vec<FileChange>,
    /// Everything else.
    pub parts: Vec<PartChange>,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_equal(&self) -> bool {
        self.packages.is_empty() && self.files.is_empty() && self.parts.is_empty()
    }

    /// For people: the largest changes of each kind, or `all`.
    pub fn text(&self, all: bool) -> String {
        text::render(self, all)
    }
}

/// Compares two output directories. Roots and disks are read only where the manifests give them other digests; they are unpacked
/// below `scratch`, which the caller removes.
pub fn diff(before: &Path, after: &Path, tools: &ToolsTree, scratch: &Path) -> Result<Difference> {
    let (old, new) = (output::manifest(before)?, output::manifest(after)?);
    let packages = packages::compare(before, after)?;
    let mut parts = output::compare_manifests(&old, &new);
    let (old_parts, new_parts) = (output::parts(&old), output::parts(&new));
    parts.extend(PartChange::of_contents("part", &old_parts, &new_parts, |(size, _)| *size));
    parts.extend(output::compare_files(before, after, &[&old_parts, &new_parts])?);

    let pair = Pair { before, after, old: &old, new: &new };
    let files = match pair.changed_part(PartName::Root) {
        Some((old, new)) => compare_roots(&pair, (&old, &new), tools, scratch).context("cannot compare the roots")?,
        None => Vec::new(),
    };
    for (part, compare) in [
        (PartName::Initrd, kernel::compare_initrd as fn(&Path, &Path) -> Result<Vec<PartChange>>),
        (PartName::Uki, kernel::compare_uki),
        (PartName::Cmdline, kernel::compare_command_lines),
    ] {
        if let Some((old, new)) = pair.changed_part(part) {
            parts.extend(compare(&old, &new).with_context(|| format!("cannot compare the parts `{part}`"))?);
        }
    }
    if let Some((old, new)) = pair.changed(old.disk.as_ref(), new.disk.as_ref()) {
        parts.extend(disk::compare_tables(&old, &new)?);
        parts.extend(disk::compare_esps(&old, &new, tools, scratch).context("cannot compare the ESPs")?);
    }
    Ok(Difference { packages, files, parts })
}

/// Two outputs with their manifests.
struct Pair<'a> {
    before: &'a Path,
    after: &'a Path,
    old: &'a Manifest,
    new: &'a Manifest,
}

impl Pair<'_> {
    fn changed_part(&self, name: PartName) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
        self.changed(self.old.parts.get(&name), self.new.parts.get(&name))
    }

    /// The files of a part that both have and that differs.
    fn changed(&self, old: Option<&Part>, new: Option<&Part>) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
        let (old, new) = (old?, new?);
        let files = (self.before.join(old.file.as_str()), self.after.join(new.file.as_str()));
        (old.sha256 != new.sha256).then_some(files)
    }
}

fn compare_roots(
    pair: &Pair<'_>,
    (old, new): (&Path, &Path),
    tools: &ToolsTree,
    scratch: &Path,
) -> Result<Vec<FileChange>> {
    let unpack = |image: &Path, name: &str| -> Result<RootTree> {
        let target = scratch.join(name);
        fs_err::create_dir(&target)?;
        fsck_erofs::extract(tools, image, &target)?;
        Ok(RootTree::new(target.join(fsck_erofs::TREE)))
    };
    // Each program works on one core; there are two images.
    let (old, new) = std::thread::scope(|scope| {
        let old = scope.spawn(|| unpack(old, "before"));
        let new = unpack(new, "after");
        (old.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), new)
    });
    let (old, new) = (old?, new?);
    let (old_owners, new_owners) = (Owners::read(&old, pair.before)?, Owners::read(&new, pair.after)?);
    root::compare(&Side { tree: &old, owners: &old_owners }, &Side { tree: &new, owners: &new_owners })
}

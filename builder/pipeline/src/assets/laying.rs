//! Puts the entries of one asset into the root, whatever archive they come from.
//!
//! Names are parsed into [`TreePath`], so none leaves the tree; the kernel resolves beneath the root ([`RootDir`]). Owner is root, modes
//! are 0755 and 0644, times are those that the seal gives to everything.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, bail};
use debian::root_dir::{Ownership, RootDir, create_file};
use debian::tree_path::TreePath;
use fs_err as fs;
use hostconf::Asset;

use crate::root_tree::RootTree;

/// Most entries of one asset.
const MAX_ENTRIES: usize = 200_000;
/// Most bytes that an asset becomes.
const MAX_BYTES: u64 = 4 << 30;
/// Most bytes that come of one byte of the archive; program text and rules reach about 20.
const MAX_RATIO: u64 = 200;
/// Below this size the ratio is not looked at.
const RATIO_FREE_BYTES: u64 = 16 << 20;
/// inode(7), the kind in `st_mode`.
const KIND_MASK: u32 = 0o170_000;
const KIND_DIRECTORY: u32 = 0o040_000;

/// An asset on its way into a tree.
pub(super) struct Laying<'a> {
    tree: &'a RootTree,
    root: RootDir,
    asset: &'a Asset,
    left: u64,
    made: BTreeSet<TreePath>,
    /// Links wait until all files are there: nothing is ever written through one of them.
    links: BTreeMap<TreePath, String>,
    entries: usize,
    files: usize,
}

impl<'a> Laying<'a> {
    /// Begins with an asset whose file has `size` bytes.
    pub(super) fn new(tree: &'a RootTree, asset: &'a Asset, size: u64) -> Result<Self> {
        let (found, links) = tree.resolve(asset.into.as_str())?;
        if let Some((link, target)) = links.first() {
            bail!("`into` is `{}`, but `{link}` is a link to `{target}`: write `{found}`", asset.into);
        }
        let root = RootDir::open(tree.path(), Ownership::Keep)?;
        let left = size.saturating_mul(MAX_RATIO).clamp(RATIO_FREE_BYTES, MAX_BYTES);
        Ok(Self { tree, root, asset, left, made: BTreeSet::new(), links: BTreeMap::new(), entries: 0, files: 0 })
    }

    /// The path in the root of a name in the archive; `None` for what `strip` takes off whole.
    pub(super) fn place(&mut self, name: &str) -> Result<Option<TreePath>> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            bail!("the archive has more than {MAX_ENTRIES} entries");
        }
        if name.contains('\\') {
            bail!("refused `{}`: a backslash in a name means a directory to some programs", name.escape_debug());
        }
        let inside: TreePath = name.parse()?;
        let rest = inside.as_str().splitn(self.asset.strip + 1, '/').nth(self.asset.strip).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        Ok(Some(format!("{}/{rest}", self.asset.into.as_str().trim_start_matches('/')).parse()?))
    }

    /// Makes a directory and those above it.
    pub(super) fn directory(&mut self, path: &TreePath) -> Result<()> {
        self.parents_of(path)?;
        self.make_directory(path.as_str())
    }

    /// Makes a file of `size` bytes; the content must have exactly so many.
    pub(super) fn file(&mut self, path: &TreePath, executable: bool, size: u64, content: &mut dyn Read) -> Result<()> {
        self.parents_of(path)?;
        self.claim(path)?;
        self.left = self.left.checked_sub(size).with_context(|| bomb(path))?;
        let directory = self.root.open_parent(path)?;
        let name = path.split().map_or(".", |(_, name)| name);
        let mut file = create_file(&directory, name).map_err(|error| self.root.error("create", path, error))?;
        let copied = std::io::copy(&mut content.take(size.saturating_add(1)), &mut file);
        let copied = copied.with_context(|| format!("cannot unpack `{path}`"))?;
        if copied != size {
            bail!("`{path}` should have {size} bytes and has {}", if copied > size { "more" } else { "fewer" });
        }
        self.files += 1;
        let mode = if executable { 0o755 } else { 0o644 };
        Ok(file.set_permissions(std::fs::Permissions::from_mode(mode))?)
    }

    /// Keeps a link for later; it must lead to a place among the asset's own files.
    pub(super) fn link(&mut self, path: &TreePath, target: &str) -> Result<()> {
        self.parents_of(path)?;
        self.claim(path)?;
        let top = format!("{}/", self.asset.into);
        if !resolve(path, target).is_some_and(|found| format!("/{found}").starts_with(&top)) {
            bail!("refused `{path}`: a link to `{}`, which leaves the asset's directory", target.escape_debug());
        }
        self.links.insert(path.clone(), target.to_owned());
        Ok(())
    }

    /// Takes the file itself as the asset's one file.
    pub(super) fn whole(&mut self, content: &mut dyn Read, size: u64) -> Result<()> {
        let path: TreePath = self.asset.into.as_str().trim_start_matches('/').parse()?;
        self.file(&path, false, size, content)
    }

    /// Makes the links and returns every path that came with the asset, directories included.
    pub(super) fn finish(self) -> Result<Vec<String>> {
        if self.files == 0 {
            bail!(
                "nothing is left of it: the archive has no file, or `strip = {}` takes off too much",
                self.asset.strip
            );
        }
        for (path, target) in &self.links {
            self.root.make_symlink(path, target)?;
        }
        Ok(self.made.iter().map(TreePath::absolute).collect())
    }

    /// A path belongs to this asset and to nobody else.
    fn claim(&mut self, path: &TreePath) -> Result<()> {
        if !self.made.insert(path.clone()) {
            bail!("refused `{path}`: it is in the archive twice");
        }
        if self.root.stat(path)?.is_some() {
            bail!("refused `{path}`: it is in the root already, and an asset replaces nothing");
        }
        Ok(())
    }

    fn parents_of(&mut self, path: &TreePath) -> Result<()> {
        let parents: Vec<String> = path.ancestors().map(str::to_owned).collect();
        parents.iter().try_for_each(|parent| self.make_directory(parent))
    }

    /// A directory that is there stays as it is; a link or file in its place is refused.
    fn make_directory(&mut self, path: &str) -> Result<()> {
        let place: TreePath = path.parse()?;
        if self.links.contains_key(&place) {
            bail!("refused `/{path}`: it is a link and a directory in one archive");
        }
        match self.root.stat(&place)? {
            Some(found) if found.st_mode & KIND_MASK == KIND_DIRECTORY => {}
            Some(_) => bail!("refused `/{path}`: a directory is needed, and something else is there"),
            None => {
                self.root.make_directories(path)?;
                fs::set_permissions(self.tree.at(path), std::fs::Permissions::from_mode(0o755))?;
                self.made.insert(place);
            }
        }
        Ok(())
    }
}

fn bomb(path: &TreePath) -> String {
    format!("it unpacks to far more than its size allows, at `{path}`")
}

/// Where a relative link leads, by its text alone. `..` may stand at its start only: behind a name, which may be a link itself, the
/// text says nothing.
fn resolve(path: &TreePath, target: &str) -> Option<String> {
    if target.is_empty() || target.starts_with('/') || target.chars().any(|c| c.is_control() || c == '\\') {
        return None;
    }
    let mut parts: Vec<&str> = path.split()?.0.split('/').collect();
    let mut named = false;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if named => return None,
            ".." => {
                parts.pop()?;
            }
            name => {
                named = true;
                parts.push(name);
            }
        }
    }
    Some(parts.join("/"))
}

//! What a tree holds, path by path: everything of a file that an image keeps, except its times, which an image sets all alike.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use debian::tree_path::TreePath;
use debian::trim::TrimRules;
use formats::digest::Sha256Digest;
use fs_err as fs;
use pipeline::root_tree::{Entry, RootTree};

/// Longest text that is kept to be shown; a longer one is only told by its digest.
const SHOWN_BYTES: u64 = 1 << 20;

/// Every path of a tree, each with a leading `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing(pub BTreeMap<String, Node>);

/// What stands under one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// File, directory, link or special file.
    pub kind: Kind,
    /// Permission bits, with set-id and sticky.
    pub mode: u32,
    /// Numbers of user and group.
    pub owner: (u32, u32),
    /// Extended attributes, file capabilities among them.
    pub attributes: BTreeMap<String, Vec<u8>>,
    /// The first name, in order, of the same file, where it has several in the tree.
    pub same_as: Option<String>,
}

/// Type and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// SHA-256 of its content.
        digest: Sha256Digest,
        /// Its content, where it is text and not long.
        text: Option<String>,
    },
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Link(String),
    /// A device, pipe or socket, with its number.
    Special(&'static str, u64),
}

impl Listing {
    /// Reads the tree at `root`.
    pub fn of(root: &Path) -> Result<Self> {
        let mut first_names: BTreeMap<(u64, u64), String> = BTreeMap::new();
        let mut nodes = BTreeMap::new();
        for entry in RootTree::new(root.to_owned()).walk()? {
            let several = entry.metadata.is_file() && entry.metadata.nlink() > 1;
            let same_as = several.then(|| {
                let file = (entry.metadata.dev(), entry.metadata.ino());
                first_names.entry(file).or_insert_with(|| entry.name.clone()).clone()
            });
            let node = Node::of(&entry, same_as).with_context(|| format!("cannot read `{}`", entry.path.display()))?;
            nodes.insert(entry.name, node);
        }
        Ok(Self(nodes))
    }

    /// Gives a directory and all below it another name.
    #[must_use]
    pub fn moved(self, from: &str, to: &str) -> Self {
        let rename = |name: String| match name.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
            _ => name,
        };
        let nodes = self.0.into_iter().map(|(name, node)| {
            let same_as = node.same_as.map(rename);
            (rename(name), Node { same_as, ..node })
        });
        Self(nodes.collect())
    }

    /// Leaves out what the rules exclude; a directory stays while something in it stays.
    pub fn trim(&mut self, rules: &TrimRules) -> Result<()> {
        let names: Vec<String> = self.0.keys().rev().cloned().collect();
        for name in names {
            if !is_trimmed(rules, &name)? {
                continue;
            }
            let below = format!("{name}/");
            let full = self.0.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below));
            if !full {
                self.0.remove(&name);
            }
        }
        Ok(())
    }

    /// Changes the text of a file, if it is there and text.
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
        if let Some(Node { kind: Kind::File { digest, text: Some(text) }, .. }) = self.0.get_mut(name) {
            *text = change(text)?;
            *digest = Sha256Digest::of(text.as_bytes());
        }
        Ok(())
    }
}

/// Whether the rules leave a path out.
pub fn is_trimmed(rules: &TrimRules, name: &str) -> Result<bool> {
    let path: TreePath = name.trim_start_matches('/').parse().with_context(|| format!("the path `{name}`"))?;
    Ok(rules.excludes(&path))
}

impl Node {
    fn of(entry: &Entry, same_as: Option<String>) -> Result<Self> {
        let kind = Kind::of(entry)?;
        // The mode of a link says nothing: Linux makes all 0777.
        let mode = if matches!(kind, Kind::Link(_)) { 0 } else { entry.metadata.mode() & 0o7777 };
        let owner = (entry.metadata.uid(), entry.metadata.gid());
        Ok(Self { kind, mode, owner, attributes: pipeline::root_tree::attributes(&entry.path)?, same_as })
    }
}

impl Kind {
    fn of(entry: &Entry) -> Result<Self> {
        let kind = entry.metadata.file_type();
        if kind.is_dir() {
            return Ok(Self::Directory);
        }
        if kind.is_symlink() {
            return Ok(Self::Link(fs::read_link(&entry.path)?.to_string_lossy().into_owned()));
        }
        if kind.is_file() {
            let bytes = fs::read(&entry.path)?;
            let digest = Sha256Digest::of(&bytes);
            let text = if entry.metadata.len() > SHOWN_BYTES { None } else { String::from_utf8(bytes).ok() };
            return Ok(Self::File { digest, text });
        }
        let name = if kind.is_char_device() {
            "character device"
        } else if kind.is_block_device() {
            "block device"
        } else if kind.is_fifo() {
            "pipe"
        } else {
            "socket"
        };
        Ok(Self::Special(name, entry.metadata.rdev()))
    }
}

//! One difference: what it is about, and what was there before and after.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// What became of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the second output has it.
    Added,
    /// Only the first output has it.
    Removed,
    /// Both have it, and it is not the same.
    Changed,
}

/// A package that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    /// `root` or `tools`.
    pub tree: &'static str,
    /// Name of the package.
    pub name: String,
    /// What became of it.
    pub change: Change,
    /// Its version before.
    pub before: Option<String>,
    /// Its version after; the same one where only the file differs.
    pub after: Option<String>,
    /// Bytes of the package file before.
    pub before_size: Option<u64>,
    /// Bytes of the package file after.
    pub after_size: Option<u64>,
}

/// A path of the root that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// The path on the host.
    pub path: String,
    /// What became of it.
    pub change: Change,
    /// What differs: `kind`, `content`, `mode`, `owner`, `link`; none for what was added or removed.
    pub what: Vec<&'static str>,
    /// Bytes before.
    pub before_size: Option<u64>,
    /// Bytes after.
    pub after_size: Option<u64>,
    /// Whose it is: `package:NAME`, `overlay:NAME`, `units`, `asset:NAME`, or `build` for what a step of the build makes.
    pub owner: String,
}

/// Something of a part that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartChange {
    /// `manifest`, `root`, `initrd`, `uki`, `command line`, `disk`, `esp`, `output` and so on.
    pub part: String,
    /// What of it.
    pub item: String,
    /// What became of it.
    pub change: Change,
    /// Its value before, where it is a short text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Its value after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Bytes before, where it has bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_size: Option<u64>,
    /// Bytes after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_size: Option<u64>,
}

impl Change {
    /// What became of something that was `before` there, or is `after`.
    pub(super) fn of<T>(before: Option<&T>, after: Option<&T>) -> Self {
        match (before, after) {
            (None, _) => Self::Added,
            (_, None) => Self::Removed,
            _ => Self::Changed,
        }
    }
}

impl PartChange {
    /// A difference of values.
    pub(super) fn of_texts(part: &str, item: &str, before: Option<String>, after: Option<String>) -> Self {
        let change = Change::of(before.as_ref(), after.as_ref());
        let (part, item) = (part.to_owned(), item.to_owned());
        Self { part, item, change, before, after, before_size: None, after_size: None }
    }

    /// A difference of bytes.
    pub(super) fn of_sizes(part: &str, item: &str, before_size: Option<u64>, after_size: Option<u64>) -> Self {
        let change = Change::of(before_size.as_ref(), after_size.as_ref());
        let (part, item) = (part.to_owned(), item.to_owned());
        Self { part, item, change, before: None, after: None, before_size, after_size }
    }

    /// Every difference of two sets of named bytes.
    pub(super) fn of_contents<V: PartialEq>(
        part: &str,
        before: &BTreeMap<String, V>,
        after: &BTreeMap<String, V>,
        size: impl Fn(&V) -> u64,
    ) -> Vec<Self> {
        let rows = differing(before, after).into_iter();
        rows.map(|(name, before, after)| Self::of_sizes(part, name, before.map(&size), after.map(&size))).collect()
    }
}

/// How much a difference weighs: what has to be looked at.
pub(super) fn weight(before: Option<u64>, after: Option<u64>) -> u64 {
    before.max(after).unwrap_or_default()
}

/// The keys whose values differ, with both values, sorted.
pub(super) fn differing<'m, K: Ord, V: PartialEq>(
    before: &'m BTreeMap<K, V>,
    after: &'m BTreeMap<K, V>,
) -> Vec<(&'m K, Option<&'m V>, Option<&'m V>)> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    let rows = keys.into_iter().map(|key| (key, before.get(key), after.get(key)));
    rows.filter(|(_, before, after)| before != after).collect()
}

//! dpkg's table of diversions: a path that one package takes over from all others, which get another name for it.
//!
//! The table is written by `dpkg-divert` from maintainer scripts; this file reads it and answers where a path of a package goes.

use std::collections::BTreeMap;

use crate::tree_path::{TreePath, TreePathError};

/// Where dpkg keeps the table, beneath the root.
pub const DIVERSIONS_FILE: &str = "var/lib/dpkg/diversions";

/// The table is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiversionsError {
    /// Not a multiple of three lines.
    #[error(
        "the table of diversions has {0} lines, which is not a multiple of 3; a maintainer script damaged it, build the tree anew"
    )]
    Lines(usize),
    /// A path in it is not allowed.
    #[error("the table of diversions names a bad path")]
    Path(#[from] TreePathError),
}

/// One diversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diversion {
    /// Where everybody else's file goes.
    pub to: TreePath,
    /// The package that keeps the path; `:` stands for the administrator, who keeps it from all.
    pub package: String,
}

/// The table by diverted path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diversions(BTreeMap<TreePath, Diversion>);

impl Diversions {
    /// Parses the file: three lines each, path, new path, package.
    pub fn parse(text: &str) -> Result<Self, DiversionsError> {
        let lines: Vec<&str> = text.lines().collect();
        if !lines.len().is_multiple_of(3) {
            return Err(DiversionsError::Lines(lines.len()));
        }
        let mut table = BTreeMap::new();
        for chunk in lines.chunks_exact(3) {
            if let [from, to, package] = chunk {
                table.insert(tree_path(from)?, Diversion { to: tree_path(to)?, package: (*package).to_owned() });
            }
        }
        Ok(Self(table))
    }

    /// Where the path of the package goes.
    pub fn target<'a>(&'a self, package: &str, path: &'a TreePath) -> &'a TreePath {
        self.0.get(path).filter(|diversion| diversion.package != package).map_or(path, |diversion| &diversion.to)
    }

    /// All diversions by path.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Diversion)> {
        self.0.iter()
    }
}

fn tree_path(absolute: &str) -> Result<TreePath, TreePathError> {
    absolute.strip_prefix('/').unwrap_or("..").parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_the_file_of_every_other_package_aside() {
        let table = Diversions::parse("/usr/bin/a\n/usr/bin/a.distrib\nkeeper\n/x\n/y\n:\n").unwrap();
        let path: TreePath = "usr/bin/a".parse().unwrap();
        assert_eq!(table.target("keeper", &path), &path);
        assert_eq!(table.target("other", &path).as_str(), "usr/bin/a.distrib");
        assert_eq!(table.target("any", &"x".parse().unwrap()).as_str(), "y");
    }

    #[test]
    fn refuses_a_damaged_table() {
        assert_eq!(Diversions::parse("/a\n/b\n"), Err(DiversionsError::Lines(2)));
        assert!(Diversions::parse("/a\n/../b\nc\n").is_err());
        assert!(Diversions::parse("a\n/b\nc\n").is_err());
    }
}

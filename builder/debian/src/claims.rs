//! Which package owns which path while many packages are unpacked at once.
//!
//! The outcome must not depend on which thread was faster. So a file path belongs to the package that claims it first and every
//! other package that ships it is noted as a contest, which [`crate::settle`] decides afterwards by `Replaces` and diversions. The
//! metadata of a directory is that of the package earliest in configure order. One path that is a directory in one package and
//! something else in another is refused.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::root_dir::Metadata;
use crate::tree_path::{MERGED_DIRECTORIES, TreePath};

/// A package by its place in configure order.
pub type Rank = usize;

/// Two packages cannot be unpacked together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{path}` is a directory in package `{directory_in}` and not one in `{other_in}`; leave one of the two packages out"
)]
pub struct KindConflict {
    /// The path.
    pub path: TreePath,
    /// Package that has a directory there.
    pub directory_in: String,
    /// Package that has something else there.
    pub other_in: String,
}

/// What to do with an entry that is not a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafVerdict {
    /// The path is free: write it.
    Write,
    /// Another package has it: leave it, the contest is noted.
    Contested,
    /// The same package has it already: refuse.
    Twice,
}

/// A path that more than one package ships.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contest {
    /// The path as the later package spells it.
    pub path: TreePath,
    /// The package whose file is on the disk.
    pub holder: Rank,
    /// The package whose file was left out.
    pub challenger: Rank,
}

#[derive(Debug, Clone, Copy)]
enum Owner {
    Directory(Rank, Metadata),
    Leaf(Rank),
}

/// What is known when all packages are unpacked.
#[derive(Debug, Default)]
pub struct Outcome {
    /// All contests, sorted.
    pub contests: Vec<Contest>,
    /// All directories with the metadata they shall have, deepest first, so that setting one does not disturb another.
    pub directories: Vec<(TreePath, Metadata)>,
}

#[derive(Debug, Default)]
struct State {
    owners: HashMap<TreePath, Owner>,
    contests: Vec<Contest>,
}

/// The shared table of claims.
#[derive(Debug)]
pub struct Claims {
    names: Vec<String>,
    state: Mutex<State>,
}

impl Claims {
    /// An empty table for packages in configure order.
    pub fn new(names: Vec<String>) -> Self {
        Self { names, state: Mutex::default() }
    }

    /// Claims a directory.
    pub fn claim_directory(&self, path: &TreePath, package: Rank, metadata: Metadata) -> Result<(), KindConflict> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.owners.get(&path.merged()).copied() {
            Some(Owner::Leaf(_)) if MERGED_DIRECTORIES.contains(&path.as_str()) => {}
            Some(Owner::Leaf(other)) => return Err(self.conflict(path, package, other)),
            Some(Owner::Directory(first, _)) if first <= package => {}
            Some(Owner::Directory(..)) | None => {
                let owner = Owner::Directory(package, metadata);
                state.owners.insert(path.merged(), owner);
            }
        }
        Ok(())
    }

    /// Claims a file, link or other thing that is not a directory.
    pub fn claim_leaf(&self, path: &TreePath, package: Rank) -> Result<LeafVerdict, KindConflict> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.owners.get(&path.merged()).copied() {
            Some(Owner::Directory(..)) if MERGED_DIRECTORIES.contains(&path.as_str()) => {
                state.owners.insert(path.merged(), Owner::Leaf(package));
                Ok(LeafVerdict::Write)
            }
            Some(Owner::Directory(other, _)) => Err(self.conflict(path, other, package)),
            Some(Owner::Leaf(holder)) if holder == package => Ok(LeafVerdict::Twice),
            Some(Owner::Leaf(holder)) => {
                state.contests.push(Contest { path: path.clone(), holder, challenger: package });
                Ok(LeafVerdict::Contested)
            }
            None => {
                state.owners.insert(path.merged(), Owner::Leaf(package));
                Ok(LeafVerdict::Write)
            }
        }
    }

    /// Ends the claiming.
    pub fn into_outcome(self) -> Outcome {
        let State { owners, mut contests } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        contests.sort();
        let directory = |(path, owner)| match owner {
            Owner::Directory(_, metadata) => Some((path, metadata)),
            Owner::Leaf(_) => None,
        };
        let mut directories: Vec<_> = owners.into_iter().filter_map(directory).collect();
        directories.sort_by(|left, right| right.0.cmp(&left.0));
        Outcome { contests, directories }
    }

    fn conflict(&self, path: &TreePath, directory_in: Rank, other_in: Rank) -> KindConflict {
        let name = |rank: Rank| self.names.get(rank).cloned().unwrap_or_default();
        KindConflict { path: path.clone(), directory_in: name(directory_in), other_in: name(other_in) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        text.parse().unwrap()
    }

    fn metadata(mode: u32) -> Metadata {
        Metadata { mode, uid: 0, gid: 0, mtime: 0 }
    }

    #[test]
    fn metadata_of_a_directory_comes_from_the_earliest_package_whoever_is_first() {
        let claims = Claims::new(vec!["a".into(), "b".into(), "c".into()]);
        for (package, mode) in [(1, 0o700), (0, 0o711), (2, 0o777)] {
            claims.claim_directory(&path("d"), package, metadata(mode)).unwrap();
        }
        claims.claim_directory(&path("d/e"), 2, metadata(0o755)).unwrap();
        let directories = claims.into_outcome().directories;
        assert_eq!(directories, [(path("d/e"), metadata(0o755)), (path("d"), metadata(0o711))]);
    }

    #[test]
    fn notes_a_contest_over_both_spellings_of_a_merged_path() {
        let claims = Claims::new(vec!["a".into(), "b".into()]);
        assert_eq!(claims.claim_leaf(&path("bin/sh"), 1).unwrap(), LeafVerdict::Write);
        assert_eq!(claims.claim_leaf(&path("usr/bin/sh"), 0).unwrap(), LeafVerdict::Contested);
        assert_eq!(claims.claim_leaf(&path("usr/bin/sh"), 1).unwrap(), LeafVerdict::Twice);
        assert_eq!(claims.into_outcome().contests, [Contest { path: path("usr/bin/sh"), holder: 1, challenger: 0 }]);
    }

    #[test]
    fn refuses_a_path_that_is_directory_and_file() {
        let claims = Claims::new(vec!["a".into(), "b".into()]);
        claims.claim_directory(&path("d"), 0, metadata(0)).unwrap();
        claims.claim_leaf(&path("f"), 0).unwrap();
        assert!(claims.claim_leaf(&path("d"), 1).is_err());
        let error = claims.claim_directory(&path("f"), 1, metadata(0)).unwrap_err();
        assert_eq!((error.directory_in.as_str(), error.other_in.as_str()), ("b", "a"));
    }
}

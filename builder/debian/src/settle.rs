//! Decides, after the `preinst` scripts, which package has a path that several ship, and puts diverted files aside.
//!
//! dpkg decides this package by package while it unpacks. Here everything is unpacked already, so contested files are taken from
//! their packages once more and put where dpkg would have put them. The outcome depends on the packages alone, not on which of
//! them was unpacked first.

use std::collections::{BTreeMap, BTreeSet};

use crate::claims::{Contest, Rank};
use crate::diversions::{DIVERSIONS_FILE, Diversions, DiversionsError};
use crate::dpkg_db::{DatabaseError, UnpackedPackage, write_file_lists};
use crate::root_dir::{RootDir, TreeError};
use crate::tree_path::{TreePath, TreePathError};

/// Why files cannot be settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// Two packages ship a path and neither may replace the other.
    #[error(
        "`{path}` is in package `{first}` and in package `{second}`, and neither declares to replace the other; leave one of them out"
    )]
    Conflict {
        /// The path.
        path: TreePath,
        /// One package.
        first: String,
        /// The other.
        second: String,
    },
    /// The table of diversions is malformed.
    #[error(transparent)]
    Diversions(#[from] DiversionsError),
    /// A path is not allowed.
    #[error(transparent)]
    Path(#[from] TreePathError),
    /// The tree cannot be changed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The database cannot be written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What must be taken from the packages once more: paths by package.
pub type Again = BTreeMap<Rank, BTreeSet<TreePath>>;

/// What was decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Files to be put again.
    pub again: Again,
    /// Paths that packages lose to others.
    pub lost: Again,
    /// Files to be moved, from and to.
    pub moves: Vec<(TreePath, TreePath)>,
}

/// Reads the table of diversions of a tree; an absent one is empty.
pub fn read_diversions(root: &RootDir) -> Result<Diversions, SettleError> {
    let bytes = root.read(&DIVERSIONS_FILE.parse()?)?.unwrap_or_default();
    Ok(Diversions::parse(&String::from_utf8_lossy(&bytes))?)
}

/// Decides all contests; pure.
pub fn decide(
    packages: &[UnpackedPackage],
    contests: &[Contest],
    diversions: &Diversions,
) -> Result<Decision, SettleError> {
    let mut decision = Decision::default();
    let mut contested: BTreeMap<TreePath, BTreeSet<Rank>> = BTreeMap::new();
    for Contest { path, holder, challenger } in contests {
        contested.entry(path.merged()).or_default().extend([*holder, *challenger]);
    }
    for (path, ranks) in &contested {
        decide_one(packages, path, ranks, diversions, &mut decision)?;
    }
    for (from, diversion) in diversions.iter().filter(|(from, _)| !contested.contains_key(&from.merged())) {
        let ships = |package: &UnpackedPackage| {
            package.facts.name.as_str() != diversion.package && package.paths.contains(from)
        };
        if packages.iter().any(ships) {
            decision.moves.push((from.clone(), diversion.to.clone()));
        }
    }
    Ok(decision)
}

fn decide_one(
    packages: &[UnpackedPackage],
    path: &TreePath,
    ranks: &BTreeSet<Rank>,
    diversions: &Diversions,
    decision: &mut Decision,
) -> Result<(), SettleError> {
    let mut winners: BTreeMap<TreePath, (Rank, TreePath)> = BTreeMap::new();
    for rank in ranks {
        let Some(package) = packages.get(*rank) else {
            continue;
        };
        let Some(spelled) = package.paths.iter().find(|candidate| candidate.merged() == *path) else {
            continue;
        };
        let target = diversions.target(package.facts.name.as_str(), spelled).merged();
        let Some((holder, holder_path)) = winners.get(&target).cloned() else {
            winners.insert(target, (*rank, spelled.clone()));
            continue;
        };
        let Some(other) = packages.get(holder) else {
            continue;
        };
        let conflict = || SettleError::Conflict {
            path: spelled.clone(),
            first: other.facts.name.as_str().to_owned(),
            second: package.facts.name.as_str().to_owned(),
        };
        // If each may replace the other, the later one wins, as with dpkg.
        let (loser, lost) = match (package.facts.may_replace(&other.facts), other.facts.may_replace(&package.facts)) {
            (true, _) => {
                winners.insert(target, (*rank, spelled.clone()));
                (holder, holder_path)
            }
            (false, true) => (*rank, spelled.clone()),
            (false, false) => return Err(conflict()),
        };
        decision.lost.entry(loser).or_default().insert(lost);
    }
    for (rank, spelled) in winners.into_values() {
        decision.again.entry(rank).or_default().insert(spelled);
    }
    Ok(())
}

/// Moves what is diverted and corrects the file lists; `again` of the decision is left to the caller, who has the packages.
pub fn apply(root: &RootDir, packages: &mut [UnpackedPackage], decision: &Decision) -> Result<(), SettleError> {
    for (from, to) in &decision.moves {
        // dpkg-divert with --rename has done it already.
        if root.stat(from)?.is_some() && root.stat(to)?.is_none() {
            root.rename(from, to)?;
        }
    }
    for (rank, lost) in &decision.lost {
        if let Some(package) = packages.get_mut(*rank) {
            package.paths.retain(|path| !lost.contains(path));
            write_file_lists(root, package)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deb::ControlMembers;

    fn package(name: &str, fields: &str, paths: &[&str]) -> UnpackedPackage {
        let facts = format!("Package: {name}\nVersion: 1\nArchitecture: all\n{fields}").parse().unwrap();
        UnpackedPackage {
            facts,
            control: ControlMembers::default(),
            paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
            trimmed: false,
        }
    }

    fn set(paths: &[&str]) -> BTreeSet<TreePath> {
        paths.iter().map(|path| path.parse().unwrap()).collect()
    }

    fn contest(path: &str, holder: Rank, challenger: Rank) -> Contest {
        Contest { path: path.parse().unwrap(), holder, challenger }
    }

    #[test]
    fn replaces_wins_whoever_was_unpacked_first() {
        let packages = [package("new", "Replaces: old\n", &["usr/f"]), package("old", "", &["usr/f"])];
        for contests in [[contest("usr/f", 0, 1)], [contest("usr/f", 1, 0)]] {
            let decision = decide(&packages, &contests, &Diversions::default()).unwrap();
            assert_eq!(decision.again, [(0, set(&["usr/f"]))].into());
            assert_eq!(decision.lost, [(1, set(&["usr/f"]))].into());
        }
    }

    #[test]
    fn refuses_two_owners_without_replaces() {
        let packages = [package("pa", "", &["bin/f"]), package("pb", "", &["usr/bin/f"])];
        let error = decide(&packages, &[contest("bin/f", 1, 0)], &Diversions::default()).unwrap_err();
        assert!(matches!(error, SettleError::Conflict { .. }), "{error}");
    }

    #[test]
    fn a_diversion_ends_a_contest_and_both_keep_their_file() {
        let packages = [package("pa", "", &["f"]), package("pb", "", &["f"])];
        let diversions = Diversions::parse("/f\n/f.distrib\npb\n").unwrap();
        let decision = decide(&packages, &[contest("f", 0, 1)], &diversions).unwrap();
        assert_eq!(decision.again, [(0, set(&["f"])), (1, set(&["f"]))].into());
        assert!(decision.lost.is_empty() && decision.moves.is_empty());
    }

    #[test]
    fn moves_a_diverted_file_that_nobody_contests() {
        let packages = [package("pa", "", &["f"])];
        let diversions = Diversions::parse("/f\n/f.aside\npb\n/g\n/g.aside\npb\n").unwrap();
        let decision = decide(&packages, &[], &diversions).unwrap();
        assert_eq!(decision.moves, [("f".parse().unwrap(), "f.aside".parse().unwrap())]);
    }
}

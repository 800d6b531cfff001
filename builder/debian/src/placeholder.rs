//! One package that is not there but counts as installed, because the builder does the work of what it provides.
//!
//! The resolver sees it as a candidate that is chosen already, the dpkg database as a package of the tree without files. So
//! `dpkg -l` tells of it, `dpkg -s` why it stands there, and no dependency is open. It is in no archive and in no lock. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::package::PackageName;

/// The name of the package; no archive has one of this name.
pub const PLACEHOLDER: &str = "casemate-placeholder";

/// A package name that is satisfied without a package of the archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provided {
    /// What packages depend on, such as `linux-initramfs-tool`.
    pub package: PackageName,
    /// Why nothing of the archive is needed for it, in one line.
    pub reason: String,
}

/// Sorts the rows and leaves one for each name.
pub fn sort_provided(mut rows: Vec<Provided>) -> Vec<Provided> {
    rows.sort();
    rows.dedup_by(|later, first| later.package == first.package);
    rows
}

/// The paragraph of the dpkg database; empty when nothing is provided.
pub fn status_paragraph(provided: &[Provided]) -> String {
    if provided.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "Package: {PLACEHOLDER}\nStatus: install ok installed\nPriority: optional\nSection: misc\n\
         Maintainer: none <none@invalid>\nArchitecture: all\nVersion: 1\nProvides: {}\n\
         Description: stands for what the image builder does itself\n",
        names(provided)
    );
    for Provided { package, reason } in provided {
        // One line of the file, whatever the caller wrote.
        let _ = writeln!(out, " {package}: {}", reason.replace(char::is_control, " "));
    }
    out.push('\n');
    out
}

/// The paragraph of a Packages file, with a file that nobody asks for.
pub(crate) fn index_paragraph(provided: &[Provided]) -> String {
    format!(
        "Package: {PLACEHOLDER}\nVersion: 1\nArchitecture: all\nProvides: {}\nFilename: none\nSize: 0\nSHA256: {:064}\n\n",
        names(provided),
        0
    )
}

/// A comma between the names; each stands once, because a name that two overlays give is one name.
fn names(provided: &[Provided]) -> String {
    let names: BTreeSet<&str> = provided.iter().map(|row| row.package.as_str()).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provided(package: &str, reason: &str) -> Provided {
        Provided { package: package.parse().unwrap(), reason: reason.into() }
    }

    #[test]
    fn the_paragraph_names_what_it_stands_for_and_why_and_is_one_paragraph() {
        let text = status_paragraph(&[provided("aa", "one\n\nPackage: two"), provided("bb", "three")]);
        assert!(text.contains("\nProvides: aa, bb\n") && text.contains("\n aa: one  Package: two\n bb: three\n\n"));
        assert_eq!(text.matches("\n\n").count(), 1);
        assert_eq!(status_paragraph(&[]), "");
    }

    #[test]
    fn a_name_of_two_overlays_stands_once() {
        let rows = sort_provided(vec![provided("bb", "z"), provided("aa", "y"), provided("bb", "x")]);
        assert_eq!(rows, [provided("aa", "y"), provided("bb", "x")]);
    }
}

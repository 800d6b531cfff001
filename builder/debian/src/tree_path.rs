//! A path inside a root tree: relative, plain and printable, the only form in which names from a package reach the disk.
//!
//! Parsing is the one door. A value never holds `..`, never starts with `/`, and holds no byte that would break the line-based
//! files of the dpkg database. It says nothing about symlinks on the disk; [`crate::extract`] resolves beneath the root.

use std::fmt;
use std::str::FromStr;

/// Longest path in bytes (`PATH_MAX` without the final zero).
const MAX_PATH_BYTES: usize = 4095;
/// Longest component in bytes (`NAME_MAX`).
const MAX_NAME_BYTES: usize = 255;

/// A path below the root of a tree; the root itself is the empty path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreePath(String);

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused path `{path}`: {reason}; the package is malformed, do not install it")]
pub struct TreePathError {
    /// The name, made printable.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl TreePath {
    /// The path without leading slash; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path of the parent and the last component; `None` for the root.
    pub fn split(&self) -> Option<(&str, &str)> {
        match self.0.rsplit_once('/') {
            Some(parts) => Some(parts),
            None if self.is_root() => None,
            None => Some(("", &self.0)),
        }
    }

    /// All directories above this path, the root left out, nearest last.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').filter_map(|(at, _)| self.0.get(..at))
    }

    /// The same path with text added to its last component, as dpkg does with `.dpkg-new`.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        Self(format!("{}{suffix}", self.0))
    }

    /// The path as programs in the tree see it, with leading slash.
    pub fn absolute(&self) -> String {
        format!("/{}", self.0)
    }

    /// The same place with the four directories of the merged `/usr` layout written in full, so that both spellings are equal.
    #[must_use]
    pub fn merged(&self) -> Self {
        let first = self.0.split('/').next().unwrap_or_default();
        if MERGED_DIRECTORIES.contains(&first) && self.0.contains('/') {
            return Self(format!("usr/{}", self.0));
        }
        self.clone()
    }
}

/// Directories of the root that are links into `/usr` on Debian 12 and later.
pub const MERGED_DIRECTORIES: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

impl fmt::Display for TreePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/{}", self.0)
    }
}

impl FromStr for TreePath {
    type Err = TreePathError;

    /// Takes the forms found in packages (`./usr/bin`, `usr/bin`, `./`, `usr/bin/`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| {
            Err(TreePathError { path: text.chars().take(200).collect::<String>().escape_debug().to_string(), reason })
        };
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.starts_with('/') {
            return refuse("it is absolute");
        }
        if text.len() > MAX_PATH_BYTES {
            return refuse("it is longer than 4095 bytes");
        }
        if text.chars().any(char::is_control) {
            return refuse("it holds a control character");
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        let plain = if text == "." { "" } else { text.strip_prefix("./").unwrap_or(text) };
        for name in plain.split('/').filter(|_| !plain.is_empty()) {
            match name {
                "" | "." => return refuse("it holds an empty component"),
                ".." => return refuse("it holds `..`"),
                long if long.len() > MAX_NAME_BYTES => {
                    return refuse("a component is longer than 255 bytes");
                }
                _ => {}
            }
        }
        Ok(Self(plain.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normalises_the_forms_found_in_packages() {
        for (text, wanted) in
            [("./", ""), (".", ""), ("./usr/", "usr"), ("usr/bin/sh", "usr/bin/sh"), ("./a..b/c", "a..b/c")]
        {
            assert_eq!(text.parse::<TreePath>().unwrap().as_str(), wanted);
        }
    }

    #[test]
    fn refuses_names_that_leave_the_tree_or_break_the_database() {
        let long_name = "n".repeat(256);
        let long_path = "n/".repeat(2100);
        for text in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "./..",
            "a/../b",
            "a/..",
            "a//b",
            "./.",
            "a/./b",
            "a\nb",
            "a\0b",
            &long_name,
            &long_path,
        ] {
            assert!(text.parse::<TreePath>().is_err(), "`{text}` was accepted");
        }
    }

    #[test]
    fn knows_both_spellings_of_a_merged_directory() {
        let merged = |text: &str| text.parse::<TreePath>().unwrap().merged().as_str().to_owned();
        assert_eq!(merged("bin/sh"), "usr/bin/sh");
        assert_eq!(merged("lib64/ld.so"), "usr/lib64/ld.so");
        assert_eq!(merged("bin"), "bin");
        assert_eq!(merged("library/x"), "library/x");
    }

    #[test]
    fn lists_ancestors_from_the_top() {
        let path: TreePath = "a/b/c".parse().unwrap();
        assert_eq!(path.ancestors().collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(path.split(), Some(("a/b", "c")));
    }

    proptest! {
        #[test]
        fn accepted_paths_stay_inside(text in "[./a\\\\-]{0,12}") {
            if let Ok(path) = text.parse::<TreePath>() {
                prop_assert!(!path.as_str().starts_with('/'));
                prop_assert!(path.is_root() || path.as_str().split('/').all(|name| !matches!(name, "" | "." | "..")));
            }
        }
    }
}

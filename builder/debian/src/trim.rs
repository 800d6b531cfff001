//! Leaves documentation, manuals and translations out of a tree.
//!
//! A trimmed path is not unpacked and stands neither in `.list` nor in `.md5sums`, so `dpkg -V` of the result is silent
//! (dpkg's own path-exclude keeps the names and reports them as missing). Copyright files stay where the rules end with
//! [`COPYRIGHT_STAYS`], as the default ones do in effect.

use std::str::FromStr;

use crate::tree_path::TreePath;

/// What is left out when the caller names no rules of his own.
pub const DEFAULT_RULES: [&str; 8] = [
    "/usr/share/doc/**",
    "!/usr/share/doc/*",
    "!/usr/share/doc/*/copyright",
    "/usr/share/man/**",
    "/usr/share/info/**",
    "/usr/share/lintian/**",
    "/usr/share/bug/**",
    "/usr/share/locale/*/LC_MESSAGES/**",
];

/// What stays whatever is left out: the licences ask for their texts, and bills of materials read them. Put behind all other rules.
pub const COPYRIGHT_STAYS: [&str; 2] = ["!/usr/share/doc/*", "!/usr/share/doc/*/copyright"];

/// A rule is not a valid pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a trim rule: write an absolute path with `*`, `?` or `**`, with `!` before it for what stays")]
pub struct TrimRuleError(String);

/// A list of rules; the last one that matches a path decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrimRules(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    keep: bool,
    components: Vec<String>,
}

impl TrimRules {
    /// Rules from patterns; a pattern with `!` before it says what stays.
    pub fn parse<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, TrimRuleError> {
        patterns.into_iter().map(str::parse).collect::<Result<_, _>>().map(Self)
    }

    /// The rules of [`DEFAULT_RULES`].
    pub fn defaults() -> Self {
        Self(DEFAULT_RULES.iter().filter_map(|rule| rule.parse().ok()).collect())
    }

    /// True if the path is left out.
    pub fn excludes(&self, path: &TreePath) -> bool {
        let components: Vec<&str> = path.as_str().split('/').filter(|name| !name.is_empty()).collect();
        self.0.iter().rev().find(|rule| matches_path(&rule.components, &components)).is_some_and(|rule| !rule.keep)
    }
}

impl FromStr for Rule {
    type Err = TrimRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (keep, pattern) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let components: Vec<String> =
            pattern.strip_prefix('/').unwrap_or_default().split('/').map(str::to_owned).collect();
        let bad =
            |name: &String| name.is_empty() || name == "." || name == ".." || (name.contains("**") && name != "**");
        if components.iter().any(bad) {
            return Err(TrimRuleError(text.to_owned()));
        }
        Ok(Self { keep, components })
    }
}

/// `**` stands for one or more components at the end and for any number elsewhere.
fn matches_path(pattern: &[String], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, [])) if first == "**" => !path.is_empty(),
        Some((first, rest)) if first == "**" => {
            (0..=path.len()).any(|at| path.get(at..).is_some_and(|tail| matches_path(rest, tail)))
        }
        Some((first, rest)) => path
            .split_first()
            .is_some_and(|(name, tail)| matches_name(first.as_bytes(), name.as_bytes()) && matches_path(rest, tail)),
    }
}

/// Greedy match of `*` and `?` with one point to go back to, so its time is bounded by the product of the lengths.
fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut in_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(in_name) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(wanted) if wanted == byte || *wanted == b'?' => {
                (at, in_name) = (at + 1, in_name + 1);
            }
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, in_name) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn excludes(rules: &TrimRules, path: &str) -> bool {
        rules.excludes(&path.parse().unwrap())
    }

    #[test]
    fn defaults_drop_manuals_and_keep_copyright() {
        let rules = TrimRules::defaults();
        assert_eq!(rules.0.len(), DEFAULT_RULES.len());
        for path in [
            "usr/share/doc/bash/changelog.gz",
            "usr/share/doc/a/examples",
            "usr/share/man/man1",
            "usr/share/man/man1/ls.1.gz",
            "usr/share/locale/de/LC_MESSAGES/ls.mo",
        ] {
            assert!(excludes(&rules, path), "{path} stayed");
        }
        for path in [
            "./",
            "usr",
            "usr/share/doc",
            "usr/share/doc/bash",
            "usr/share/doc/bash/copyright",
            "usr/share/man",
            "usr/share/manx/a",
            "etc/passwd",
        ] {
            assert!(!excludes(&rules, path), "{path} was trimmed");
        }
    }

    #[test]
    fn the_last_matching_rule_decides() {
        let rules = TrimRules::parse(["!/a/b", "/a/*", "!/a/keep*"]).unwrap();
        assert!(excludes(&rules, "a/b"));
        assert!(!excludes(&rules, "a/keeper"));
        assert!(!excludes(&rules, "a/b/c"));
    }

    #[test]
    fn refuses_rules_that_cannot_match() {
        for rule in ["", "usr/share", "/", "//a", "/a/../b", "/a/", "/a/b**", "!a"] {
            assert!(TrimRules::parse([rule]).is_err(), "`{rule}` was accepted");
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_a_simple_matcher(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            fn simple(pattern: &[u8], name: &[u8]) -> bool {
                match (pattern.first(), name.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => simple(&pattern[1..], name) || (!name.is_empty() && simple(pattern, &name[1..])),
                    (Some(b'?'), Some(_)) => simple(&pattern[1..], &name[1..]),
                    (Some(a), Some(b)) if a == b => simple(&pattern[1..], &name[1..]),
                    _ => false,
                }
            }
            prop_assert_eq!(matches_name(pattern.as_bytes(), name.as_bytes()), simple(pattern.as_bytes(), name.as_bytes()));
        }
    }
}

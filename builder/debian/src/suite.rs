//! Suites and components: which parts of the archive an image is made from.
//!
//! Their names become parts of addresses and of file names in the cache, so they can hold no slash that leads elsewhere.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a suite, such as `trixie` or `trixie-security`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SuiteName(Box<str>);

/// The name of a component, such as `main` or `non-free-firmware`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Component(Box<str>);

/// Which of the two base addresses serves a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Site {
    /// The archive proper.
    Archive,
    /// The security archive.
    Security,
}

/// A suite with the site that serves it and the components taken from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// Its name.
    pub name: SuiteName,
    /// Who serves it.
    pub site: Site,
    /// The components to take, in the order given.
    pub components: Vec<Component>,
}

/// Where in the archive a package comes from; written as `trixie/main`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The suite.
    pub suite: SuiteName,
    /// The component.
    pub component: Component,
}

/// The text is not the name of a suite or component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of a {kind}: lower-case letters, digits, `-` and `.`, beginning with a letter")]
pub struct SuiteNameError {
    text: String,
    kind: &'static str,
}

impl Suite {
    /// The suites of one Debian release: itself, its updates and its security suite.
    pub fn of_release(release: &SuiteName, components: &[Component]) -> Vec<Self> {
        let suite = |suffix: &str, site| Self {
            name: SuiteName(format!("{release}{suffix}").into()),
            site,
            components: components.to_vec(),
        };
        vec![suite("", Site::Archive), suite("-updates", Site::Archive), suite("-security", Site::Security)]
    }
}

impl Origin {
    /// Where the package comes from that is in no archive.
    pub(crate) fn placeholder() -> Self {
        Self { suite: SuiteName("casemate".into()), component: Component::main() }
    }
}

impl FromStr for Origin {
    type Err = SuiteNameError;

    fn from_str(text: &str) -> Result<Self, SuiteNameError> {
        let (suite, component) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self { suite: suite.parse()?, component: component.parse()? })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.suite, self.component)
    }
}

impl Component {
    /// The component `main`.
    pub fn main() -> Self {
        Self("main".into())
    }
}

fn check(text: &str, kind: &'static str) -> Result<Box<str>, SuiteNameError> {
    let good = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
    if good && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.len() <= 64 {
        return Ok(text.into());
    }
    Err(SuiteNameError { text: text.chars().take(80).collect(), kind })
}

macro_rules! name_value {
    ($type:ty, $kind:literal) => {
        impl FromStr for $type {
            type Err = SuiteNameError;

            fn from_str(text: &str) -> Result<Self, SuiteNameError> {
                check(text, $kind).map(Self)
            }
        }

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! serde_by_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_value!(SuiteName, "suite");
name_value!(Component, "component");
serde_by_text!(SuiteName);
serde_by_text!(Component);
serde_by_text!(Origin);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_three_suites_and_only_security_has_its_own_site() {
        let suites = Suite::of_release(&"trixie".parse().unwrap(), &[Component::main()]);
        let names: Vec<_> = suites.iter().map(|suite| (suite.name.as_str(), suite.site)).collect();
        let expected =
            [("trixie", Site::Archive), ("trixie-updates", Site::Archive), ("trixie-security", Site::Security)];
        assert_eq!(names, expected);
    }

    #[test]
    fn refuses_names_that_are_paths() {
        for text in ["", "../x", "a/b", ".x", "Trixie", "-x", &"a".repeat(65)] {
            assert!(text.parse::<SuiteName>().is_err() && text.parse::<Component>().is_err(), "{text}");
        }
    }
}

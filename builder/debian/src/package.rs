//! Package names and architectures.
//!
//! Both become parts of file names (`/var/lib/dpkg/info/NAME.list`) and of arguments, so a value of these types can hold
//! neither a slash nor a leading dash nor anything else that Debian Policy 5.6.1 and 5.6.8 do not allow.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a binary package, such as `libc6`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(Box<str>);

/// An architecture, such as `amd64`, or `all`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Architecture(Box<str>);

/// The text is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a package name.
    #[error(
        "`{0}` is not a package name: at least two characters, lower-case letters, digits and `+-.`, beginning with a letter or digit"
    )]
    Package(String),
    /// Not an architecture.
    #[error("`{0}` is not an architecture: lower-case letters, digits and `-`, beginning with a letter or digit")]
    Architecture(String),
}

impl PackageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Architecture {
    /// The 64-bit PC.
    pub fn amd64() -> Self {
        Self("amd64".into())
    }

    /// What packages that run everywhere are of.
    pub(crate) fn all() -> Self {
        Self("all".into())
    }

    /// The architecture as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether packages of it run everywhere.
    pub fn is_all(&self) -> bool {
        &*self.0 == "all"
    }
}

impl FromStr for PackageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_package_name(text) { Ok(Self(text.into())) } else { Err(NameError::Package(shorten(text))) }
    }
}

impl FromStr for Architecture {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = starts_well(text) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if good { Ok(Self(text.into())) } else { Err(NameError::Architecture(shorten(text))) }
    }
}

/// Whether `text` is a package name, for callers that keep the text elsewhere.
pub(crate) fn is_package_name(text: &str) -> bool {
    text.len() >= 2
        && starts_well(text)
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
}

fn starts_well(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! text_value {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_value!(PackageName);
text_value!(Architecture);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_of_the_archive() {
        for name in ["libc6", "g++", "libstdc++6", "0ad", "python3.13", "linux-image-6.12.57+deb13-amd64"] {
            assert_eq!(name.parse::<PackageName>().unwrap().as_str(), name);
        }
        assert!("all".parse::<Architecture>().unwrap().is_all());
    }

    #[test]
    fn refuses_names_that_are_paths_or_options() {
        for name in ["", "a", "-x", "../x", "a/b", "Apache2", "a b", "a\n", ".a", "a_b", "\u{e9}t\u{e9}"] {
            assert!(name.parse::<PackageName>().is_err(), "{name}");
            assert!(name == "a" || name.parse::<Architecture>().is_err(), "{name}");
        }
    }
}

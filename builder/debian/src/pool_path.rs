//! The path of a package file below a base address.
//!
//! It comes from a Packages file or a lock and becomes a part of an address and of a message, so anything that could climb out
//! of the archive or end the path of an address early is refused.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path such as `pool/main/a/apache2/apache2_2.4.62-1_amd64.deb`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolPath(Box<str>);

/// The text is not such a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a path in the archive: expected names joined by `/`, none of them `.` or `..`, of letters, digits and `.+-_~:%`"
)]
pub struct PoolPathError(String);

impl PoolPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` is such a path, for callers that keep the text elsewhere.
pub(crate) fn is_pool_path(text: &str) -> bool {
    let good = |name: &str| {
        !name.is_empty()
            && name != "."
            && name != ".."
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-_~:%".contains(&b))
    };
    text.len() <= 1024 && text.split('/').all(good)
}

impl FromStr for PoolPath {
    type Err = PoolPathError;

    fn from_str(text: &str) -> Result<Self, PoolPathError> {
        if is_pool_path(text) { Ok(Self(text.into())) } else { Err(PoolPathError(text.chars().take(120).collect())) }
    }
}

impl fmt::Display for PoolPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PoolPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PoolPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_paths_that_leave_the_archive() {
        for text in ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a b", "a?b", "a#b", "a\\b", "a\nb", "\u{e9}"] {
            assert!(text.parse::<PoolPath>().is_err(), "{text}");
        }
        let path = "pool/updates/main/l/linux/linux-image-6.12.57+deb13-amd64_6.12.57-1~x_amd64.deb";
        assert_eq!(path.parse::<PoolPath>().unwrap().as_str(), path);
    }
}

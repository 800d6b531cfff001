//! Names of an image and of what it is made of: image, version, kernel version, and the plain file names of the parts. They stand in partition
//! labels, manifests, image definitions and file names.
//!
//! Each has a closed alphabet, so none can climb out of a directory, break a line or hide in a terminal.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{found}` is not {expected}")]
pub struct NameError {
    /// The offending text, shortened.
    pub found: String,
    /// What is allowed.
    pub expected: &'static str,
}

/// Serialises a type through its `Display` and reads it through its `FromStr`, so that there is one door only.
macro_rules! serde_text {
    ($type:ident) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_text;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $expected:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let allowed: fn(&str) -> bool = $allowed;
                if allowed(text) {
                    return Ok(Self(text.to_owned()));
                }
                Err(NameError { found: text.chars().take(80).collect(), expected: $expected })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        serde_text!($type);
    };
}

name!(
    /// The name of an image, e.g. `webhost`.
    ImageName,
    "an image name: 1 to 16 of `a-z`, `0-9` and `-`",
    |text| is_made_of(text, 16, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
);
name!(
    /// The version of an image (UAPI.10 alphabet). Name, version and a suffix must fit in the 36 characters of a GPT name.
    ImageVersion,
    "an image version: 1 to 11 letters, digits, `.`, `~`, `^` and `-`",
    |text| is_made_of(text, 11, |byte| byte.is_ascii_alphanumeric() || b".~^-".contains(&byte))
);
name!(
    /// The release of a kernel as `uname -r` prints it.
    KernelVersion,
    "a kernel version: 1 to 64 letters, digits, `.`, `+`, `~`, `_` and `-`",
    |text| is_made_of(text, 64, |byte| byte.is_ascii_alphanumeric() || b".+~_-".contains(&byte))
);
name!(
    /// The version of a boot loader as Debian numbers it.
    LoaderVersion,
    "a boot loader's version: 1 to 64 letters, digits, `.`, `+`, `~`, `^`, `_`, `:` and `-`",
    |text| is_made_of(text, 64, |byte| byte.is_ascii_alphanumeric() || b".+~^_:-".contains(&byte))
);
name!(
    /// A plain file name: no directory, no leading dot, at most 99 bytes (it must fit in a ustar header). It has the
    /// characters of versions.
    FileName,
    "a plain file name: 1 to 99 letters, digits, `.`, `_`, `-`, `~` and `^`, not starting with a dot or `~`",
    |text| is_made_of(text, 99, |byte| byte.is_ascii_alphanumeric() || b"._-~^".contains(&byte))
        && !text.starts_with(['.', '~'])
);

fn is_made_of(text: &str, longest: usize, allowed: fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= longest && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_file_names_that_leave_the_directory() {
        for bad in
            ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", ".hidden", "~x", "a\n", "a b", &"x".repeat(100)]
        {
            assert!(bad.parse::<FileName>().is_err(), "{bad:?}");
        }
        for good in ["root.erofs", "webhost_0.1.0~rc1^2.tar"] {
            assert_eq!(good.parse::<FileName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn refuses_versions_that_do_not_fit_a_partition_name() {
        assert!("0.1.0~rc1".parse::<ImageVersion>().is_ok());
        for bad in ["", "0.1.0-longer1", "1_0", "1/2", "1 0"] {
            assert!(bad.parse::<ImageVersion>().is_err(), "{bad:?}");
        }
    }
}

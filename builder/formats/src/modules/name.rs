//! Names of kernel modules.

use std::fmt;
use std::str::FromStr;

/// A module name with `_` for every `-`, as the kernel prints it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleName(String);

/// Says why a text is not a [`ModuleName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a module name: use letters, digits, `_`, `-`, `.`, `+` and `:`, without directory or `.ko`")]
pub struct ModuleNameError {
    text: String,
}

/// Endings of a module file, longest first.
const ENDINGS: [&str; 4] = [".ko.zst", ".ko.xz", ".ko.gz", ".ko"];

impl ModuleName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes the name from the path of a module file.
    pub fn from_path(path: &str) -> Result<Self, ModuleNameError> {
        let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
        let stem = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending));
        stem.ok_or_else(|| ModuleNameError { text: path.to_owned() })?.parse()
    }
}

impl FromStr for ModuleName {
    type Err = ModuleNameError;

    fn from_str(text: &str) -> Result<Self, ModuleNameError> {
        // Soft dependencies name aliases too, such as `crypto-ccm(aes)`.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.+:()*,".contains(&byte);
        let is_file = ENDINGS.iter().any(|ending| text.ends_with(ending));
        if text.is_empty() || is_file || !text.bytes().all(allowed) {
            return Err(ModuleNameError { text: text.to_owned() });
        }
        Ok(Self(text.replace('-', "_")))
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

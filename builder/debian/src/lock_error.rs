//! What can be wrong with a lock.

use crate::{
    package::{Architecture, PackageName},
    packages::PackagesError,
    suite::Origin,
};

/// A lock cannot be made, read or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Not a lock file.
    #[error("lock: line {line}: {message}; repair the line, or make the file anew with `casemate lock IMAGE`")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A format of another time.
    #[error(
        "lock: `schema = {0}` is not known to this program, which reads 1 and 2; make the file anew with `casemate lock IMAGE`"
    )]
    Schema(u32),
    /// Packages are not sorted, or one occurs twice.
    #[error("lock: package `{after}` stands after `{before}`; packages are sorted by name and none occurs twice")]
    Order {
        /// The package before.
        before: PackageName,
        /// The package after it.
        after: PackageName,
    },
    /// A package of another architecture.
    #[error("lock: package `{package}` is for `{architecture}`, which is not the architecture of the lock")]
    Architecture {
        /// The package.
        package: PackageName,
        /// Its architecture.
        architecture: Architecture,
    },
    /// A package from a suite or component that the lock does not list.
    #[error("lock: package `{package}` comes from `{origin}`, which no `[[suite]]` of the lock lists")]
    Origin {
        /// The package.
        package: PackageName,
        /// Where it says it comes from.
        origin: Origin,
    },
    /// The index is malformed.
    #[error(transparent)]
    Packages(#[from] PackagesError),
    /// The lock cannot be written as text.
    #[error("cannot write the lock: {0}")]
    Render(String),
}

impl LockError {
    pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        Self::Syntax { line: before.matches('\n').count() + 1, message: error.message().to_owned() }
    }
}

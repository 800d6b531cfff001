//! Why no set of packages could be found, as a chain that a person can follow.

use std::fmt;

use crate::{dependency::Alternatives, packages::PackagesError};

/// No set of packages satisfies what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The index is malformed.
    #[error(transparent)]
    Packages(#[from] PackagesError),
    /// Wanted names that are no package.
    #[error("{}", join(.0))]
    Unknown(Vec<UnknownName>),
    /// Dependencies or conflicts that cannot be met.
    #[error("{}", join(.0))]
    Unsatisfiable(Vec<Cause>),
}

/// A wanted name that is no package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownName {
    /// Nothing has this name.
    #[error("no package is named `{name}`{}", suggest(.similar))]
    Missing {
        /// The name.
        name: String,
        /// Packages with a similar name.
        similar: Vec<String>,
    },
    /// Several packages provide it.
    #[error("`{name}` is a virtual package; name one of its providers: {}", quote(.providers))]
    Virtual {
        /// The name.
        name: String,
        /// Its providers.
        providers: Vec<String>,
    },
}

/// Why a package cannot be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A dependency cannot be met.
    Unmet {
        /// The package.
        package: String,
        /// What it needs.
        dependency: String,
        /// Why the first package that would do cannot be installed; none when nothing provides it.
        deeper: Option<Box<Cause>>,
    },
    /// Two packages exclude each other.
    Conflict {
        /// The package that cannot be installed.
        package: String,
        /// The one in its way.
        with: String,
    },
}

impl Cause {
    pub(crate) fn unmet(package: &str, dependency: &Alternatives, deeper: Option<Self>) -> Self {
        Self::Unmet { package: package.into(), dependency: dependency.to_string(), deeper: deeper.map(Box::new) }
    }

    pub(crate) fn conflict(package: &str, with: &str) -> Self {
        Self::Conflict { package: package.into(), with: with.into() }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmet { package, dependency, deeper: None } => {
                write!(f, "`{package}` needs `{dependency}`, which nothing provides")
            }
            Self::Unmet { package, dependency, deeper: Some(deeper) } => {
                write!(f, "`{package}` needs `{dependency}`, but {deeper}")
            }
            Self::Conflict { package, with } => {
                write!(f, "`{package}` conflicts with `{with}`, which is needed too: leave one of them out")
            }
        }
    }
}

fn join<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn quote(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn suggest(similar: &[String]) -> String {
    if similar.is_empty() {
        "; check its spelling and the components".into()
    } else {
        format!("; did you mean {}?", quote(similar))
    }
}

//! What can be wrong with a `Packages` file.

use crate::control::ControlProblem;

/// A `Packages` file is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Packages of {origin}: line {line}: {problem}; the archive is damaged, try another mirror")]
pub struct PackagesError {
    /// Which file, as `suite/component`.
    pub origin: Box<str>,
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub problem: PackagesProblem,
}

/// What is wrong with a paragraph of a `Packages` file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackagesProblem {
    /// Not control syntax.
    #[error(transparent)]
    Control(#[from] ControlProblem),
    /// A field is missing.
    #[error("a package without the field `{0}`")]
    Missing(&'static str),
    /// A field is malformed.
    #[error(transparent)]
    Field(#[from] Box<FieldProblem>),
    /// More than 4 GiB of text.
    #[error("the indexes are larger than 4 GiB")]
    TooLarge,
}

/// What is wrong with a field; kept in a box because it is four texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("package `{package}`: `{field}: {value}`: {reason}")]
pub struct FieldProblem {
    /// The package.
    pub package: String,
    /// The field.
    pub field: String,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

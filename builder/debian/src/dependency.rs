//! Relations between packages: `Depends`, `Provides`, `Conflicts` and their kin.
//!
//! Syntax of Debian Policy 7.1 as it occurs in binary packages; architecture lists and build profiles belong to source packages
//! and are refused. What a relation means against a set of packages is the resolver's business.

use std::{cmp::Ordering, fmt, str::FromStr};

use crate::{
    package::{NameError, PackageName},
    version::{DebVersion, VersionError},
};

/// A list of relations, all of which count: `a (>= 1), b | c`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dependencies(pub Vec<Alternatives>);

/// Relations of which one is enough: `b | c`; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternatives(pub Vec<Relation>);

/// One package named in a relation: `libc6:any (>= 2.38)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The package, real or virtual.
    pub name: PackageName,
    /// What stands after a colon: `any`, `native` or an architecture.
    pub qualifier: Option<String>,
    /// The versions that count, all when absent.
    pub constraint: Option<Constraint>,
}

/// A bound on a version: `(>= 2.38)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// How the version at hand must compare.
    pub operator: Operator,
    /// What it is compared with.
    pub version: DebVersion,
}

/// A comparison of Policy 7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// The text is not a relation field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// A name in it is malformed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A version in it is malformed.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The rest is malformed.
    #[error("`{relation}` is not a relation: {reason}")]
    Syntax {
        /// The relation.
        relation: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Constraint {
    /// Whether `version` is within the bound.
    pub fn accepts(&self, version: &DebVersion) -> bool {
        let order = version.cmp(&self.version);
        match self.operator {
            Operator::Earlier => order == Ordering::Less,
            Operator::EarlierOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::LaterOrEqual => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }
}

impl FromStr for Dependencies {
    type Err = DependencyError;

    fn from_str(text: &str) -> Result<Self, DependencyError> {
        let groups = text.split(',').map(str::trim);
        // An empty element is left where a build removed a generated one; dpkg passes over it too.
        groups.filter(|group| !group.is_empty()).map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Alternatives {
    type Err = DependencyError;

    fn from_str(text: &str) -> Result<Self, DependencyError> {
        text.split('|').map(|relation| relation.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Relation {
    type Err = DependencyError;

    fn from_str(text: &str) -> Result<Self, DependencyError> {
        let syntax = |reason| DependencyError::Syntax { relation: text.chars().take(80).collect(), reason };
        let end = text.find(|c: char| c == '(' || c.is_ascii_whitespace()).unwrap_or(text.len());
        let (head, tail) = text.split_at(end);
        let (name, qualifier) = head.split_once(':').map_or((head, None), |(name, q)| (name, Some(q)));
        if qualifier.is_some_and(str::is_empty) {
            return Err(syntax("nothing after the colon"));
        }
        let tail = tail.trim();
        let constraint = if tail.is_empty() {
            None
        } else {
            let inner = tail.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
            Some(parse_constraint(
                inner.ok_or_else(|| syntax("expected `(operator version)` after the name"))?,
                syntax,
            )?)
        };
        Ok(Self { name: name.parse()?, qualifier: qualifier.map(str::to_owned), constraint })
    }
}

fn parse_constraint(
    text: &str,
    syntax: impl Fn(&'static str) -> DependencyError,
) -> Result<Constraint, DependencyError> {
    let text = text.trim();
    let end = text.find(|c| !"<>=".contains(c)).unwrap_or(text.len());
    let (operator, version) = text.split_at(end);
    let operator = match operator {
        "<<" => Operator::Earlier,
        // A lone `<` or `>` means "or equal" in old packages (dpkg keeps this meaning).
        "<=" | "<" => Operator::EarlierOrEqual,
        "=" => Operator::Equal,
        ">=" | ">" => Operator::LaterOrEqual,
        ">>" => Operator::Later,
        _ => return Err(syntax("the operator is none of `<< <= = >= >>`")),
    };
    Ok(Constraint { operator, version: version.trim().parse()? })
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(qualifier) = &self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match &self.constraint {
            Some(Constraint { operator, version }) => write!(f, " ({operator} {version})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Alternatives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_joined(f, &self.0, " | ")
    }
}

impl fmt::Display for Dependencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_joined(f, &self.0, ", ")
    }
}

fn write_joined<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T], separator: &str) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if at == 0 { "" } else { separator })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_archive_writes() {
        let text = "libc6 (>= 2.38), default-mta | mail-transport-agent,\n python3:any (<< 3.14), perl(>=5.40), ";
        let parsed: Dependencies = text.parse().unwrap();
        let canonical = "libc6 (>= 2.38), default-mta | mail-transport-agent, python3:any (<< 3.14), perl (>= 5.40)";
        assert_eq!(parsed.to_string(), canonical);
        assert_eq!(canonical.parse::<Dependencies>().unwrap(), parsed);
        assert_eq!("".parse::<Dependencies>().unwrap(), Dependencies::default());
    }

    #[test]
    fn refuses_malformed_relations() {
        for text in [
            "a1 |",
            "| a1",
            "a1 (1.0)",
            "a1 (>= )",
            "a1 (>= 1.0",
            "a1 >= 1.0",
            "a1 [amd64]",
            "a1 <!nocheck>",
            "a1: (= 1)",
            "A1",
            "a1 (== 1)",
        ] {
            assert!(text.parse::<Dependencies>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_operator_accepts_its_versions() {
        for (bound, accepted) in
            [("<< 2", "1"), ("<= 2", "12"), ("= 2", "2"), (">= 2", "23"), (">> 2", "3"), ("< 2", "12"), ("> 2", "23")]
        {
            let relation: Relation = format!("xx ({bound})").parse().unwrap();
            for version in ["1", "2", "3"] {
                let accepts = relation.constraint.as_ref().unwrap().accepts(&version.parse().unwrap());
                assert_eq!(accepts, accepted.contains(version), "{version} {bound}");
            }
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_display_round_trips(text in "[a-c0-2:|,()<>=~. \u{e9}-]{0,60}") {
            if let Ok(parsed) = text.parse::<Dependencies>() {
                prop_assert_eq!(parsed.to_string().parse::<Dependencies>().unwrap(), parsed);
            }
        }
    }
}

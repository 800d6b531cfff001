//! What unpacking has to know of a package from its control file, parsed once.
//!
//! Pure: text in, values out. The control text itself goes into the dpkg database unchanged, see [`crate::dpkg_db`].

use std::str::FromStr;

use crate::control::{ControlError, Paragraph, Paragraphs};
use crate::dependency::{Dependencies, DependencyError};
use crate::package::PackageName;
use crate::version::DebVersion;

/// Why a control file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// Not control syntax.
    #[error("the control file is malformed, do not install the package")]
    Syntax(#[from] ControlError),
    /// Not exactly one paragraph.
    #[error("the control file must hold exactly one paragraph; the package is malformed, do not install it")]
    Paragraphs,
    /// A field is missing or its value is not allowed.
    #[error("the control field `{field}` is missing or malformed: `{value}`; do not install the package")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value, shortened.
        value: String,
    },
    /// A relation field is malformed.
    #[error("the control field `{field}` is malformed; do not install the package")]
    Relation {
        /// Name of the field.
        field: &'static str,
        /// What is wrong.
        #[source]
        source: DependencyError,
    },
}

/// Name, version and relations of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFacts {
    /// `Package`.
    pub name: PackageName,
    /// `Version`.
    pub version: DebVersion,
    /// `Architecture`.
    pub architecture: String,
    /// True for `Multi-Arch: same`, whose database files carry the architecture in their name.
    pub same: bool,
    /// True for `Essential: yes`.
    pub essential: bool,
    /// `Pre-Depends`.
    pub pre_depends: Dependencies,
    /// `Depends`.
    pub depends: Dependencies,
    /// `Replaces`.
    pub replaces: Dependencies,
    /// Names from `Provides`.
    pub provides: Vec<PackageName>,
}

impl PackageFacts {
    /// Name of the package's files in the dpkg database: the name, with `:ARCH` for `Multi-Arch: same`.
    pub fn info_name(&self) -> String {
        if self.same { format!("{}:{}", self.name.as_str(), self.architecture) } else { self.name.as_str().to_owned() }
    }

    /// True if the package may take over files of another one (Debian Policy 7.6.1).
    pub fn may_replace(&self, other: &Self) -> bool {
        let fits = |relation: &crate::dependency::Relation| {
            relation.name == other.name
                && relation.constraint.as_ref().is_none_or(|constraint| constraint.accepts(&other.version))
        };
        self.replaces.0.iter().any(|alternatives| alternatives.0.iter().any(fits))
    }
}

impl FromStr for PackageFacts {
    type Err = FactsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let paragraphs: Vec<Paragraph<'_>> = Paragraphs::new(text).collect::<Result<_, _>>()?;
        let [paragraph] = paragraphs.as_slice() else {
            return Err(FactsError::Paragraphs);
        };
        let architecture = paragraph.get("Architecture").unwrap_or_default();
        if architecture.is_empty() || !architecture.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(bad("Architecture", architecture));
        }
        let provides = relations(paragraph, "Provides")?;
        Ok(Self {
            name: parsed(paragraph, "Package")?,
            version: parsed(paragraph, "Version")?,
            architecture: architecture.to_owned(),
            same: paragraph.get("Multi-Arch") == Some("same"),
            essential: paragraph.get("Essential") == Some("yes"),
            pre_depends: relations(paragraph, "Pre-Depends")?,
            depends: relations(paragraph, "Depends")?,
            replaces: relations(paragraph, "Replaces")?,
            provides: provides.0.into_iter().flat_map(|group| group.0).map(|relation| relation.name).collect(),
        })
    }
}

fn parsed<T: FromStr>(paragraph: &Paragraph<'_>, field: &'static str) -> Result<T, FactsError> {
    let value = paragraph.get(field).unwrap_or_default();
    value.parse().map_err(|_| bad(field, value))
}

fn relations(paragraph: &Paragraph<'_>, field: &'static str) -> Result<Dependencies, FactsError> {
    paragraph.get(field).unwrap_or_default().parse().map_err(|source| FactsError::Relation { field, source })
}

fn bad(field: &'static str, value: &str) -> FactsError {
    FactsError::Field { field, value: value.chars().take(80).collect::<String>().escape_debug().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> PackageFacts {
        text.parse().unwrap()
    }

    #[test]
    fn names_database_files_of_same_packages_with_their_architecture() {
        let text = "Package: libx\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\nProvides: liby (= 2), libz\n";
        assert_eq!(facts(text).info_name(), "libx:amd64");
        assert_eq!(facts(text).provides.len(), 2);
        assert_eq!(facts(&text.replace("same", "foreign")).info_name(), "libx");
    }

    #[test]
    fn replaces_respects_the_version() {
        let new = facts("Package: new\nVersion: 2\nArchitecture: all\nReplaces: old (<< 2), other\n");
        let old = |version: &str| facts(&format!("Package: old\nVersion: {version}\nArchitecture: all\n"));
        assert!(new.may_replace(&old("1.9")));
        assert!(!new.may_replace(&old("2")));
    }

    #[test]
    fn refuses_control_files_that_would_break_the_database() {
        for text in [
            "",
            "Package: a\nVersion: 1\n",
            "Package: a\nArchitecture: all\n",
            "Package: ../a\nVersion: 1\nArchitecture: all\n",
            "Package: a\nVersion: 1\nArchitecture: a/b\n",
            "Package: a\nVersion: 1\nArchitecture: all\n\nPackage: b\nVersion: 1\nArchitecture: all\n",
            "Package: a\nVersion: 1\nArchitecture: all\nDepends: (>= 1)\n",
        ] {
            assert!(text.parse::<PackageFacts>().is_err(), "accepted: {text}");
        }
    }
}

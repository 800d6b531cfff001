//! The formats of a version's state: `/usr/lib/casemate/state-formats.toml` (`docs/formats/artifacts.md`).
//!
//! The builder writes it from `format` of `[[state]]`, the agent compares it with what another version left. Both with this type.

use std::fmt::Write as _;

use crate::document::read;
use crate::mistake::Mistakes;
use crate::names::{AbsolutePath, Line, PackageName};
use crate::overlay_set::OverlaySet;

/// What decides in which format a directory of state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatRule {
    /// A name that whoever changes the format changes as well.
    Named(Line),
    /// The first numbers of a package's upstream version: `11.8` of `1:11.8.3-0+deb13u1`.
    Package {
        /// The package whose programs write there.
        package: PackageName,
        /// How many numbers, from 1 to 4.
        numbers: u8,
    },
}

/// A directory of the host whose content only versions with the same format can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormattedState {
    /// The directory.
    pub path: AbsolutePath,
    /// Its format; equal texts are equal formats.
    pub format: Line,
    /// Whether copy-on-write is off there.
    pub nocow: bool,
}

/// All of a version, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateFormats(Vec<FormattedState>);

/// A rule that names a package which is not there, or whose version has no numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the format of `{path}` is that of package `{package}`, of which the image has no version with numbers")]
pub struct NoFormat {
    path: AbsolutePath,
    package: PackageName,
}

impl StateFormats {
    /// Applies the rules of the overlays. `version_of` gives the version of a package in the image.
    pub fn of(overlays: &OverlaySet, version_of: impl Fn(&PackageName) -> Option<String>) -> Result<Self, NoFormat> {
        let rows = overlays.iter().flat_map(|overlay| &overlay.def.state);
        let ruled = rows.filter_map(|row| Some((row.path.literal()?, row.format.as_ref()?, row.nocow)));
        let formatted = ruled.map(|(path, rule, nocow)| {
            Ok(FormattedState { path: path.clone(), format: format_of(path, rule, &version_of)?, nocow })
        });
        let mut found = formatted.collect::<Result<Vec<_>, _>>()?;
        found.sort_by(|one, other| one.path.as_str().cmp(other.path.as_str()));
        Ok(Self(found))
    }

    /// Reads the file. `name` is how messages call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistakes> {
        read(name, text, |root| {
            root.allow(&["schema", "state"]);
            root.schema(1);
            let rows = root.sections("state").into_iter().filter_map(|row| {
                row.allow(&["path", "format", "nocow"]);
                let (path, format, nocow) = (row.text("path"), row.text("format"), row.flag("nocow"));
                Some(FormattedState { path: path?, format: format?, nocow })
            });
            Some(Self(rows.collect()))
        })
    }

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        let mut text = String::from("schema = 1\n");
        for FormattedState { path, format, nocow } in &self.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n[[state]]\npath = \"{path}\"\nformat = \"{format}\"\nnocow = {nocow}");
        }
        text
    }

    /// Each directory, by path.
    pub fn iter(&self) -> impl Iterator<Item = &FormattedState> {
        self.0.iter()
    }

    /// Whether no directory has one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn format_of(
    path: &AbsolutePath,
    rule: &FormatRule,
    version_of: &impl Fn(&PackageName) -> Option<String>,
) -> Result<Line, NoFormat> {
    match rule {
        FormatRule::Named(name) => Ok(name.clone()),
        FormatRule::Package { package, numbers } => {
            let format = version_of(package).and_then(|version| first_numbers(package, &version, *numbers));
            format.ok_or_else(|| NoFormat { path: path.clone(), package: package.clone() })
        }
    }
}

/// `[epoch:]upstream[-revision]` (Debian policy 5.6.12); fewer numbers than are wanted are no format.
fn first_numbers(package: &PackageName, version: &str, wanted: u8) -> Option<Line> {
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    let upstream = upstream.rsplit_once('-').map_or(upstream, |(upstream, _)| upstream);
    let plain = upstream.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    let numbers: Vec<&str> =
        plain.split('.').take(usize::from(wanted)).take_while(|number| !number.is_empty()).collect();
    let all = (numbers.len() == usize::from(wanted)).then(|| numbers.join("."))?;
    format!("{package} {all}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_of_a_version_are_a_format() {
        let package: PackageName = "mariadb-server-core".parse().unwrap();
        let format = |version: &str, wanted| first_numbers(&package, version, wanted).map(|line| line.to_string());
        for (version, wanted, expected) in [
            ("1:11.8.3-0+deb13u1", 2, Some("mariadb-server-core 11.8")),
            ("11.8.3", 2, Some("mariadb-server-core 11.8")),
            ("12.0~rc1-2", 1, Some("mariadb-server-core 12")),
            ("12.0~rc1-2", 2, Some("mariadb-server-core 12.0")),
            ("4.5-rc.1-1", 3, None),
            ("7", 2, None),
            ("git2026", 1, None),
        ] {
            assert_eq!(format(version, wanted).as_deref(), expected, "{version} {wanted}");
        }
    }

    #[test]
    fn what_the_builder_writes_the_agent_reads() {
        let state = |path: &str, nocow| FormattedState {
            path: path.parse().unwrap(),
            format: "ledger 2".parse().unwrap(),
            nocow,
        };
        let formats = StateFormats(vec![state("/var/lib/a", false), state("/var/lib/b", true)]);
        assert_eq!(StateFormats::parse("x", &formats.to_toml()).unwrap(), formats);
        assert!(StateFormats::parse("x", "schema = 1\n").unwrap().is_empty());
    }
}

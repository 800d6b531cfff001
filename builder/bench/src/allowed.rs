//! The differences that are understood and harmless: rows of a file, each with its reason. A row that fits nothing is a fault.

use anyhow::{Context as _, Result};
use debian::trim::TrimRules;
use serde::Deserialize;

use crate::difference::{Difference, Respect};
use crate::listing::is_trimmed;

/// The rows of the file.
#[derive(Debug)]
pub struct Allowed(Vec<Row>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    allowed: Vec<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    path: String,
    respect: Respect,
    reason: String,
    /// The one image in which the difference shows; all, where none is named.
    image: Option<String>,
}

#[derive(Debug)]
struct Row {
    text: Text,
    rules: TrimRules,
}

/// What is left when the rows are applied.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Differences that no row allows.
    pub faults: Vec<Difference>,
    /// Rows that fit no difference, by path and respect.
    pub unused: Vec<String>,
}

impl Allowed {
    /// Reads the file, and of it the rows for one image.
    pub fn parse(text: &str, image: &str) -> Result<Self> {
        let file: File = toml::from_str(text).context("the list of allowed differences is malformed")?;
        let rows = file.allowed.into_iter().filter(|row| row.image.as_ref().is_none_or(|name| name == image));
        let rows = rows.map(|text| {
            anyhow::ensure!(!text.reason.trim().is_empty(), "`{}` has no reason", text.path);
            Ok(Row { rules: TrimRules::parse([text.path.as_str()])?, text })
        });
        Ok(Self(rows.collect::<Result<_>>()?))
    }

    /// Which differences are not allowed, and which rows are not needed.
    pub fn judge(&self, differences: &[Difference]) -> Result<Verdict> {
        let mut used = vec![false; self.0.len()];
        let mut verdict = Verdict::default();
        for difference in differences {
            let mut fits = false;
            for (row, used) in self.0.iter().zip(&mut used) {
                if row.text.respect == difference.respect && is_trimmed(&row.rules, &difference.path)? {
                    (fits, *used) = (true, true);
                }
            }
            if !fits {
                verdict.faults.push(difference.clone());
            }
        }
        let unused = self.0.iter().zip(used).filter(|(_, used)| !used);
        verdict.unused = unused.map(|(row, _)| format!("{} ({:?})", row.text.path, row.text.respect)).collect();
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "[[allowed]]\npath = \"/dev/*\"\nrespect = \"only-theirs\"\nreason = \"made at boot\"\n\
        [[allowed]]\npath = \"/etc/x\"\nrespect = \"content\"\nreason = \"y\"\nimage = \"webhost\"\n";

    fn difference(path: &str, respect: Respect) -> Difference {
        Difference { path: path.into(), respect, detail: String::new() }
    }

    #[test]
    fn a_row_allows_its_path_in_its_respect_only() {
        let allowed = Allowed::parse(LIST, "minimal").unwrap();
        let found = [
            difference("/dev/null", Respect::OnlyTheirs),
            difference("/dev/null", Respect::Mode),
            difference("/dev/a/b", Respect::OnlyTheirs),
        ];
        let verdict = allowed.judge(&found).unwrap();
        assert_eq!(verdict, Verdict { faults: found[1..].to_vec(), unused: Vec::new() });
    }

    #[test]
    fn a_row_that_fits_nothing_is_told() {
        let allowed = Allowed::parse(LIST, "webhost").unwrap();
        let verdict = allowed.judge(&[difference("/dev/null", Respect::OnlyTheirs)]).unwrap();
        assert_eq!(verdict.unused, ["/etc/x (Content)"]);
    }

    #[test]
    fn a_row_without_a_reason_is_refused() {
        assert!(Allowed::parse(&LIST.replace("made at boot", " "), "minimal").is_err());
        assert!(Allowed::parse(&LIST.replace("reason", "because"), "minimal").is_err());
    }
}

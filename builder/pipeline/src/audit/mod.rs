//! The audit: which packages of an image have vulnerabilities that Debian has fixed since.
//!
//! Debian's security tracker speaks of source packages; an output directory knows them exactly by its bill of materials, a lock alone by
//! the pool's folders. Nothing here asks the network: the caller brings the tracker's data.

mod sources;
#[cfg(test)]
mod tests;
mod tracker;

use std::collections::BTreeMap;

use anyhow::Result;
use debian::version::DebVersion;
use serde::Serialize;
use tools::Failure;

pub use sources::{Audited, read_target};

/// A vulnerability that a newer version of the package does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fixed {
    /// Source package.
    pub source: String,
    /// Its version in the image.
    pub version: String,
    /// The tracker's name of the vulnerability, e.g. `CVE-2026-0001`.
    pub issue: String,
    /// The first version without it.
    pub fixed_version: String,
    /// How urgent Debian calls it.
    pub urgency: String,
    /// The packages of the image that are built from it.
    pub packages: Vec<String>,
}

/// What the tracker says of an image.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Debian's release.
    pub suite: String,
    /// Number of source packages that were looked up.
    pub sources: usize,
    /// What a newer version mends, by source package.
    pub fixed: Vec<Fixed>,
    /// Number of vulnerabilities without a fixed version, by urgency.
    pub open: BTreeMap<String, usize>,
    /// Number of those that Debian has not judged yet.
    pub undetermined: usize,
}

/// Compares the source packages with the tracker's data (JSON, as `tracker/data/json` of Debian's security tracker has it).
pub fn audit(audited: &Audited, tracker: &[u8]) -> Result<Report> {
    let issues = tracker::read(tracker, audited)?;
    if issues.values().all(BTreeMap::is_empty) {
        let message = format!("the tracker's data say nothing of any package of this image in `{}`", audited.suite);
        return Err(Failure::refused(message).hint("give the whole data of Debian's security tracker").into());
    }
    let mut report = Report {
        suite: audited.suite.clone(),
        sources: audited.sources.len(),
        fixed: Vec::new(),
        open: BTreeMap::new(),
        undetermined: 0,
    };
    for ((source, version), packages) in &audited.sources {
        for (issue, state) in issues.get(source).into_iter().flatten() {
            let urgency = state.urgency.clone().unwrap_or_else(|| "not yet assigned".into());
            match state.status.as_str() {
                "resolved" if is_older(version, state.fixed_version.as_deref().unwrap_or("0"))? => {
                    report.fixed.push(Fixed {
                        source: source.clone(),
                        version: version.clone(),
                        issue: issue.clone(),
                        fixed_version: state.fixed_version.clone().unwrap_or_default(),
                        urgency,
                        packages: packages.iter().cloned().collect(),
                    });
                }
                "resolved" => {}
                "open" => *report.open.entry(urgency).or_default() += 1,
                _ => report.undetermined += 1,
            }
        }
    }
    report.fixed.sort();
    Ok(report)
}

/// The tracker writes version 0 for "never had it", which no version is older than.
fn is_older(version: &str, fixed: &str) -> Result<bool> {
    Ok(version.parse::<DebVersion>()? < fixed.parse::<DebVersion>()?)
}

impl Report {
    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.fixed {
            text.push_str(&format!(
                "{} {}: {} is fixed in {} (urgency: {}; packages: {})\n",
                row.source,
                row.version,
                row.issue,
                row.fixed_version,
                row.urgency,
                row.packages.join(", ")
            ));
        }
        let open: usize = self.open.values().sum();
        let by_urgency: Vec<String> = self.open.iter().map(|(urgency, count)| format!("{count} {urgency}")).collect();
        let by_urgency = if open == 0 { String::new() } else { format!(" ({})", by_urgency.join(", ")) };
        text + &format!(
            "{} source packages of {}: {} fixed vulnerabilities, {open} open ones{by_urgency}, {} not judged yet",
            self.sources,
            self.suite,
            self.fixed.len(),
            self.undetermined
        )
    }
}

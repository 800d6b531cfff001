//! The data of Debian's security tracker: source package, vulnerability, release, state. Only what is asked for is kept, because the whole is
//! far larger than what an image needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Result;
use serde::Deserialize;
use serde::de::{DeserializeSeed as _, Deserializer, IgnoredAny, MapAccess, Visitor};
use tools::failure::HintExt as _;

use super::Audited;

/// What the tracker says of one vulnerability in one release.
#[derive(Debug, Deserialize)]
pub(super) struct State {
    /// `resolved`, `open` or `undetermined`.
    pub(super) status: String,
    /// The first version without it; `0` where the release never had it.
    pub(super) fixed_version: Option<String>,
    /// How urgent it is.
    pub(super) urgency: Option<String>,
}

#[derive(Deserialize)]
struct Issue {
    #[serde(default)]
    releases: BTreeMap<String, State>,
}

/// Vulnerabilities by source package and name.
pub(super) type Issues = BTreeMap<String, BTreeMap<String, State>>;

/// Keeps the audited packages in the audited release.
pub(super) fn read(data: &[u8], audited: &Audited) -> Result<Issues> {
    let wanted = audited.sources.keys().map(|(source, _)| source.as_str()).collect();
    let mut input = serde_json::Deserializer::from_slice(data);
    let wanted = Wanted { sources: wanted, suite: &audited.suite };
    let issues = wanted.deserialize(&mut input).and_then(|issues| input.end().map(|()| issues));
    issues.or_refuse("give the JSON data of Debian's security tracker, whole and unpacked")
}

struct Wanted<'a> {
    sources: BTreeSet<&'a str>,
    suite: &'a str,
}

impl<'de> serde::de::DeserializeSeed<'de> for Wanted<'_> {
    type Value = Issues;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Issues, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Issues;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of source packages")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Issues, A::Error> {
        let mut found = Issues::new();
        while let Some(source) = map.next_key::<String>()? {
            if !self.sources.contains(source.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let issues: BTreeMap<String, Issue> = map.next_value()?;
            let here = |(name, mut issue): (String, Issue)| Some((name, issue.releases.remove(self.suite)?));
            found.insert(source, issues.into_iter().filter_map(here).collect());
        }
        Ok(found)
    }
}

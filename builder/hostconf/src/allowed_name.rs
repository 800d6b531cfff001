//! A name that a site may ask for through the proxy: one host, or with a leading dot a domain and all below it.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::domain_name::DomainName;
use crate::names::ValueError;

/// What the type accepts, for messages.
const EXPECTED: &str =
    "a name that PHP may reach: `api.example.com`, or `.example.com` for the domain and all below it";

/// What `WordPress` itself asks: versions, plugins, themes, news, emoji.
pub(crate) const OF_WORDPRESS: [&str; 4] =
    ["api.wordpress.org", "downloads.wordpress.org", "planet.wordpress.org", "s.w.org"];

/// A host, or a domain and all below it. Written as Squid's `dstdomain` wants it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllowedName {
    name: DomainName,
    below: bool,
}

impl AllowedName {
    /// One host.
    pub(crate) fn host(name: &DomainName) -> Self {
        Self { name: name.clone(), below: false }
    }

    /// Whether whoever may reach this may reach `other` as well.
    pub fn covers(&self, other: &Self) -> bool {
        if self.below { other.name.is_within(&self.name) } else { !other.below && self.name == other.name }
    }
}

impl FromStr for AllowedName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (below, name) = text.strip_prefix('.').map_or((false, text), |name| (true, name));
        let name: DomainName = name.parse().map_err(|_| ValueError::new(text, EXPECTED))?;
        Ok(Self { name, below })
    }
}

impl fmt::Display for AllowedName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", if self.below { "." } else { "" }, self.name)
    }
}

impl Serialize for AllowedName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The names without those that others cover, sorted: Squid refuses a list that says something twice.
pub(crate) fn least(names: impl IntoIterator<Item = AllowedName>) -> Vec<AllowedName> {
    let all: std::collections::BTreeSet<AllowedName> = names.into_iter().collect();
    let covered = |name: &AllowedName| all.iter().any(|other| other != name && other.covers(name));
    all.iter().filter(|name| !covered(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<AllowedName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn reads_hosts_and_domains_and_writes_them_back() {
        for text in ["api.example.com", ".example.com"] {
            assert_eq!(text.parse::<AllowedName>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            ".",
            "..example.com",
            "*.example.com",
            "https://example.com",
            "example.com/x",
            "192.0.2.1",
            "a b",
            ".com",
        ] {
            assert!(bad.parse::<AllowedName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_domain_covers_itself_and_all_below_it() {
        let kept = least(names(&[
            "www.example.com",
            ".example.com",
            "example.com",
            "example.org",
            "example.org",
            ".a.example.com",
        ]));
        assert_eq!(kept, names(&[".example.com", "example.org"]));
        assert_eq!(least(names(&["example.com", "notexample.com"])).len(), 2);
    }
}

//! Domain names as hosts use them (RFC 1035 2.3.1, RFC 1123 2.1): lower-case letters, digits and hyphens.
//!
//! Names in other scripts are written in their ASCII form (`xn--...`, RFC 5890); this file does not translate them.

use std::str::FromStr;

use crate::names::{ValueError, text_type};

/// What the type accepts, for messages.
const EXPECTED: &str = "a domain name: two or more labels of `a-z`, `0-9` and `-`, in lower case, without a dot at the end; other scripts as `xn--...`";

/// A fully qualified domain name of at least two labels, without the final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

text_type!(DomainName);

impl DomainName {
    /// Whether this is `parent` or a name below it.
    pub fn is_within(&self, parent: &Self) -> bool {
        self.0.strip_suffix(&parent.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for DomainName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let labels: Vec<&str> = text.split('.').collect();
        // A last label of digits would make the name look like an address (RFC 1123 2.1).
        let numeric_end = labels.last().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if text.len() <= 253 && labels.len() >= 2 && !numeric_end && labels.into_iter().all(is_label) {
            return Ok(Self(text.to_owned()));
        }
        Err(ValueError::new(text, EXPECTED))
    }
}

fn is_label(label: &str) -> bool {
    let letters = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    // Two hyphens in places three and four are reserved (RFC 5891 4.2.3.1); only the ASCII form of another script has them.
    let reserved = label.get(2..4) == Some("--") && !label.starts_with("xn--");
    (1..=63).contains(&label.len()) && letters && !reserved && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_host_names_only() {
        for good in ["example.org", "a.b", "xn--bcher-kva.example", "3com.com", &format!("{}.org", "a".repeat(63))] {
            assert!(good.parse::<DomainName>().is_ok(), "{good}");
        }
        let long = format!("{}.org", "a".repeat(64));
        for bad in [
            "",
            "localhost",
            "Example.org",
            "example.org.",
            "-a.org",
            "a-.org",
            "a..org",
            "ab--c.org",
            "192.0.2.1",
            "a_b.org",
            "bücher.de",
            &long,
        ] {
            assert!(bad.parse::<DomainName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_within_its_own_domain_only() {
        let name = |text: &str| text.parse::<DomainName>().unwrap();
        assert!(name("www.example.org").is_within(&name("example.org")));
        assert!(name("example.org").is_within(&name("example.org")));
        assert!(!name("badexample.org").is_within(&name("example.org")));
    }
}

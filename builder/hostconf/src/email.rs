//! E-mail addresses, in the part of RFC 5321 that people use: a dot-atom without quoting, at a domain name.
//!
//! Characters that mean something to a shell, to PHP or to a mail server's configuration are refused although the RFC has them.

use std::str::FromStr;

use crate::domain_name::DomainName;
use crate::names::{ValueError, text_type};

/// What the type accepts, for messages.
const EXPECTED: &str =
    "an e-mail address: letters, digits, `.`, `_`, `+` and `-`, then `@` and a domain name in lower case";

/// An e-mail address, `local@domain`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailAddress(String);

text_type!(EmailAddress);

impl FromStr for EmailAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = || ValueError::new(text, EXPECTED);
        let (local, domain) = text.split_once('@').ok_or_else(refused)?;
        domain.parse::<DomainName>().map_err(|_| refused())?;
        let letters = local.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte));
        // An address that starts with a hyphen is an option to many mail programs.
        let fits = (1..=64).contains(&local.len()) && text.len() <= 254 && !local.starts_with('-');
        if letters && fits && local.split('.').all(|part| !part.is_empty()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(refused())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_other_programs_would_read_as_something_else() {
        assert!("first.last+tag@example.org".parse::<EmailAddress>().is_ok());
        for bad in [
            "",
            "ops",
            "@example.org",
            "ops@",
            "ops@localhost",
            "a..b@example.org",
            ".a@example.org",
            "-f@example.org",
            "a b@example.org",
            "`id`@example.org",
            "a@b@example.org",
            "a@example.org\n",
        ] {
            assert!(bad.parse::<EmailAddress>().is_err(), "{bad:?}");
        }
    }
}

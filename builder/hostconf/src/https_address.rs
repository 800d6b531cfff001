//! An address that a host asks: `https`, a name, port 443, for the firewall knows no other way out.

use std::str::FromStr;

use crate::domain_name::DomainName;
use crate::names::ValueError;

/// Longest address, in bytes.
const LONGEST: usize = 200;
const EXPECTED: &str = "such an address: `https://` and a name, port 443, e.g. `https://www.example.com/path`";

/// `https://NAME[:443][/PATH]`, without user, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsAddress {
    text: String,
    host: DomainName,
}

impl HttpsAddress {
    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name in it.
    pub fn host(&self) -> &DomainName {
        &self.host
    }
}

impl FromStr for HttpsAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = || ValueError::new(text, EXPECTED);
        let rest = text.strip_prefix("https://").filter(|_| text.len() <= LONGEST).ok_or_else(refused)?;
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let host = place.strip_suffix(":443").unwrap_or(place).parse().map_err(|_| refused())?;
        if !path.bytes().all(allowed) {
            return Err(refused());
        }
        Ok(Self { text: text.to_owned(), host })
    }
}

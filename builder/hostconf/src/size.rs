//! Sizes in bytes as people write them: a whole number and `K`, `M` or `G` (powers of 1024).

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::names::ValueError;

/// What the type accepts, for messages.
const EXPECTED: &str = "a size: a whole number and `K`, `M` or `G`, e.g. `512M`";

/// A size in bytes, not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// Number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = || ValueError::new(text, EXPECTED);
        let digits = text.trim_end_matches(['K', 'M', 'G']);
        let unit: u64 = match text.get(digits.len()..) {
            Some("K") => 1 << 10,
            Some("M") => 1 << 20,
            Some("G") => 1 << 30,
            _ => return Err(refused()),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        let count: u64 = digits.parse().map_err(|_| refused())?;
        count.checked_mul(unit).filter(|&bytes| bytes > 0).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, letter) = [(1 << 30, 'G'), (1 << 20, 'M')]
            .into_iter()
            .find(|(unit, _)| self.0.is_multiple_of(*unit))
            .unwrap_or((1 << 10, 'K'));
        write!(out, "{}{letter}", self.0 / unit)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_same_text() {
        for text in ["512M", "2G", "3K"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        for bad in
            ["", "M", "512", "0M", "1T", "-1M", "1.5G", "1MG", "99999999999999999999G", "18446744073709551615G", "+1M"]
        {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}

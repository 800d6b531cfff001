//! How long a statement of what is newest holds, as people write it: `30d` or `12h`.

use std::fmt;
use std::str::FromStr;

use bundle::LONGEST_TERM;
use thiserror::Error;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// Not a term.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a term: write hours or days from 1h to 92d, e.g. `30d`")]
pub struct TermError(String);

/// A term in seconds: an hour to 92 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term(u64);

impl Term {
    /// Number of seconds.
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// The term of a statement that is there.
    pub(crate) fn between(issued: u64, expires: u64) -> Self {
        Self(expires.saturating_sub(issued).clamp(HOUR, LONGEST_TERM))
    }
}

impl FromStr for Term {
    type Err = TermError;

    fn from_str(text: &str) -> Result<Self, TermError> {
        let refused = || TermError(text.chars().take(40).collect());
        let (count, unit) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
            (Some(count), _) => (count, DAY),
            (None, Some(count)) => (count, HOUR),
            (None, None) => return Err(refused()),
        };
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        let seconds = count.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
        seconds.filter(|seconds| (HOUR..=LONGEST_TERM).contains(seconds)).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            days if days.is_multiple_of(DAY) => write!(out, "{}d", days / DAY),
            seconds => write!(out, "{}h", seconds / HOUR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hours_and_days_up_to_what_a_statement_may_hold() {
        for (text, seconds) in [("1h", HOUR), ("30d", 30 * DAY), ("92d", LONGEST_TERM), ("36h", 36 * HOUR)] {
            let term: Term = text.parse().unwrap();
            assert_eq!((term.seconds(), term.to_string().as_str()), (seconds, text));
        }
        for bad in ["", "d", "0d", "93d", "2209h", "-1d", "+1d", "1.5d", "30", "30 d", "1w", "99999999999999999999d"] {
            assert!(bad.parse::<Term>().is_err(), "{bad:?}");
        }
    }
}

//! The one point in time that an image knows.
//!
//! Every time stamp inside an artifact is this value, so that the same inputs give the same bytes on any day. It never comes from
//! the clock: the caller takes it from the lock.

use std::fmt;
use std::str::FromStr;

/// Seconds since 1970-01-01 UTC, limited to what a 32-bit time stamp can hold (until 2106).
///
/// The limit is that of the narrowest format written here (the `newc` archive); refusing larger values at the door keeps all
/// formats in agreement. Meaning and name follow the `SOURCE_DATE_EPOCH` convention of the reproducible builds project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceDateEpoch(u32);

/// Says why a text is not a [`SourceDateEpoch`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time: expected whole seconds since 1970, from 0 to 4294967295 (as `date +%s` prints)")]
pub struct TimeError {
    text: String,
}

impl SourceDateEpoch {
    /// Makes the value from seconds since 1970.
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    /// Returns seconds since 1970.
    pub const fn seconds(self) -> u32 {
        self.0
    }
}

impl FromStr for SourceDateEpoch {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = text.parse().ok().filter(|_| digits_only);
        seconds.map(Self).ok_or_else(|| TimeError { text: text.to_owned() })
    }
}

impl fmt::Display for SourceDateEpoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_seconds() {
        let time: SourceDateEpoch = "1760000000".parse().unwrap();
        assert_eq!(time.seconds(), 1_760_000_000);
        assert_eq!(time.to_string(), "1760000000");
    }

    #[test]
    fn refuses_signs_fractions_and_years_after_2106() {
        for text in ["", "-1", "+1", "1.5", "4294967296", "now"] {
            assert!(text.parse::<SourceDateEpoch>().is_err(), "{text}");
        }
    }
}

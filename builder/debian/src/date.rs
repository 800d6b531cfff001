//! Points in time as the archive and the lock write them.
//!
//! Seconds since 1970 in UTC, no leap seconds. Nothing here reads a clock: "now" is always an argument.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Seconds since 1970-01-01 00:00 UTC; written as `2026-09-12T07:55:41Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

/// The text is not a date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a date of the form {1}")]
pub struct DateError(String, &'static str);

/// Seconds in a day.
pub const DAY: u64 = 86_400;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl UnixTime {
    /// Reads a date of a Release file: `Sat, 12 Sep 2026 07:55:41 UTC`.
    pub fn parse_release_date(text: &str) -> Result<Self, DateError> {
        let parse = || {
            let mut words = text.split_ascii_whitespace();
            words.next()?.strip_suffix(',')?;
            let day = digits(words.next()?, 1, 2)?;
            let name = words.next()?;
            let month = 1 + MONTHS.iter().position(|month| *month == name)?;
            let year = digits(words.next()?, 4, 4)?;
            let clock = words.next()?;
            let zone = words.next()?;
            (["UTC", "GMT", "+0000"].contains(&zone) && words.next().is_none()).then_some(())?;
            Self::from_parts(year, u64::try_from(month).ok()?, day, clock)
        };
        parse().ok_or_else(|| DateError(text.chars().take(60).collect(), "`Sat, 12 Sep 2026 07:55:41 UTC`"))
    }

    /// The time `seconds` later.
    #[must_use]
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    fn from_parts(year: u64, month: u64, day: u64, clock: &str) -> Option<Self> {
        let mut clock = clock.split(':');
        let mut part = |limit| digits(clock.next()?, 2, 2).filter(|value| *value < limit);
        let (hour, minute, second) = (part(24)?, part(60)?, part(60)?);
        if clock.next().is_some() || !(1970..=9999).contains(&year) || !(1..=days_in(year, month)?).contains(&day) {
            return None;
        }
        let years: u64 = (1970..year).map(|y| if is_leap(y) { 366 } else { 365 }).sum();
        let months: u64 = (1..month).filter_map(|m| days_in(year, m)).sum();
        Some(Self((years + months + day - 1) * DAY + hour * 3600 + minute * 60 + second))
    }
}

impl FromStr for UnixTime {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let parse = || {
            let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
            let mut date = date.split('-');
            let (year, month) = (digits(date.next()?, 4, 4)?, digits(date.next()?, 2, 2)?);
            let day = digits(date.next()?, 2, 2)?;
            date.next().is_none().then_some(())?;
            Self::from_parts(year, month, day, clock)
        };
        parse().ok_or_else(|| DateError(text.chars().take(60).collect(), "`2026-09-12T07:55:41Z`"))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut days, second) = (self.0 / DAY, self.0 % DAY);
        let mut year = 1970;
        let length = |year| if is_leap(year) { 366 } else { 365 };
        // 400 years repeat: without this step a wild number would loop for ever.
        year += days / 146_097 * 400;
        days %= 146_097;
        while days >= length(year) {
            days -= length(year);
            year += 1;
        }
        let mut month = 1;
        while let Some(length) = days_in(year, month).filter(|length| days >= *length) {
            days -= length;
            month += 1;
        }
        let (hour, minute) = (second / 3600, second / 60 % 60);
        write!(f, "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", days + 1, second % 60)
    }
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn digits(text: &str, least: usize, most: usize) -> Option<u64> {
    let good = (least..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    good.then(|| text.parse().ok()).flatten()
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> Option<u64> {
    Some(match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_release_dates() {
        let read = |text| UnixTime::parse_release_date(text);
        assert_eq!(read("Thu, 01 Jan 1970 00:00:00 UTC"), Ok(UnixTime(0)));
        assert_eq!(read("Sat, 12 Sep 2026 07:55:41 UTC"), Ok(UnixTime(1_789_199_741)));
        assert_eq!(read("Thu, 29 Feb 2024  1:00:00 UTC").ok(), None);
        assert_eq!(read("Thu, 29 Feb 2024 23:59:59 +0000").unwrap().to_string(), "2024-02-29T23:59:59Z");
        for bad in [
            "",
            "Sat, 12 Sep 2026 07:55:41",
            "Sat, 31 Sep 2026 07:55:41 UTC",
            "Sat, 12 Sep 2026 24:00:00 UTC",
            "Sat, 12 Sep 1969 07:55:41 UTC",
            "Sat, 12 Sep 2026 07:55:41 CET",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_form_round_trips(seconds in 0u64..250_000_000_000) {
            let time = UnixTime(seconds);
            prop_assert_eq!(time.to_string().parse::<UnixTime>(), Ok(time));
        }

        #[test]
        fn wild_numbers_do_not_panic(seconds: u64) {
            prop_assert!(UnixTime(seconds).to_string().ends_with('Z'));
        }
    }
}

//! A moment in words that a person reads.

use std::time::Duration;

use x509_cert::der::DateTime;

/// Seconds since 1970 as RFC 3339 writes them, in UTC: `2026-11-28T20:58:44Z`. From the year 10000 on they stay seconds.
pub(super) fn moment(seconds: u64) -> String {
    let known = DateTime::from_unix_duration(Duration::from_secs(seconds));
    known.map_or_else(|_| format!("{seconds} seconds after 1970"), |known| known.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_where_there_is_one() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(moment(u64::MAX), "18446744073709551615 seconds after 1970");
    }
}

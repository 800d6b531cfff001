//! What can be wrong with a Release file, in itself and for this day.

use crate::{
    control::ControlError,
    date::{DateError, UnixTime},
    suite::SuiteName,
};

/// The Release file is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// Not one paragraph of control syntax.
    #[error("Release: {0}")]
    Control(#[from] ControlError),
    /// More than one paragraph.
    #[error("Release: line {0}: a second paragraph")]
    SecondParagraph(u32),
    /// A date is malformed.
    #[error("Release: line {line}: {source}")]
    Date {
        /// The line.
        line: u32,
        /// What is wrong.
        source: DateError,
    },
    /// A line of the `SHA256` list is malformed.
    #[error("Release: line {line}: expected `DIGEST SIZE PATH` in the list `SHA256`: {reason}")]
    File {
        /// The line.
        line: u32,
        /// What is wrong.
        reason: String,
    },
}

/// The Release file is correctly signed and must not be used all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaleError {
    /// Not the suite that was asked for.
    #[error("asked for suite `{asked}`, but the Release is for `{found}`; check the mirror's address")]
    WrongSuite {
        /// The suite asked for.
        asked: SuiteName,
        /// What the Release calls itself.
        found: String,
    },
    /// Made in the future.
    #[error("the Release is dated {date}, which is in the future; check this machine's clock")]
    Future {
        /// Its date.
        date: UnixTime,
    },
    /// `Valid-Until` has passed.
    #[error(
        "the Release was valid until {until}; the mirror is out of date, or somebody replays an old one: use another mirror"
    )]
    Expired {
        /// Its `Valid-Until`.
        until: UnixTime,
    },
    /// Older than the policy allows.
    #[error("the Release is dated {date}, more than {max_age_days} days ago; use another mirror")]
    TooOld {
        /// Its date.
        date: UnixTime,
        /// The limit.
        max_age_days: u64,
    },
    /// Older than one seen before.
    #[error(
        "the Release is dated {date}, but one of {seen} was seen before; the mirror lags behind or is replayed: use another mirror"
    )]
    Rollback {
        /// Its date.
        date: UnixTime,
        /// The newest date seen before.
        seen: UnixTime,
    },
}

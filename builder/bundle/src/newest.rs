//! The statement of what is newest: one version of an image in one channel, for a limited time. Specified in `docs/formats/trust.md`.
//!
//! A mirror can keep back what is new (freeze), hand out what was new once (replay), or show different hosts different things.
//! A statement that ends, a number that only rises and a digest that belongs to the number show each of these.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::manifest::Part;
use crate::schema::{SchemaError, SchemaVersion, check_schema};
use crate::signature::Context;
use crate::trust_root::TrustRoot;
use crate::verify::{Verified, VerifyError};
use formats::digest::Sha256Digest;
use formats::names::{ImageName, ImageVersion};
use formats::version_order;

/// Longest time that a statement may hold, in seconds: 92 days. A signature that holds for years cannot show that time stands still.
pub const LONGEST_TERM: u64 = 92 * 24 * 60 * 60;

/// Why a statement of what is newest was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NewestError {
    /// Not signed by the release keys.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Another version of the format.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Not the JSON of such a statement.
    #[error("the statement of what is newest is malformed ({reason}): refresh the repository")]
    Json {
        /// What the JSON parser says, with line and column.
        reason: String,
    },
    /// A statement about another image.
    #[error("the repository is that of the image `{found}`, this host runs `{expected}`: take the right address")]
    OtherImage {
        /// The host's image.
        expected: ImageName,
        /// The image found.
        found: ImageName,
    },
    /// A statement about another channel.
    #[error("the statement is about the channel `{found}`, not about `{expected}`: take the right address")]
    OtherChannel {
        /// The host's channel.
        expected: ImageName,
        /// The channel found.
        found: ImageName,
    },
    /// It ends before it begins, or holds for too long.
    #[error("the statement holds from {issued} to {expires}, at most 92 days are allowed: refresh the repository")]
    Term {
        /// Seconds since 1970.
        issued: u64,
        /// Seconds since 1970.
        expires: u64,
    },
    /// A floor above the version.
    #[error(
        "the statement's floor {floor} is newer than its version {version}: nobody could install it; name an older floor"
    )]
    Floor {
        /// The floor.
        floor: ImageVersion,
        /// The version.
        version: ImageVersion,
    },
    /// It has ended.
    #[error(
        "the statement of what is newest has ended {seconds} s ago: the repository was not refreshed, or somebody keeps back what is new"
    )]
    Expired {
        /// How long ago, in seconds.
        seconds: u64,
    },
    /// An older one than one that was seen.
    #[error("the statement has number {found}, number {seen} was seen already: somebody hands out what was new once")]
    Replayed {
        /// The highest number so far.
        seen: u64,
        /// The number found.
        found: u64,
    },
    /// Two different statements with one number.
    #[error(
        "there are two different statements with number {sequence}: somebody shows different hosts different things"
    )]
    TwoFaced {
        /// The number.
        sequence: u64,
    },
}

/// What is newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Newest {
    /// Version of the format.
    pub schema: SchemaVersion<1>,
    /// Name of the image.
    pub image: ImageName,
    /// The channel, e.g. `stable`.
    pub channel: ImageName,
    /// One more with each statement of the channel.
    pub sequence: u64,
    /// When it was made, in seconds since 1970.
    pub issued: u64,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// The version.
    pub version: ImageVersion,
    /// Digest of its `manifest.json`.
    pub manifest: Sha256Digest,
    /// Its bundle, in the folder `bundles` of the image.
    pub bundle: Part,
    /// Versions older than this one must not be installed any more; absent: any may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<ImageVersion>,
}

/// What a host knows of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Seconds since 1970, by a time server.
    Synchronised(u64),
    /// Nobody has told the host yet what time it is.
    Unproven,
}

/// Whether a statement still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It does.
    Proven,
    /// The host does not know the time, so nobody knows.
    Unproven,
}

/// The last statement that a host has accepted. It forgets it when the release keys change: whoever had them could have counted up to
/// the end of all numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Its number.
    pub sequence: u64,
    /// SHA-256 over its bytes.
    pub digest: Sha256Digest,
}

/// What a host judges a statement by.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// Whose word counts.
    pub root: &'a TrustRoot,
    /// The channel that it follows.
    pub channel: &'a ImageName,
    /// The last one that it accepted.
    pub seen: Option<&'a Seen>,
    /// The time.
    pub clock: Clock,
}

/// A statement that holds.
#[derive(Debug)]
pub struct Accepted {
    /// The statement.
    pub newest: Verified<Newest>,
    /// What the host must remember of it, before it acts upon it.
    pub seen: Seen,
    /// Whether it is known that it still holds.
    pub freshness: Freshness,
}

impl Judge<'_> {
    /// Verifies a statement and judges it.
    pub fn accept(&self, document: &[u8], envelope: &[u8]) -> Result<Accepted, NewestError> {
        let verified = self.root.release.verify(document, envelope, Context::Newest)?;
        let newest = verified.parse_with(|bytes| Newest::parse_unverified(bytes))?;
        self.is_ours(&newest)?;
        let seen = Seen { sequence: newest.sequence, digest: Sha256Digest::of(document) };
        self.is_not_older(&seen)?;
        let freshness = self.freshness(&newest)?;
        Ok(Accepted { newest, seen, freshness })
    }

    fn is_ours(&self, newest: &Newest) -> Result<(), NewestError> {
        if newest.image != self.root.image {
            return Err(NewestError::OtherImage { expected: self.root.image.clone(), found: newest.image.clone() });
        }
        if newest.channel != *self.channel {
            return Err(NewestError::OtherChannel { expected: self.channel.clone(), found: newest.channel.clone() });
        }
        Ok(())
    }

    fn is_not_older(&self, found: &Seen) -> Result<(), NewestError> {
        match self.seen {
            Some(seen) if found.sequence < seen.sequence => {
                Err(NewestError::Replayed { seen: seen.sequence, found: found.sequence })
            }
            Some(seen) if found.sequence == seen.sequence && found.digest != seen.digest => {
                Err(NewestError::TwoFaced { sequence: found.sequence })
            }
            _ => Ok(()),
        }
    }

    fn freshness(&self, newest: &Newest) -> Result<Freshness, NewestError> {
        match self.clock {
            Clock::Synchronised(now) if now >= newest.expires => {
                Err(NewestError::Expired { seconds: now - newest.expires })
            }
            Clock::Synchronised(_) => Ok(Freshness::Proven),
            Clock::Unproven => Ok(Freshness::Unproven),
        }
    }
}

impl Newest {
    /// Parses bytes that nobody vouches for: for showing them, never to act upon.
    pub fn parse_unverified(bytes: &[u8]) -> Result<Self, NewestError> {
        check_schema::<1>(bytes, "the statement of what is newest")?;
        let newest: Self =
            serde_json::from_slice(bytes).map_err(|error| NewestError::Json { reason: error.to_string() })?;
        newest.check()?;
        Ok(newest)
    }

    /// The bytes of `newest.json`: indented JSON with a line end.
    pub fn to_json(&self) -> Result<String, NewestError> {
        self.check()?;
        Ok(crate::manifest::to_json(self))
    }

    fn check(&self) -> Result<(), NewestError> {
        if let Some(floor) = self.floor.as_ref().filter(|floor| version_order::compare(floor, &self.version).is_gt()) {
            return Err(NewestError::Floor { floor: floor.clone(), version: self.version.clone() });
        }
        let term = self.expires.checked_sub(self.issued).filter(|term| (1..=LONGEST_TERM).contains(term));
        term.map(drop).ok_or(NewestError::Term { issued: self.issued, expires: self.expires })
    }
}

//! What a host remembers of its updates: `/var/lib/casemate/update/state.json` (`docs/formats/update-state.md`).
//!
//! It outlives the slots, so the old slot knows why it runs again. What is in a slot is not asked here: the disk says
//! that.

use std::collections::BTreeMap;

use bundle::ImageName;
use bundle::ImageVersion;
use bundle::LoaderVersion;
use bundle::Manifest;
use bundle::Part;
use bundle::RootHash;
use bundle::SchemaVersion;
use bundle::Seen;
use bundle::Sha256Digest;
use serde::Deserialize;
use serde::Serialize;

use super::UpdateError;
use super::memory;
use crate::host::Host;
use crate::paths::Paths;

const FILE: &str = "state.json";

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Version of the format.
    pub schema: SchemaVersion<1>,
    /// The last version that was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// The last start of a version that was on trial; absent once the running version is known to be good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// Versions that were found bad here, and are not tried again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<ImageVersion, Failure>,
    /// The oldest version that may be installed; absent: any may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<ImageVersion>,
    /// The last statement of what is newest that was accepted, for each channel.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accepted: BTreeMap<ImageName, AcceptedStatement>,
    /// The version that a statement named last, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Offered>,
}

/// A statement of what is newest that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedStatement {
    /// Its number and digest: no older one is accepted, and no other one with that number.
    pub seen: Seen,
    /// SHA-256 over the release keys by which it was accepted. With others it counts no more.
    pub keys: Sha256Digest,
}

/// A version that is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offered {
    /// The version.
    pub version: ImageVersion,
    /// When a statement named it first, in seconds since 1970, by a synchronised clock.
    pub since: u64,
}

/// A version that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// The version.
    pub version: ImageVersion,
    /// Its root hash.
    pub root_hash: RootHash,
    /// When, in seconds since 1970, by the clock that the host had.
    pub at: u64,
    /// What becomes the floor once this version was proven good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<ImageVersion>,
    /// The boot loader that came with it and is not in place: it waits until the version was proven good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<WaitingLoader>,
}

/// A boot loader that waits on the ESP, or should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitingLoader {
    /// Its version.
    pub version: LoaderVersion,
    /// Its size and digest: no other bytes are put in place.
    pub part: Part,
    /// What kept it from its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A start of a version on trial, noted as soon as state is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The version.
    pub version: ImageVersion,
    /// Which start it is, from 1.
    pub start: u8,
    /// When, in seconds since 1970, by the clock that the host had.
    pub at: u64,
}

/// Why a version is not tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What kept it from becoming healthy, for people; at least one.
    pub reasons: Vec<String>,
    /// How often it was started, as far as the boot loader counted.
    pub starts: u8,
    /// When that was found, in seconds since 1970, by the clock that the host had.
    pub at: u64,
}

impl State {
    /// Reads it; nothing there is a host that was never updated.
    pub fn read(paths: &Paths) -> Result<Self, UpdateError> {
        // Who forgets what is damaged forgets the floor as well, so a person has to look.
        memory::read(paths, FILE, |path, reason| UpdateError::State { path, reason })
    }

    /// Stores it whole; a cut leaves the one before.
    pub fn write(&self, host: Host<'_>) -> Result<(), UpdateError> {
        Ok(memory::write(host, FILE, self)?)
    }

    /// Remembers that these versions failed here. What is known of one already stays.
    pub fn with_failed(mut self, versions: impl IntoIterator<Item = (ImageVersion, Failure)>) -> Self {
        for (version, failure) in versions {
            self.failed.entry(version).or_insert(failure);
        }
        self
    }

    /// Remembers that this version was applied. One that is given another chance has not failed.
    pub fn with_applied(
        mut self,
        manifest: &Manifest,
        floor: Option<ImageVersion>,
        loader: Option<WaitingLoader>,
        at: u64,
    ) -> Self {
        self.failed.remove(&manifest.version);
        let (version, root_hash) = (manifest.version.clone(), manifest.root_hash);
        Self { trial: None, applied: Some(Applied { version, root_hash, at, floor, loader }), ..self }
    }
}

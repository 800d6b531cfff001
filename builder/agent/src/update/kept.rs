//! What is remembered of state that versions may read differently: `/var/lib/casemate/update/kept.json`
//! (`docs/formats/update-state.md`).
//!
//! A file of its own: a version that knows nothing of it reads `state.json` as ever.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use bundle::ImageVersion;
use bundle::SchemaVersion;
use hostconf::StateFormats;
use serde::Deserialize;
use serde::Serialize;

use super::UpdateError;
use super::memory;
use crate::files::FileError;
use crate::host::Host;
use crate::paths::Paths;

const FILE: &str = "kept.json";

/// Directories below `/var`, each with its format.
pub(super) type Formats = BTreeMap<String, String>;

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Version of the format.
    pub schema: SchemaVersion<1>,
    /// In which format each directory is, by the last version that started.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub formats: Formats,
    /// State as it was before the first start of a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// What versions wrote that no longer run, where it could not stay in its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aside: Vec<Aside>,
}

/// State as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The version before whose first start it was taken.
    pub before: ImageVersion,
    /// When, in seconds since 1970, by the clock that the host had.
    pub at: u64,
    /// In which formats it is.
    pub formats: Formats,
}

/// A directory that was taken out of its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aside {
    /// Its place.
    pub path: String,
    /// Where it is now.
    pub now: PathBuf,
    /// The version that wrote it last.
    pub by: ImageVersion,
    /// The place holds again what it held then, in seconds since 1970.
    pub back_to: u64,
}

impl Kept {
    /// Reads it; nothing there is a host whose versions never said in which formats state is.
    pub fn read(paths: &Paths) -> Result<Self, UpdateError> {
        memory::read(paths, FILE, |path, reason| UpdateError::Kept { path, reason })
    }

    /// Stores it whole; a cut leaves the one before.
    pub(super) fn write(&self, host: Host<'_>) -> Result<(), FileError> {
        memory::write(host, FILE, self)
    }

    /// The snapshot of before this version, where going back from it means going back to the snapshot's data as well.
    pub(super) fn needed_behind(&self, version: &ImageVersion) -> Option<&Snapshot> {
        let own = self.snapshot.as_ref().filter(|snapshot| snapshot.before == *version);
        own.filter(|snapshot| !snapshot.changed(&self.formats).is_empty())
    }
}

impl Snapshot {
    /// Directories that have another format since.
    pub(super) fn changed(&self, since: &Formats) -> Vec<String> {
        let changed = self.formats.iter().filter(|(path, format)| since.get(*path).is_some_and(|now| now != *format));
        changed.map(|(path, _)| path.clone()).collect()
    }
}

/// The formats of the running version; an image without the file has none.
pub(super) fn own_formats(paths: &Paths) -> Result<StateFormats, UpdateError> {
    let path = paths.state_formats();
    match fs::read_to_string(&path) {
        Ok(text) => StateFormats::parse("state-formats.toml", &text)
            .map_err(|error| UpdateError::Kept { path, reason: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(StateFormats::default()),
        Err(source) => Err(UpdateError::Read { path, source }),
    }
}

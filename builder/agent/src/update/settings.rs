//! Where new versions come from: the file `casemate/update.json` of the rendered configuration.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use bundle::ImageName;
use hostconf::Window;
use serde::Deserialize;

use super::UpdateError;
use crate::paths::Paths;

/// What the document says of updates.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where they come from; absent: nowhere.
    pub source: Option<Source>,
}

/// A repository, and what is taken from it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Address of the folder that holds the folder of the image.
    pub repository: String,
    /// Which of its channels is followed.
    pub channel: ImageName,
    /// A file of the certificates to trust when it is asked.
    pub roots: PathBuf,
    /// When a version is taken without anybody asking; absent: never.
    pub window: Option<Window>,
    /// Over how many hours the hosts of a fleet take it.
    pub spread_hours: u16,
}

impl Source {
    /// Reads it; refused where the document names none.
    pub fn read(paths: &Paths) -> Result<Self, UpdateError> {
        Settings::read(paths)?.source.ok_or(UpdateError::NoRepository)
    }
}

impl Settings {
    /// Reads them; nothing there is a host without a document.
    pub fn read(paths: &Paths) -> Result<Self, UpdateError> {
        let path = paths.update_settings();
        if !path.exists() {
            return Ok(Self { source: None });
        }
        let text = fs::read_to_string(&path).map_err(|source| UpdateError::Read { path: path.clone(), source })?;
        parse(&text, &path)
    }
}

fn parse(text: &str, path: &Path) -> Result<Settings, UpdateError> {
    serde_json::from_str(text)
        .map_err(|error| UpdateError::Settings { path: path.to_owned(), reason: error.to_string() })
}

//! What runs: image, version and root hash, as the sealed root and the kernel's command line say.

use std::fs;

use bundle::ImageName;
use bundle::ImageVersion;
use bundle::RootHash;
use formats::cmdline::CommandLine;

use super::UpdateError;
use crate::image;
use crate::paths::Paths;

/// Debian's name of the architecture that this program was built for.
pub(super) const ARCHITECTURE: &str = "amd64";

/// The system that an update starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Name of the image.
    pub image: ImageName,
    /// Its version.
    pub version: ImageVersion,
    /// Whether it was built with development keys.
    pub development: bool,
    /// Its root hash.
    pub root_hash: RootHash,
}

impl Running {
    /// Reads the image's own description and the command line of the kernel.
    pub fn read(paths: &Paths) -> Result<Self, UpdateError> {
        let sealed = image::load_description(paths)?;
        let root_hash = read_root_hash(paths)?;
        Ok(Self { image: sealed.name, version: sealed.version, development: sealed.development, root_hash })
    }
}

fn read_root_hash(paths: &Paths) -> Result<RootHash, UpdateError> {
    let path = paths.command_line();
    let refused = |reason: String| UpdateError::RunningRoot { path: path.clone(), reason };
    let text = fs::read_to_string(&path).map_err(|error| refused(error.to_string()))?;
    // As systemd reads it: of several the last one counts.
    let line: CommandLine = text.trim_end().parse().map_err(|error| refused(format!("{error}")))?;
    let value = line.value("roothash").ok_or_else(|| refused("it has no `roothash=`".to_owned()))?;
    value.parse().map_err(|error| refused(format!("{error}")))
}

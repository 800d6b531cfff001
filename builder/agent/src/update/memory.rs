//! Files of `/var/lib/casemate/update`: what is remembered, as JSON, each whole or as it was before.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::UpdateError;
use crate::files::Access;
use crate::files::FileError;
use crate::host::Host;
use crate::paths::Paths;

/// Reads a file; nothing there is what is remembered in the beginning. `wrong` is the error for what cannot be understood.
pub(super) fn read<T: DeserializeOwned + Default>(
    paths: &Paths,
    file: &str,
    wrong: impl FnOnce(PathBuf, String) -> UpdateError,
) -> Result<T, UpdateError> {
    let path = paths.update().join(file);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(source) => return Err(UpdateError::Read { path, source }),
    };
    serde_json::from_slice(&bytes).map_err(|error| wrong(path, error.to_string()))
}

/// Stores a file whole; a cut leaves the one before.
pub(super) fn write(host: Host<'_>, file: &str, value: &impl Serialize) -> Result<(), FileError> {
    let json = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    host.files.ensure_directory(&host.paths.update(), Access::SECRET_DIRECTORY)?;
    host.files.write(&host.paths.update().join(file), json.as_bytes(), Access::SECRET)
}

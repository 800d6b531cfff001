//! Random secrets: passwords and salts.

use std::path::Path;

use super::SecretError;
use crate::files::Access;
use crate::host::Host;

/// Writes 64 hex digits and a line end, unless the file is there.
pub fn make(host: Host<'_>, path: &Path, access: Access) -> Result<(), SecretError> {
    if path.exists() {
        return Ok(host.files.set_access(path, access)?);
    }
    let text = hex::encode((host.random)()?) + "\n";
    Ok(host.files.write(path, text.as_bytes(), access)?)
}

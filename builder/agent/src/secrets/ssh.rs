//! ssh host keys, made by `ssh-keygen`.

use std::path::Path;

use tools::Tool;

use super::SecretError;
use super::TIMEOUT;
use super::unfinished;
use crate::files::Access;
use crate::host::Host;

/// Makes an ed25519 key; the public half is derived from the private one, so the two always fit.
pub fn make(host: Host<'_>, path: &Path, access: Access) -> Result<(), SecretError> {
    if !path.exists() {
        make_private(host, path, access)?;
    }
    host.files.set_access(path, access)?;
    let public = path.with_file_name(format!("{}.pub", path.file_name().unwrap_or_default().to_string_lossy()));
    if !public.exists() {
        let line = run(host, path, Tool::new("ssh-keygen").arg("-y").arg("-f").arg(path))?;
        host.files.write(&public, &line, Access::PUBLIC)?;
    }
    Ok(())
}

fn make_private(host: Host<'_>, path: &Path, access: Access) -> Result<(), SecretError> {
    let new = unfinished(path, "new");
    let new_public = unfinished(path, "new.pub");
    // ssh-keygen asks a question when its file exists.
    host.files.remove(&new)?;
    host.files.remove(&new_public)?;
    let tool = Tool::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", ""]).arg("-f").arg(&new);
    run(host, path, tool)?;
    host.files.remove(&new_public)?;
    Ok(host.files.publish(&new, path, access)?)
}

fn run(host: Host<'_>, path: &Path, tool: Tool) -> Result<Vec<u8>, SecretError> {
    let output = host.runner.run(&tool.timeout(TIMEOUT));
    Ok(output.map_err(|source| SecretError::Tool { path: path.to_owned(), source })?.stdout)
}

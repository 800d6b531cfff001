//! Files in folders of somebody who may be taken over.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

/// Reads a plain file of at most `longest` bytes; nothing where there is none. No link is followed, no pipe waited for.
pub fn read_foreign(path: &Path, longest: u64) -> Result<Option<Vec<u8>>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits())?;
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    };
    ensure!(file.metadata()?.is_file(), "`{}` is no file", path.display());
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= longest, "`{}` is longer than {longest} bytes", path.display());
    Ok(Some(bytes))
}

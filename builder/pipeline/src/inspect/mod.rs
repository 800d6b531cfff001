//! Shows what an artifact holds: an output directory, a disk, a kernel image or a bundle, recognised by its bytes and not by its name.
//!
//! Nothing is verified: a signature is only shown as a claim. What cannot be read as one of these is refused.

mod bundle_file;
mod disk;
mod output_dir;
mod text;
mod uki;

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde_json::Value;
use tools::Failure;

pub use text::as_text;

/// Largest kernel image that is read into memory; an ESP of ours holds no larger one.
const LARGEST_UKI: u64 = 512 << 20;

/// What the first and last bytes of a file say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Disk,
    Executable,
    Tar,
}

/// Describes the artifact at `path` as a JSON object whose `kind` says what it is.
pub fn inspect(path: &Path) -> Result<Value> {
    if fs::metadata(path)?.is_dir() {
        return output_dir::describe(path);
    }
    let mut file = fs::File::open(path)?;
    // Devices have no length in their metadata.
    let size = file.seek(SeekFrom::End(0))?;
    let described = match recognise(&mut file, size)? {
        Some(Kind::Disk) => disk::describe(&mut file, size),
        Some(Kind::Tar) => bundle_file::describe(&mut file),
        Some(Kind::Executable) => read_executable(&mut file, size).and_then(|bytes| uki::describe(&bytes)),
        None => return Err(unknown(path)),
    };
    described.with_context(|| format!("cannot read `{}`", path.display()))
}

fn unknown(path: &Path) -> anyhow::Error {
    Failure::refused(format!("`{}` is no disk, kernel image or bundle", path.display()))
        .hint("name an output directory, a disk image or device, `uki.efi` or `bundle.tar`")
        .into()
}

fn recognise(file: &mut (impl Read + Seek), size: u64) -> Result<Option<Kind>> {
    let head = peek(file, 0, 1024)?;
    let mark = |bytes: &[u8], at: usize, mark: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(mark));
    if mark(&head, 512, b"EFI PART") {
        return Ok(Some(Kind::Disk));
    }
    if mark(&head, 0, b"MZ") {
        return Ok(Some(Kind::Executable));
    }
    if mark(&head, 257, b"ustar") {
        return Ok(Some(Kind::Tar));
    }
    // A disk whose first table is lost still has the one at its end.
    let tail = peek(file, size.saturating_sub(512), 512)?;
    Ok(mark(&tail, 0, b"EFI PART").then_some(Kind::Disk))
}

fn peek(file: &mut (impl Read + Seek), offset: u64, length: u64) -> Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_executable(file: &mut (impl Read + Seek), size: u64) -> Result<Vec<u8>> {
    if size > LARGEST_UKI {
        let message = format!("it has {} MiB, more than a kernel image can have", size >> 20);
        return Err(Failure::refused(message).hint("name the `uki.efi` of an output directory").into());
    }
    peek(file, 0, size)
}

#[cfg(test)]
mod tests;

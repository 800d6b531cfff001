//! An asset that is a ZIP archive, stored or deflated.

use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context as _, Result, bail};
use zip::result::ZipError;
use zip::{CompressionMethod, System, ZipArchive};

use super::laying::Laying;

/// Longest target of a link (`PATH_MAX`).
const MAX_TARGET: u64 = 4095;
/// `stat.st_mode` as Unix programs keep it in the upper half of the external attributes.
const KIND_MASK: u32 = 0o170_000;
const KIND_LINK: u32 = 0o120_000;
const KIND_FILE: u32 = 0o100_000;
const KIND_DIRECTORY: u32 = 0o040_000;

/// Unpacks a file of `size` bytes.
pub(super) fn unpack<F: Read + Seek>(mut file: F, size: u64, laying: &mut Laying<'_>) -> Result<()> {
    let promised = entries_promised(&mut file, size)?;
    let mut archive = ZipArchive::new(file).map_err(damaged)?;
    if archive.len() != promised {
        bail!("its directory promises {promised} entries and has {} names: some stand twice", archive.len());
    }
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(damaged)?;
        let name = std::str::from_utf8(entry.name_raw()).context("a name in the archive is not UTF-8")?.to_owned();
        let Some(path) = laying.place(&name)? else { continue };
        if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            bail!("refused `{path}`: only stored and deflated entries are read");
        }
        // The reader's own `unix_mode` leaves the set-id bits out: what is refused must be seen.
        let mode = if entry.system() == System::Dos { 0o644 } else { entry.external_attributes() >> 16 };
        let size = entry.size();
        match (mode & KIND_MASK, entry.is_dir()) {
            (0 | KIND_DIRECTORY, true) => laying.directory(&path)?,
            (0 | KIND_FILE, false) if mode & 0o6000 != 0 => bail!("refused `{path}`: it is set-id"),
            (0 | KIND_FILE, false) => laying.file(&path, mode & 0o111 != 0, size, &mut entry)?,
            (KIND_LINK, false) => {
                let mut target = String::new();
                entry.by_ref().take(MAX_TARGET).read_to_string(&mut target)?;
                laying.link(&path, &target)?;
            }
            _ => bail!("refused `{path}`: it is neither a file, a directory nor a link"),
        }
    }
    Ok(())
}

/// The number of entries in the end record (PKWARE APPNOTE 4.3.16). The reader keeps one of several entries with one name and would not
/// say so.
fn entries_promised<F: Read + Seek>(file: &mut F, size: u64) -> Result<usize> {
    const RECORD: u64 = 22;
    const LONGEST_COMMENT: u64 = 65_535;
    let start = size.saturating_sub(RECORD + LONGEST_COMMENT);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    file.rewind()?;
    let at = tail.windows(4).rposition(|window| window == b"PK\x05\x06").context("it is not a ZIP archive")?;
    let count = tail.get(at + 10..at + 12).context("its end is cut off")?;
    Ok(usize::from(u16::from_le_bytes([count[0], count[1]])))
}

fn damaged(error: ZipError) -> anyhow::Error {
    anyhow::Error::from(error).context("the ZIP archive is damaged or of a kind that is not read")
}

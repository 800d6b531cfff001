//! The dynamic table of an ELF file.

use crate::little_endian::{slice_at, u64_at};

use super::{Elf, ElfError, LOAD, Segment};

const END: u64 = 0;
const NEEDED: u64 = 1;
const STRING_TABLE: u64 = 5;
const STRING_TABLE_SIZE: u64 = 10;
const SONAME: u64 = 14;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;

/// Reads names and paths of the dynamic table into `elf`.
pub(super) fn read(bytes: &[u8], segments: &[Segment], table: &[u8], elf: &mut Elf) -> Result<(), ElfError> {
    let rows: Vec<(u64, u64)> = table
        .chunks_exact(16)
        .filter_map(|row| Some((u64_at(row, 0)?, u64_at(row, 8)?)))
        .take_while(|(tag, _)| *tag != END)
        .collect();
    let value = |wanted| rows.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
    let Some(address) = value(STRING_TABLE) else {
        // A static program has a dynamic table without names.
        return Ok(());
    };
    let strings = strings_at(bytes, segments, address, value(STRING_TABLE_SIZE).unwrap_or_default())?;
    for (tag, offset) in rows.iter().copied() {
        match tag {
            NEEDED => elf.needed.push(text_at(strings, offset, "needed library")?),
            SONAME => elf.soname = Some(text_at(strings, offset, "library name")?),
            RPATH => elf.rpath = paths_at(strings, offset)?,
            RUNPATH => elf.runpath = paths_at(strings, offset)?,
            _ => {}
        }
    }
    Ok(())
}

/// Finds the string table in the file: the dynamic table gives its address in memory.
fn strings_at<'a>(bytes: &'a [u8], segments: &[Segment], address: u64, size: u64) -> Result<&'a [u8], ElfError> {
    let holds = |segment: &&Segment| {
        segment.kind == LOAD && address.checked_sub(segment.address).is_some_and(|inside| inside < segment.file_size)
    };
    let segment = segments.iter().find(holds);
    let offset = segment.and_then(|segment| segment.offset.checked_add(address - segment.address));
    let strings = offset.and_then(|offset| slice_at(bytes, offset, size));
    strings.ok_or(ElfError::Truncated { part: "string table" })
}

/// Returns the text from `offset` up to a zero byte.
pub(super) fn text_at(strings: &[u8], offset: u64, part: &'static str) -> Result<String, ElfError> {
    let start = usize::try_from(offset).ok();
    let tail = start.and_then(|start| strings.get(start..)).ok_or(ElfError::Truncated { part })?;
    let length = tail.iter().position(|byte| *byte == 0).ok_or(ElfError::Truncated { part })?;
    let text = std::str::from_utf8(&tail[..length]).map_err(|_| ElfError::Text { part })?;
    Ok(text.to_owned())
}

/// Returns the directories of a search path.
fn paths_at(strings: &[u8], offset: u64) -> Result<Vec<String>, ElfError> {
    let text = text_at(strings, offset, "search path")?;
    Ok(text.split(':').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

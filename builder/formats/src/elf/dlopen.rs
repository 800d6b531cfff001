//! The notes in which a program names the libraries that it loads when wanted.

use serde::Deserialize;

use crate::little_endian::{slice_at, u32_at};

use super::ElfError;

const OWNER: &[u8] = b"FDO\0";
/// Type of a dlopen note (UAPI "ELF dlopen metadata").
const KIND: u32 = 0x407c_0c0a;

/// One library that a program may load, under any of several names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DlopenEntry {
    /// File names, the best first; one of them is enough.
    #[serde(rename = "soname")]
    pub sonames: Vec<String>,
    /// How much the program wants it.
    #[serde(default)]
    pub priority: Priority,
    /// Short name of what it is for.
    #[serde(default)]
    pub feature: String,
    /// One sentence on what it is for.
    #[serde(default)]
    pub description: String,
}

/// How much a program wants a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Nice to have.
    Suggested,
    /// Missing it takes away something most users want.
    #[default]
    Recommended,
    /// It does not work without.
    Required,
}

/// Reads all dlopen notes of a note segment.
pub(super) fn read(notes: &[u8], alignment: u64) -> Result<Vec<DlopenEntry>, ElfError> {
    // The specification knows 4 and 8; anything else is how old linkers wrote 4.
    let alignment = if alignment == 8 { 8 } else { 4 };
    let mut entries = Vec::new();
    let mut offset = 0;
    while offset < notes.len() {
        let note = Note::parse(notes, offset, alignment).ok_or(ElfError::Truncated { part: "notes" })?;
        if note.owner == OWNER && note.kind == KIND {
            entries.extend(parse_description(note.description)?);
        }
        offset = note.end;
    }
    Ok(entries)
}

/// One note.
struct Note<'a> {
    owner: &'a [u8],
    kind: u32,
    description: &'a [u8],
    end: usize,
}

impl<'a> Note<'a> {
    /// Reads the note at `offset`; `None` if it is not all there.
    fn parse(notes: &'a [u8], offset: usize, alignment: u64) -> Option<Self> {
        let owner_size = u64::from(u32_at(notes, offset)?);
        let description_size = u64::from(u32_at(notes, offset.checked_add(4)?)?);
        let kind = u32_at(notes, offset.checked_add(8)?)?;
        let owner_at = u64::try_from(offset).ok()?.checked_add(12)?;
        let description_at = owner_at.checked_add(owner_size)?.checked_next_multiple_of(alignment)?;
        let end = description_at.checked_add(description_size)?.checked_next_multiple_of(alignment)?;
        Some(Self {
            owner: slice_at(notes, owner_at, owner_size)?,
            kind,
            description: slice_at(notes, description_at, description_size)?,
            end: usize::try_from(end).ok()?,
        })
    }
}

/// Reads the JSON of one note: a list of entries, closed by zero bytes.
fn parse_description(description: &[u8]) -> Result<Vec<DlopenEntry>, ElfError> {
    let length = description.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    serde_json::from_slice(&description[..length]).map_err(|error| ElfError::Note { problem: error.to_string() })
}

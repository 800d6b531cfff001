//! What an ELF program or library needs at run time.
//!
//! Reads the interpreter, the needed libraries, the search paths, and systemd's `dlopen` notes, in which a program lists libraries
//! that it loads only when wanted (`.note.dlopen`, owner `FDO`, UAPI "ELF dlopen metadata"). Together they give the library closure of
//! an initrd. Only 64-bit little-endian files; only program headers are used, as the loader does, so stripped files work. Nothing is
//! looked up: paths are returned as written, `$ORIGIN` included.

mod dlopen;
mod dynamic;

pub use dlopen::{DlopenEntry, Priority};

use crate::little_endian::{slice_at, u16_at, u32_at, u64_at};

/// What a file needs at run time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Elf {
    /// Processor, 62 for x86-64.
    pub machine: u16,
    /// The program that loads this one; none for libraries and static programs.
    pub interpreter: Option<String>,
    /// The file's own library name.
    pub soname: Option<String>,
    /// Libraries loaded at start, in order.
    pub needed: Vec<String>,
    /// Directories searched before the system's (`DT_RUNPATH`).
    pub runpath: Vec<String>,
    /// The older form of the same (`DT_RPATH`), which counts for libraries of libraries too.
    pub rpath: Vec<String>,
    /// Libraries loaded only when wanted.
    pub dlopen: Vec<DlopenEntry>,
}

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// No ELF mark.
    #[error("file is not an ELF file: ask `is_elf` first")]
    Mark,
    /// Another class or byte order.
    #[error("ELF file: {field} is {got}, expected {expected}: only 64-bit little-endian files can be in an image")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What it should be.
        expected: u64,
        /// What it is.
        got: u64,
    },
    /// Something lies outside the file.
    #[error("ELF file ends inside its {part}: the file is cut or damaged, take it from its package again")]
    Truncated {
        /// What should be there.
        part: &'static str,
    },
    /// A name is not text.
    #[error("ELF file: {part} is not UTF-8 text: the file is damaged, take it from its package again")]
    Text {
        /// Which name.
        part: &'static str,
    },
    /// A dlopen note that is not the JSON it should be.
    #[error("ELF file: dlopen note is malformed ({problem}): report it to the package's maintainer")]
    Note {
        /// What the JSON parser says.
        problem: String,
    },
}

/// One row of the program header table.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    alignment: u64,
}

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
const NOTE: u32 = 4;
const SEGMENT_SIZE: u16 = 56;

/// Returns whether the bytes start as an ELF file does.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

impl Elf {
    /// Reads a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        let segments = parse_segments(bytes)?;
        let mut elf = Self { machine: u16_at(bytes, 18).unwrap_or_default(), ..Self::default() };
        for segment in &segments {
            let content = || slice_at(bytes, segment.offset, segment.file_size);
            match segment.kind {
                INTERPRETER => {
                    let path = content().ok_or(ElfError::Truncated { part: "interpreter" })?;
                    elf.interpreter = Some(dynamic::text_at(path, 0, "interpreter")?);
                }
                DYNAMIC => {
                    let table = content().ok_or(ElfError::Truncated { part: "dynamic table" })?;
                    dynamic::read(bytes, &segments, table, &mut elf)?;
                }
                NOTE => {
                    let notes = content().ok_or(ElfError::Truncated { part: "notes" })?;
                    elf.dlopen.extend(dlopen::read(notes, segment.alignment)?);
                }
                _ => {}
            }
        }
        Ok(elf)
    }
}

/// Reads the program header table.
fn parse_segments(bytes: &[u8]) -> Result<Vec<Segment>, ElfError> {
    if !is_elf(bytes) {
        return Err(ElfError::Mark);
    }
    let truncated = ElfError::Truncated { part: "header" };
    let header = bytes.get(..64).ok_or(truncated)?;
    expect("class", 2, header[4].into())?;
    expect("byte order", 1, header[5].into())?;
    let count = u16_at(header, 56).unwrap_or_default();
    if count > 0 {
        let row_size = u16_at(header, 54).unwrap_or_default();
        expect("program header size", SEGMENT_SIZE.into(), row_size.into())?;
    }
    let offset = u64_at(header, 32).unwrap_or_default();
    let length = u64::from(count) * u64::from(SEGMENT_SIZE);
    let table = slice_at(bytes, offset, length).ok_or(ElfError::Truncated { part: "program headers" })?;
    Ok(table.chunks_exact(SEGMENT_SIZE.into()).map(parse_segment).collect())
}

/// Reads one row; the row has its full length.
fn parse_segment(row: &[u8]) -> Segment {
    let long = |offset| u64_at(row, offset).unwrap_or_default();
    Segment {
        kind: u32_at(row, 0).unwrap_or_default(),
        offset: long(8),
        address: long(16),
        file_size: long(32),
        alignment: long(48),
    }
}

/// Checks one field.
fn expect(field: &'static str, expected: u64, got: u64) -> Result<(), ElfError> {
    if expected == got { Ok(()) } else { Err(ElfError::Field { field, expected, got }) }
}

#[cfg(test)]
mod tests;

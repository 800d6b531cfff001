//! Portable executables: headers and sections, as far as unified kernel images need them.
//!
//! Reads 64-bit images only ("PE32+", Microsoft's PE/COFF specification). Sections are located and checked to lie inside the file;
//! code is never looked at, nothing is relocated or run.

use crate::little_endian::{array_at, slice_at, u16_at, u32_at};

/// Bytes of one row of the section table.
pub(crate) const SECTION_HEADER_SIZE: usize = 40;
/// Flag in `DllCharacteristics`: pages are never both writable and executable.
pub const NX_COMPAT: u16 = 0x0100;
/// Subsystem of an EFI application.
pub const SUBSYSTEM_EFI_APPLICATION: u16 = 10;

/// A parsed executable that borrows the file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pe<'a> {
    bytes: &'a [u8],
    /// Processor, `0x8664` for x86-64.
    pub machine: u16,
    /// Kind of program.
    pub subsystem: u16,
    /// Alignment of sections in memory, a power of two.
    pub section_alignment: u32,
    /// Alignment of sections in the file, a power of two.
    pub file_alignment: u32,
    /// Bytes of all headers in the file, padding included.
    pub size_of_headers: u32,
    /// Flags such as [`NX_COMPAT`].
    pub dll_characteristics: u16,
    /// Size of the signature directory in bytes; 0 if the file is not signed.
    pub signature_size: u32,
    /// All sections in the order of the table.
    pub sections: Vec<Section>,
    pub(crate) coff_offset: usize,
    pub(crate) optional_offset: usize,
    pub(crate) section_table_offset: usize,
}

/// One row of the section table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Name, at most eight characters.
    pub name: String,
    /// Bytes in memory: the true length of the content.
    pub virtual_size: u32,
    /// Place in memory, from the start of the image.
    pub virtual_address: u32,
    /// Bytes in the file, padding included.
    pub raw_size: u32,
    /// Place in the file.
    pub raw_offset: u32,
    /// Flags.
    pub characteristics: u32,
}

/// Why bytes are not such an executable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// The file ends too early.
    #[error("executable ends inside its {part}: the file is cut, copy or build it again")]
    Truncated {
        /// What should be there.
        part: &'static str,
    },
    /// A header field with a value that this code does not take.
    #[error("executable: {field} is {got}, expected {expected}: this is not a 64-bit EFI program")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A section outside the file.
    #[error(
        "section `{name}` is at bytes {offset} to {end} of a file of {length}: the file is cut, copy or build it again"
    )]
    SectionOutside {
        /// Name of the section.
        name: String,
        /// Where it should start.
        offset: u64,
        /// Where it should end.
        end: u64,
        /// Length of the file.
        length: usize,
    },
}

impl<'a> Pe<'a> {
    /// Reads headers and section table.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PeError> {
        let coff_offset = find_coff_header(bytes)?;
        let optional_offset = coff_offset + 20;
        let truncated = || PeError::Truncated { part: "headers" };
        let word = |offset: usize| u16_at(bytes, offset).ok_or_else(truncated);
        let long = |offset: usize| u32_at(bytes, offset).ok_or_else(truncated);
        expect("optional header magic", &0x20b, &word(optional_offset)?)?;
        let section_alignment = alignment("section alignment", long(optional_offset + 32)?)?;
        let file_alignment = alignment("file alignment", long(optional_offset + 36)?)?;
        let section_table_offset = optional_offset + usize::from(word(coff_offset + 16)?);
        let sections = parse_sections(bytes, section_table_offset, word(coff_offset + 2)?)?;
        let directories = long(optional_offset + 108)?;
        let signature_size = if directories > 4 { long(optional_offset + 148)? } else { 0 };
        Ok(Self {
            bytes,
            machine: word(coff_offset)?,
            subsystem: word(optional_offset + 68)?,
            section_alignment,
            file_alignment,
            size_of_headers: long(optional_offset + 60)?,
            dll_characteristics: word(optional_offset + 70)?,
            signature_size,
            sections,
            coff_offset,
            optional_offset,
            section_table_offset,
        })
    }

    /// Returns the first section of this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Returns the content of the first section of this name, without padding.
    pub fn content(&self, name: &str) -> Option<&'a [u8]> {
        let section = self.section(name)?;
        let length = section.virtual_size.min(section.raw_size);
        slice_at(self.bytes, section.raw_offset.into(), length.into())
    }
}

/// Returns the place of the COFF header, behind the `PE` mark.
fn find_coff_header(bytes: &[u8]) -> Result<usize, PeError> {
    let mark = |offset| array_at::<2>(bytes, offset).map(|mark| format!("`{}`", mark.escape_ascii()));
    expect("first mark", &"`MZ`".to_owned(), &mark(0).unwrap_or_default())?;
    let offset = u32_at(bytes, 0x3c).and_then(|offset| usize::try_from(offset).ok());
    let offset = offset.ok_or(PeError::Truncated { part: "first header" })?;
    expect("second mark", &"`PE`".to_owned(), &mark(offset).unwrap_or_default())?;
    // A mark was read at `offset`, so it is far below the limit.
    Ok(offset + 4)
}

/// Reads the section table and checks that each section lies inside the file.
fn parse_sections(bytes: &[u8], table: usize, count: u16) -> Result<Vec<Section>, PeError> {
    let rows = (0..usize::from(count)).map(|index| {
        let row = array_at(bytes, table + index * SECTION_HEADER_SIZE);
        parse_section(bytes.len(), &row.ok_or(PeError::Truncated { part: "section table" })?)
    });
    rows.collect()
}

fn parse_section(length: usize, row: &[u8; SECTION_HEADER_SIZE]) -> Result<Section, PeError> {
    let field = |offset| u32_at(row, offset).unwrap_or_default();
    let name = row[..8].split(|byte| *byte == 0).next().unwrap_or_default();
    let section = Section {
        name: String::from_utf8_lossy(name).into_owned(),
        virtual_size: field(8),
        virtual_address: field(12),
        raw_size: field(16),
        raw_offset: field(20),
        characteristics: field(36),
    };
    let offset = u64::from(section.raw_offset);
    let end = offset + u64::from(section.raw_size);
    if section.raw_size > 0 && end > length as u64 {
        return Err(PeError::SectionOutside { name: section.name, offset, end, length });
    }
    Ok(section)
}

/// Checks an alignment.
fn alignment(field: &'static str, got: u32) -> Result<u32, PeError> {
    // More than 64 KiB is outside the specification for files, and no section alignment of that size is in use.
    if got.is_power_of_two() && got <= 0x1_0000 {
        return Ok(got);
    }
    Err(PeError::Field { field, expected: "a power of two up to 65536".to_owned(), got: got.to_string() })
}

/// Checks one value.
fn expect<T: PartialEq + ToString>(field: &'static str, expected: &T, got: &T) -> Result<(), PeError> {
    if expected == got {
        return Ok(());
    }
    Err(PeError::Field { field, expected: expected.to_string(), got: got.to_string() })
}

#[cfg(any(test, feature = "sample"))]
pub mod sample;
#[cfg(test)]
mod tests;

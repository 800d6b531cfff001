//! Appending sections to the stub.

use crate::bzimage::kernel_release;
use crate::cmdline::CommandLine;
use crate::os_release::OsRelease;
use crate::pe::{NX_COMPAT, Pe, SECTION_HEADER_SIZE, SUBSYSTEM_EFI_APPLICATION, Section};
use crate::sbat;

use super::UkiError;

/// Flags of a section that holds code and may be read (the kernel).
const CODE: u32 = 0x4000_0020;
/// Flags of a section that holds data and may be read.
const DATA: u32 = 0x4000_0040;
/// Fields of the headers, from the start of the optional header.
const SIZE_OF_INITIALIZED_DATA: usize = 8;
const SIZE_OF_IMAGE: usize = 56;
const CHECKSUM: usize = 64;
const DLL_CHARACTERISTICS: usize = 70;

/// The parts of an image.
#[derive(Debug, Clone, Copy)]
pub struct UkiParts<'a> {
    /// systemd's stub, unsigned.
    pub stub: &'a [u8],
    /// Who the image is; the boot menu sorts by it.
    pub os_release: &'a OsRelease,
    /// The whole command line.
    pub command_line: &'a CommandLine,
    /// SBAT text with lines for the image, added to those of stub and kernel.
    pub sbat: &'a str,
    /// Public half of the key that signs PCR policies, in PEM, if there is one.
    pub pcr_public_key: Option<&'a [u8]>,
    /// The kernel (`vmlinuz`), as Debian ships it.
    pub linux: &'a [u8],
    /// The initrd, compressed or not.
    pub initrd: &'a [u8],
}

/// Builds the unsigned image.
pub fn build(parts: &UkiParts<'_>) -> Result<Vec<u8>, UkiError> {
    let stub = Pe::parse(parts.stub).map_err(|source| UkiError::Executable { part: "stub", source })?;
    let kernel = Pe::parse(parts.linux).map_err(|source| UkiError::Executable { part: "kernel", source })?;
    let mut image = ImageUnderWork::new(&stub, parts.stub)?;
    image.replace_sbat(&stub, &kernel, parts.sbat)?;
    if kernel.dll_characteristics & NX_COMPAT == 0 {
        image.clear_nx_compat(&stub);
    }
    let os_release = parts.os_release.to_string();
    let command_line = parts.command_line.to_string();
    let uname = kernel_release(parts.linux)?;
    image.append(".osrel", DATA, os_release.as_bytes())?;
    image.append(".cmdline", DATA, command_line.as_bytes())?;
    image.append(".uname", DATA, uname.as_bytes())?;
    if let Some(key) = parts.pcr_public_key {
        image.append(".pcrpkey", DATA, key)?;
    }
    image.append(".linux", CODE, parts.linux)?;
    image.append(".initrd", DATA, parts.initrd)?;
    image.finish()
}

/// The image while it grows: the file so far, and what its headers must say in the end.
struct ImageUnderWork {
    file: Vec<u8>,
    coff_offset: usize,
    optional_offset: usize,
    /// Where the next row of the section table goes.
    next_row: usize,
    size_of_headers: usize,
    section_count: u16,
    file_alignment: u32,
    section_alignment: u32,
    /// First address behind the last section, not aligned.
    memory_end: u32,
    /// Bytes added to the initialized data.
    added_data: u32,
}

impl ImageUnderWork {
    fn new(stub: &Pe<'_>, bytes: &[u8]) -> Result<Self, UkiError> {
        check_stub(stub)?;
        let last = stub.sections.last().ok_or_else(|| bad_stub("it has no sections"))?;
        let memory_end = last.virtual_address.checked_add(last.virtual_size);
        Ok(Self {
            file: bytes.to_vec(),
            coff_offset: stub.coff_offset,
            optional_offset: stub.optional_offset,
            next_row: stub.section_table_offset + stub.sections.len() * SECTION_HEADER_SIZE,
            size_of_headers: usize::try_from(stub.size_of_headers).unwrap_or_default(),
            section_count: u16::try_from(stub.sections.len()).unwrap_or(u16::MAX),
            file_alignment: stub.file_alignment,
            section_alignment: stub.section_alignment,
            memory_end: memory_end.ok_or_else(|| bad_stub("its last section passes 4 GiB"))?,
            added_data: 0,
        })
    }

    /// Puts the merged SBAT text in the place of the stub's own.
    fn replace_sbat(&mut self, stub: &Pe<'_>, kernel: &Pe<'_>, own: &str) -> Result<(), UkiError> {
        let stub_text = stub.content(".sbat").ok_or_else(|| bad_stub("it has no section `.sbat`"))?;
        let kernel_text = kernel.content(".sbat");
        let texts: Vec<&[u8]> = [Some(stub_text), kernel_text, Some(own.as_bytes())].into_iter().flatten().collect();
        let merged = sbat::merge(&texts)?;
        let index = stub.sections.iter().position(|section| section.name == ".sbat").unwrap_or_default();
        let Section { raw_offset, raw_size, .. } = stub.sections[index];
        let size = u32::try_from(merged.len()).unwrap_or(u32::MAX);
        if size > raw_size {
            return Err(UkiError::SbatSpace { needed: merged.len(), available: raw_size });
        }
        let mut padded = merged;
        padded.resize(to_usize(raw_size), 0);
        self.put(to_usize(raw_offset), &padded);
        self.put(stub.section_table_offset + index * SECTION_HEADER_SIZE + 8, &size.to_le_bytes());
        Ok(())
    }

    /// Drops the promise that memory is never both writable and executable, which must hold for the kernel too.
    fn clear_nx_compat(&mut self, stub: &Pe<'_>) {
        let flags = stub.dll_characteristics & !NX_COMPAT;
        self.put(self.optional_offset + DLL_CHARACTERISTICS, &flags.to_le_bytes());
    }

    /// Adds one section at the end of file and memory.
    fn append(&mut self, name: &'static str, characteristics: u32, content: &[u8]) -> Result<(), UkiError> {
        if content.is_empty() {
            return Err(UkiError::Empty { name });
        }
        let row_end = self.next_row + SECTION_HEADER_SIZE;
        if row_end > self.size_of_headers {
            return Err(UkiError::HeaderSpace { name, needed: row_end, available: self.size_of_headers });
        }
        let section = self.place(name, characteristics, content.len()).ok_or(UkiError::TooLarge { name })?;
        self.put(self.next_row, &row(&section));
        self.file.resize(to_usize(section.raw_offset), 0);
        self.file.extend_from_slice(content);
        self.file.resize(to_usize(section.raw_offset) + to_usize(section.raw_size), 0);
        self.next_row = row_end;
        self.section_count = self.section_count.saturating_add(1);
        Ok(())
    }

    /// Works out where the next section lies; `None` past 4 GiB.
    fn place(&mut self, name: &str, characteristics: u32, length: usize) -> Option<Section> {
        let virtual_size = u32::try_from(length).ok()?;
        let virtual_address = self.memory_end.checked_next_multiple_of(self.section_alignment)?;
        let raw_offset = u32::try_from(self.file.len()).ok()?.checked_next_multiple_of(self.file_alignment)?;
        let raw_size = virtual_size.checked_next_multiple_of(self.file_alignment)?;
        raw_offset.checked_add(raw_size)?;
        self.memory_end = virtual_address.checked_add(virtual_size)?;
        self.added_data = self.added_data.checked_add(virtual_size)?;
        Some(Section { name: name.to_owned(), virtual_size, virtual_address, raw_size, raw_offset, characteristics })
    }

    /// Brings the headers up to date.
    fn finish(mut self) -> Result<Vec<u8>, UkiError> {
        let too_large = UkiError::TooLarge { name: ".initrd" };
        let size_of_image = self.memory_end.checked_next_multiple_of(self.section_alignment).ok_or(too_large)?;
        let data_at = self.optional_offset + SIZE_OF_INITIALIZED_DATA;
        let data = crate::little_endian::u32_at(&self.file, data_at).unwrap_or_default();
        self.put(data_at, &data.wrapping_add(self.added_data).to_le_bytes());
        self.put(self.optional_offset + SIZE_OF_IMAGE, &size_of_image.to_le_bytes());
        // Firmware does not look at the checksum; a signing tool computes its own.
        self.put(self.optional_offset + CHECKSUM, &0_u32.to_le_bytes());
        self.put(self.coff_offset + 2, &self.section_count.to_le_bytes());
        Ok(self.file)
    }

    /// Overwrites bytes in the stub's part of the file, whose bounds the parser has checked.
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        for (target, byte) in self.file.iter_mut().skip(offset).zip(bytes) {
            *target = *byte;
        }
    }
}

/// Refuses stubs to which nothing can be appended.
fn check_stub(stub: &Pe<'_>) -> Result<(), UkiError> {
    if stub.signature_size != 0 {
        return Err(bad_stub("it is signed, and a signature would not hold for the image"));
    }
    if stub.subsystem != SUBSYSTEM_EFI_APPLICATION || stub.section(".sdmagic").is_none() {
        return Err(bad_stub("it is not systemd's boot stub"));
    }
    if stub.section(".linux").is_some() {
        return Err(bad_stub("it already holds a kernel"));
    }
    let aligned = |section: &Section| {
        section.raw_offset.is_multiple_of(stub.file_alignment) && section.raw_size.is_multiple_of(stub.file_alignment)
    };
    match stub.sections.iter().find(|section| !aligned(section)) {
        None => Ok(()),
        Some(section) => Err(bad_stub(&format!("its section `{}` is not aligned in the file", section.name))),
    }
}

fn bad_stub(problem: &str) -> UkiError {
    UkiError::Stub { problem: problem.to_owned() }
}

/// Returns the stored form of a row of the section table.
fn row(section: &Section) -> Vec<u8> {
    let mut row = section.name.as_bytes().to_vec();
    row.resize(8, 0);
    for field in [section.virtual_size, section.virtual_address, section.raw_size, section.raw_offset, 0, 0, 0] {
        row.extend(field.to_le_bytes());
    }
    row.extend(section.characteristics.to_le_bytes());
    row
}

/// Widens a file offset; on every supported machine this loses nothing.
fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

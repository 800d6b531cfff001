//! A tiny executable made in memory, for tests here and of other crates (feature `sample`): enough of PE/COFF for our own reader, never for a machine.

use super::SUBSYSTEM_EFI_APPLICATION;

const FILE_ALIGNMENT: u32 = 512;
const SECTION_ALIGNMENT: u32 = 4096;
/// Where the optional header starts: behind the DOS stub, `PE\0\0` and the COFF header.
const OPTIONAL_HEADER: usize = 0x40 + 4 + 20;
const OPTIONAL_HEADER_BYTES: u16 = 240;
/// The size in the security directory (data directory 4), from the start of the optional header.
const SECURITY_SIZE: usize = 148;

/// Makes a 64-bit EFI program with these sections, room for `header_bytes` of headers and these DLL characteristics.
pub fn program(sections: &[(&str, &[u8])], header_bytes: u32, flags: u16) -> Vec<u8> {
    let mut file = b"MZ".to_vec();
    file.resize(0x3c, 0);
    file.extend(0x40_u32.to_le_bytes());
    file.extend(b"PE\0\0");
    let count = u16::try_from(sections.len()).unwrap_or(u16::MAX);
    for half in [0x8664, count, 0, 0, 0, 0, 0, 0, OPTIONAL_HEADER_BYTES, 0x22e] {
        file.extend(half.to_le_bytes());
    }
    file.extend(optional_header(count, header_bytes, flags));
    let mut raw_offset = header_bytes;
    let mut address = SECTION_ALIGNMENT;
    for (name, content) in sections {
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let raw_size = size.next_multiple_of(FILE_ALIGNMENT);
        let mut row = name.as_bytes().to_vec();
        row.resize(8, 0);
        for field in [size, address, raw_size, raw_offset, 0, 0, 0, 0x4000_0040] {
            row.extend(field.to_le_bytes());
        }
        file.extend(row);
        raw_offset += raw_size;
        address = (address + size).next_multiple_of(SECTION_ALIGNMENT);
    }
    file.resize(header_bytes as usize, 0);
    for (_, content) in sections {
        file.extend(*content);
        file.resize(file.len().next_multiple_of(FILE_ALIGNMENT as usize), 0);
    }
    file
}

/// Sets how many bytes of signature the program claims to have.
pub fn set_signature_size(program: &mut [u8], size: u32) {
    for (place, byte) in program.iter_mut().skip(OPTIONAL_HEADER + SECURITY_SIZE).zip(size.to_le_bytes()) {
        *place = byte;
    }
}

fn optional_header(sections: u16, header_bytes: u32, flags: u16) -> Vec<u8> {
    let mut header = 0x20b_u16.to_le_bytes().to_vec();
    header.resize(32, 0);
    header.extend(SECTION_ALIGNMENT.to_le_bytes());
    header.extend(FILE_ALIGNMENT.to_le_bytes());
    header.resize(56, 0);
    header.extend((SECTION_ALIGNMENT * (1 + u32::from(sections))).to_le_bytes());
    header.extend(header_bytes.to_le_bytes());
    header.resize(68, 0);
    header.extend(SUBSYSTEM_EFI_APPLICATION.to_le_bytes());
    header.extend(flags.to_le_bytes());
    header.resize(108, 0);
    header.extend(16_u32.to_le_bytes());
    header.resize(usize::from(OPTIONAL_HEADER_BYTES), 0);
    header
}

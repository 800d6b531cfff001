//! A tiny executable made in memory, and damage to it.

use proptest::prelude::*;

use super::*;

const FILE_ALIGNMENT: u32 = 512;
const SECTION_ALIGNMENT: u32 = 4096;

/// Makes a 64-bit EFI program with these sections and room for `header_bytes` of headers.
pub(crate) fn tiny(sections: &[(&str, &[u8])], header_bytes: u32, flags: u16) -> Vec<u8> {
    let mut file = b"MZ".to_vec();
    file.resize(0x3c, 0);
    file.extend(0x40_u32.to_le_bytes());
    file.extend(b"PE\0\0");
    let count = u16::try_from(sections.len()).unwrap();
    for half in [0x8664, count, 0, 0, 0, 0, 0, 0, 240, 0x22e] {
        file.extend(half.to_le_bytes());
    }
    file.extend(optional_header(sections, header_bytes, flags));
    let mut raw_offset = header_bytes;
    let mut address = SECTION_ALIGNMENT;
    for (name, content) in sections {
        let size = u32::try_from(content.len()).unwrap();
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

fn optional_header(sections: &[(&str, &[u8])], header_bytes: u32, flags: u16) -> Vec<u8> {
    let mut header = 0x20b_u16.to_le_bytes().to_vec();
    header.resize(32, 0);
    header.extend(SECTION_ALIGNMENT.to_le_bytes());
    header.extend(FILE_ALIGNMENT.to_le_bytes());
    header.resize(56, 0);
    let image = SECTION_ALIGNMENT * (1 + u32::try_from(sections.len()).unwrap());
    header.extend(image.to_le_bytes());
    header.extend(header_bytes.to_le_bytes());
    header.resize(68, 0);
    header.extend(SUBSYSTEM_EFI_APPLICATION.to_le_bytes());
    header.extend(flags.to_le_bytes());
    header.resize(108, 0);
    header.extend(16_u32.to_le_bytes());
    header.resize(240, 0);
    header
}

fn sample() -> Vec<u8> {
    tiny(&[(".text", b"code"), (".sdmagic", b"#### LoaderInfo")], 1024, NX_COMPAT)
}

#[test]
fn reads_headers_and_sections() {
    let file = sample();
    let pe = Pe::parse(&file).unwrap();
    assert_eq!((pe.machine, pe.subsystem, pe.file_alignment, pe.section_alignment), (0x8664, 10, 512, 4096));
    assert_eq!((pe.size_of_headers, pe.dll_characteristics, pe.signature_size), (1024, NX_COMPAT, 0));
    assert_eq!(pe.content(".text"), Some(&b"code"[..]));
    assert_eq!(pe.section(".sdmagic").unwrap().raw_offset, 1536);
    assert_eq!(pe.content(".linux"), None);
}

#[test]
fn says_what_is_wrong_with_other_files() {
    let elf = Pe::parse(b"\x7fELF and so on").unwrap_err().to_string();
    assert!(elf.contains("expected `MZ`"), "{elf}");
    let file = sample();
    assert!(matches!(Pe::parse(&file[..0x60]).unwrap_err(), PeError::Truncated { .. }));
    let cut = Pe::parse(&file[..1800]).unwrap_err();
    assert!(matches!(&cut, PeError::SectionOutside { name, .. } if name == ".sdmagic"), "{cut}");
    let mut narrow = file.clone();
    narrow[0x58] = 0x0b;
    narrow[0x59] = 0x01;
    assert!(matches!(Pe::parse(&narrow).unwrap_err(), PeError::Field { field: "optional header magic", .. }));
}

proptest! {
    #[test]
    fn parser_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..400), flips in proptest::collection::vec((0_usize..600, any::<u8>()), 0..12), cut in 0_usize..2048) {
        let _ = Pe::parse(&noise);
        let mut file = sample();
        for (at, value) in flips {
            file[at] = value;
        }
        file.truncate(cut);
        if let Ok(pe) = Pe::parse(&file) {
            let _ = pe.content(".text");
        }
    }
}

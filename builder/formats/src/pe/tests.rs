//! What is read of a tiny executable, and damage to it.

use proptest::prelude::*;

use super::sample::program;
use super::*;

fn sample() -> Vec<u8> {
    program(&[(".text", b"code"), (".sdmagic", b"#### LoaderInfo")], 1024, NX_COMPAT)
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

#[test]
fn a_number_at_any_place_of_the_headers_may_be_extreme() {
    let good = sample();
    for at in 0..600 {
        for value in [0, 1, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, u32::MAX] {
            let mut file = good.clone();
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
            if let Ok(pe) = Pe::parse(&file) {
                // What a section holds is part of the file, never beside it.
                let inside =
                    |content: &[u8]| file.as_ptr_range().contains(&content.as_ptr()) && content.len() <= file.len();
                let contents = pe.sections.iter().filter_map(|section| pe.content(&section.name));
                assert!(
                    contents.into_iter().all(|content| content.is_empty() || inside(content)),
                    "{value:#x} at {at}"
                );
            }
        }
    }
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

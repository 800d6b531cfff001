//! Real files of the running machine, and files made in memory.

use proptest::prelude::*;

use super::*;

const NOTE_JSON: &str = r#"[{"feature":"zstd","description":"Support zstd","priority":"required","soname":["libzstd.so.1"]},{"soname":["a.so.2","a.so.1"]}]"#;

/// Makes a library with two needed names, a search path, a name and one dlopen note.
fn tiny(note: &str) -> Vec<u8> {
    let strings = b"\0libc.so.6\0libm.so.6\0$ORIGIN/x:/usr/lib/y\0libtiny.so\0";
    let mut dynamic = Vec::new();
    let base = 0x10_0000_u64;
    let (strings_at, dynamic_at, notes_at) = (400_u64, 480_u64, 640_u64);
    for (tag, value) in
        [(1, 1), (1, 11), (29, 21), (14, 42), (5, base + strings_at), (10, strings.len() as u64), (0, 0)]
    {
        dynamic.extend(u64::to_le_bytes(tag));
        dynamic.extend(value.to_le_bytes());
    }
    let mut notes = Vec::new();
    notes.extend(4_u32.to_le_bytes());
    notes.extend(u32::try_from(note.len() + 1).unwrap().to_le_bytes());
    notes.extend(0x407c_0c0a_u32.to_le_bytes());
    notes.extend(b"FDO\0");
    notes.extend(note.as_bytes());
    notes.push(0);
    notes.resize(notes.len().next_multiple_of(4), 0);

    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    for long in [0, 64, 0] {
        file.extend(u64::to_le_bytes(long));
    }
    for (half, width) in [(0_u32, 4), (64, 2), (56, 2), (3, 2), (0, 2), (0, 2), (0, 2)] {
        file.extend(&half.to_le_bytes()[..width]);
    }
    let total = notes_at + notes.len() as u64;
    for (kind, offset, size) in
        [(1_u32, 0, total), (2, dynamic_at, dynamic.len() as u64), (4, notes_at, notes.len() as u64)]
    {
        file.extend(kind.to_le_bytes());
        file.extend(4_u32.to_le_bytes());
        for long in [offset, base + offset, base + offset, size, size, 4] {
            file.extend(long.to_le_bytes());
        }
    }
    for (at, bytes) in [(strings_at, &strings[..]), (dynamic_at, &dynamic), (notes_at, &notes)] {
        file.resize(usize::try_from(at).unwrap(), 0);
        file.extend(bytes);
    }
    file
}

#[test]
fn reads_names_paths_and_notes() {
    let elf = Elf::parse(&tiny(NOTE_JSON)).unwrap();
    assert_eq!(elf.needed, ["libc.so.6", "libm.so.6"]);
    assert_eq!(elf.runpath, ["$ORIGIN/x", "/usr/lib/y"]);
    assert_eq!(elf.soname.as_deref(), Some("libtiny.so"));
    assert_eq!((elf.machine, elf.interpreter, elf.rpath.len()), (62, None, 0));
    assert_eq!(
        (elf.dlopen[0].priority, &elf.dlopen[0].sonames[..]),
        (Priority::Required, &["libzstd.so.1".to_owned()][..])
    );
    assert_eq!((elf.dlopen[1].priority, elf.dlopen[1].sonames.len()), (Priority::Recommended, 2));
}

#[test]
fn reads_the_running_test_program() {
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert!(elf.interpreter.unwrap().contains("ld-"));
    assert!(elf.needed.iter().any(|name| name.starts_with("libc.")), "{:?}", elf.needed);
}

#[test]
fn refuses_malformed_notes_and_other_classes() {
    assert!(matches!(Elf::parse(&tiny("{")).unwrap_err(), ElfError::Note { .. }));
    assert_eq!(Elf::parse(b"#!/bin/sh").unwrap_err(), ElfError::Mark);
    let mut narrow = tiny(NOTE_JSON);
    narrow[4] = 1;
    assert_eq!(Elf::parse(&narrow).unwrap_err(), ElfError::Field { field: "class", expected: 2, got: 1 });
}

#[test]
fn names_the_part_in_which_a_cut_file_ends() {
    let file = tiny(NOTE_JSON);
    for (cut, part) in [(30, "header"), (100, "program headers"), (500, "dynamic table"), (700, "notes")] {
        assert_eq!(Elf::parse(&file[..cut]).unwrap_err(), ElfError::Truncated { part });
    }
}

proptest! {
    #[test]
    fn parser_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200), flips in proptest::collection::vec((0_usize..800, any::<u8>()), 1..10), cut in 0_usize..900) {
        let mut started = b"\x7fELF\x02\x01".to_vec();
        started.extend(noise);
        let _ = Elf::parse(&started);
        let mut file = tiny(NOTE_JSON);
        for (at, value) in flips {
            if let Some(byte) = file.get_mut(at) {
                *byte = value;
            }
        }
        file.truncate(cut);
        let _ = Elf::parse(&file);
    }
}

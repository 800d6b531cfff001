//! Images from a tiny stub made in memory, and parts that must be refused.

use proptest::prelude::*;

use crate::pe::sample::program;

use super::*;

const STUB_SBAT: &[u8] = b"sbat,1,SBAT Version,sbat,1,x\nsystemd-stub,1,s,s,257,y\n\0";
const OWN_SBAT: &str = "sbat,1,SBAT Version,sbat,1,x\ncasemate,1,c,c,1,z\n";

fn stub(header_bytes: u32) -> Vec<u8> {
    program(
        &[(".text", b"code"), (".sbat", STUB_SBAT), (".sdmagic", b"#### LoaderInfo"), (".reloc", b"reloc")],
        header_bytes,
        NX,
    )
}

const NX: u16 = crate::pe::NX_COMPAT;

/// A kernel that is both an EFI program and has a boot header.
fn kernel(flags: u16) -> Vec<u8> {
    let mut kernel = program(&[(".setup", &[0; 512])], 1024, flags);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    kernel[0x300..0x305].copy_from_slice(b"6.12 ");
    kernel
}

struct Sample {
    stub: Vec<u8>,
    os_release: OsRelease,
    command_line: CommandLine,
    linux: Vec<u8>,
}

impl Sample {
    fn new() -> Self {
        let os_release = "ID=casemate\nIMAGE_VERSION=1\n".parse().unwrap();
        let command_line = "roothash=aa ro".parse().unwrap();
        Self { stub: stub(1024), os_release, command_line, linux: kernel(NX) }
    }

    fn parts(&self) -> UkiParts<'_> {
        UkiParts {
            stub: &self.stub,
            os_release: &self.os_release,
            command_line: &self.command_line,
            sbat: OWN_SBAT,
            pcr_public_key: None,
            linux: &self.linux,
            initrd: b"initrd",
        }
    }

    fn build(&self) -> Result<Vec<u8>, UkiError> {
        build(&self.parts())
    }
}

#[test]
fn reads_back_all_parts() {
    let sample = Sample::new();
    let image = sample.build().unwrap();
    let uki = Uki::parse(&image).unwrap();
    assert_eq!(uki.command_line, sample.command_line);
    assert_eq!(uki.os_release, sample.os_release);
    assert_eq!(uki.kernel_release.as_deref(), Some("6.12"));
    assert_eq!(uki.pe.content(".linux"), Some(&sample.linux[..]));
    assert_eq!(uki.pe.content(".initrd"), Some(&b"initrd"[..]));
    assert_eq!(uki.pe.content(".text"), Some(&b"code"[..]));
    let names: Vec<_> = uki.pe.sections.iter().map(|section| section.name.as_str()).collect();
    assert_eq!(names, [".text", ".sbat", ".sdmagic", ".reloc", ".osrel", ".cmdline", ".uname", ".linux", ".initrd"]);
}

#[test]
fn virtual_size_is_the_true_length_and_places_are_aligned() {
    let image = Sample::new().build().unwrap();
    let pe = Pe::parse(&image).unwrap();
    assert_eq!(pe.section(".cmdline").unwrap().virtual_size, 14);
    let mut memory_end = 0;
    for section in &pe.sections {
        assert_eq!((section.raw_offset % 512, section.raw_size % 512, section.virtual_address % 4096), (0, 0, 0));
        assert!(section.virtual_size <= section.raw_size);
        assert!(section.virtual_address >= memory_end, "`{}` overlaps in memory", section.name);
        memory_end = section.virtual_address + section.virtual_size;
    }
    let header = |offset| crate::little_endian::u32_at(&image, pe.optional_offset + offset).unwrap();
    assert_eq!(header(56), memory_end.next_multiple_of(4096), "size of image");
    assert_eq!(header(64), 0, "checksum");
}

#[test]
fn merges_sbat_of_stub_and_image() {
    let image = Sample::new().build().unwrap();
    let sbat = Pe::parse(&image).unwrap().content(".sbat").unwrap();
    let lines: Vec<_> = std::str::from_utf8(sbat).unwrap().lines().skip(1).collect();
    assert_eq!(lines, ["systemd-stub,1,s,s,257,y", "casemate,1,c,c,1,z", "\0"]);
}

#[test]
fn keeps_the_no_execute_promise_only_if_the_kernel_makes_it() {
    let mut sample = Sample::new();
    assert_eq!(Pe::parse(&sample.build().unwrap()).unwrap().dll_characteristics, NX);
    sample.linux = kernel(0);
    assert_eq!(Pe::parse(&sample.build().unwrap()).unwrap().dll_characteristics, 0);
}

#[test]
fn adds_the_public_key_before_the_kernel() {
    let sample = Sample::new();
    let image = build(&UkiParts { pcr_public_key: Some(b"key"), ..sample.parts() }).unwrap();
    assert_eq!(Pe::parse(&image).unwrap().content(".pcrpkey"), Some(&b"key"[..]));
}

#[test]
fn refuses_a_stub_without_room_in_its_headers() {
    let mut sample = Sample::new();
    // Four rows of the stub end at byte 488, so the first new row does not fit into 512.
    sample.stub = stub(512);
    let error = sample.build().unwrap_err();
    assert_eq!(error, UkiError::HeaderSpace { name: ".osrel", needed: 528, available: 512 });
}

#[test]
fn refuses_what_is_not_an_unsigned_stub() {
    let mut sample = Sample::new();
    sample.stub = program(&[(".text", b"code")], 1024, NX);
    assert!(matches!(sample.build().unwrap_err(), UkiError::Stub { .. }));
    sample.stub = stub(1024);
    sample.stub[0x58 + 148] = 1;
    assert!(sample.build().unwrap_err().to_string().contains("it is signed"));
    sample.stub = Sample::new().build().unwrap();
    assert!(sample.build().unwrap_err().to_string().contains("already holds a kernel"));
}

#[test]
fn refuses_long_sbat_empty_parts_and_foreign_kernels() {
    let sample = Sample::new();
    let long = format!("sbat,1\nx,1,{}\n", "y".repeat(600));
    let error = build(&UkiParts { sbat: &long, ..sample.parts() }).unwrap_err();
    assert!(matches!(error, UkiError::SbatSpace { available: 512, .. }), "{error}");
    let error = build(&UkiParts { initrd: b"", ..sample.parts() }).unwrap_err();
    assert_eq!(error, UkiError::Empty { name: ".initrd" });
    let error = build(&UkiParts { linux: b"\x7fELF", ..sample.parts() }).unwrap_err();
    assert!(error.to_string().starts_with("kernel: "), "{error}");
}

#[test]
fn reader_names_the_missing_section() {
    let bare = stub(1024);
    assert_eq!(Uki::parse(&bare).unwrap_err(), UkiError::Missing { name: ".linux" });
    let only_kernel = program(&[(".linux", b"k")], 1024, 0);
    assert_eq!(Uki::parse(&only_kernel).unwrap_err(), UkiError::Missing { name: ".cmdline" });
}

#[test]
fn a_number_at_any_place_of_stub_or_image_may_be_extreme() {
    let whole = Sample::new().build().unwrap();
    for at in (0..1024).step_by(2) {
        for value in [0, 1, 0x7fff_ffff, 0xffff_fe00, u32::MAX] {
            let mut image = whole.clone();
            image[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let _ = Uki::parse(&image);
            let mut sample = Sample::new();
            sample.stub[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let _ = sample.build();
        }
    }
}

proptest! {
    #[test]
    fn never_panics_on_damaged_parts(flips in proptest::collection::vec((0_usize..1000, any::<u8>()), 1..10), cut in 0_usize..4000) {
        let mut sample = Sample::new();
        let mut image = sample.build().unwrap();
        for (at, value) in flips {
            image[at] = value;
            sample.stub[at] = value;
            sample.linux[at] = value;
        }
        image.truncate(cut);
        let _ = Uki::parse(&image);
        let _ = sample.build();
    }
}

//! A boot stub, a kernel and a unified kernel image of a few kilobytes.

use formats::cmdline::CommandLine;
use formats::uki::{UkiParts, build};

const FILE_ALIGNMENT: u32 = 512;
const SECTION_ALIGNMENT: u32 = 4096;
const HEADER_BYTES: u32 = 1024;
/// Where the optional header starts: behind the DOS stub, `PE\0\0` and the COFF header.
const OPTIONAL_HEADER: usize = 0x40 + 4 + 20;
const SBAT: &[u8] = b"sbat,1,SBAT Version,sbat,1,x\n";

/// The release that the kernel carries.
pub(crate) const KERNEL_RELEASE: &str = "6.12.1-test";

/// A kernel: an EFI program with the boot header of `vmlinuz`.
pub(crate) fn kernel() -> Vec<u8> {
    let mut kernel = program(&[(".setup", &[0; 512])]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    let release = format!("{KERNEL_RELEASE} (x)");
    kernel[0x300..0x300 + release.len()].copy_from_slice(release.as_bytes());
    kernel
}

/// A unified kernel image that claims to be signed.
pub(crate) fn uki(command_line: &CommandLine, version: &str, linux: &[u8], initrd: &[u8]) -> Vec<u8> {
    let mut sbat = SBAT.to_vec();
    sbat.extend(b"systemd-stub,1,s,s,257,y\n\0");
    let stub = program(&[(".text", b"code"), (".sbat", &sbat), (".sdmagic", b"#### LoaderInfo")]);
    let os_release = format!("ID=casemate\nIMAGE_ID=tiny\nIMAGE_VERSION={version}\n");
    let mut image = build(&UkiParts {
        stub: &stub,
        os_release: &os_release.parse().unwrap(),
        command_line,
        sbat: "sbat,1,SBAT Version,sbat,1,x\ncasemate,1,c,c,1,z\n",
        pcr_public_key: None,
        linux,
        initrd,
    })
    .unwrap();
    set_signature_size(&mut image, 8);
    image
}

/// Sets the size in the security directory (PE/COFF, data directory 4).
pub(crate) fn set_signature_size(image: &mut [u8], size: u32) {
    let at = OPTIONAL_HEADER + 148;
    image[at..at + 4].copy_from_slice(&size.to_le_bytes());
}

/// A 64-bit EFI program with these sections.
fn program(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = b"MZ".to_vec();
    file.resize(0x3c, 0);
    file.extend(0x40_u32.to_le_bytes());
    file.extend(b"PE\0\0");
    let count = u16::try_from(sections.len()).unwrap();
    for half in [0x8664, count, 0, 0, 0, 0, 0, 0, 240, 0x22e] {
        file.extend(half.to_le_bytes());
    }
    file.extend(optional_header());
    let (mut raw_offset, mut address) = (HEADER_BYTES, SECTION_ALIGNMENT);
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
    file.resize(HEADER_BYTES as usize, 0);
    for (_, content) in sections {
        file.extend(*content);
        file.resize(file.len().next_multiple_of(FILE_ALIGNMENT as usize), 0);
    }
    file
}

fn optional_header() -> Vec<u8> {
    let mut header = vec![0; 240];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &0x20b_u16.to_le_bytes());
    put(32, &SECTION_ALIGNMENT.to_le_bytes());
    put(36, &FILE_ALIGNMENT.to_le_bytes());
    put(60, &HEADER_BYTES.to_le_bytes());
    put(68, &formats::pe::SUBSYSTEM_EFI_APPLICATION.to_le_bytes());
    put(70, &formats::pe::NX_COMPAT.to_le_bytes());
    put(108, &16_u32.to_le_bytes());
    header
}

//! A boot loader, a boot stub, a kernel and a unified kernel image of a few kilobytes.

use formats::cmdline::CommandLine;
use formats::loader::sample;
use formats::pe::NX_COMPAT;
use formats::pe::sample::{program, set_signature_size};
use formats::uki::{UkiParts, build};

const HEADER_BYTES: u32 = 1024;
const SBAT: &[u8] = b"sbat,1,SBAT Version,sbat,1,x\n";

/// The release that the kernel carries.
pub(crate) const KERNEL_RELEASE: &str = "6.12.1-test";

/// The version that the boot loader says it is.
pub(crate) const LOADER_VERSION: &str = "257.13-1~deb13u1";

/// A boot loader of this version that claims to be signed.
pub(crate) fn loader(version: &str) -> Vec<u8> {
    let mut loader = sample::loader(version);
    set_signature_size(&mut loader, 8);
    loader
}

/// A kernel: an EFI program with the boot header of `vmlinuz`.
pub(crate) fn kernel() -> Vec<u8> {
    let mut kernel = program(&[(".setup", &[0; 512])], HEADER_BYTES, NX_COMPAT);
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
    let sections: [(&str, &[u8]); 3] = [(".text", b"code"), (".sbat", &sbat), (".sdmagic", b"#### LoaderInfo")];
    let stub = program(&sections, HEADER_BYTES, NX_COMPAT);
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

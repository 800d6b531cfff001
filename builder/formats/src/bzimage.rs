//! The version text inside an x86 kernel image.
//!
//! Boot protocol (kernel documentation, "The Linux/x86 Boot Protocol"): `HdrS` at 0x202, and at 0x20e the place of the version
//! text, less 0x200. Nothing else of the kernel is read.

use crate::little_endian::{array_at, u16_at};

/// Why no version can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BzImageError {
    /// No boot header.
    #[error("kernel: mark at 0x202 is `{got}`, expected `HdrS`: this is not an x86 kernel image (`vmlinuz`)")]
    Mark {
        /// What is there.
        got: String,
    },
    /// The version text is missing or not closed.
    #[error("kernel: no version text at byte {offset}: the image is cut or was built without one")]
    Version {
        /// Where it should be.
        offset: usize,
    },
}

/// Returns the release of a kernel image, as `uname -r` prints it on the running kernel.
pub fn kernel_release(image: &[u8]) -> Result<String, BzImageError> {
    let mark: [u8; 4] = array_at(image, 0x202).unwrap_or_default();
    if &mark != b"HdrS" {
        return Err(BzImageError::Mark { got: mark.escape_ascii().to_string() });
    }
    let offset = usize::from(u16_at(image, 0x20e).unwrap_or_default()) + 0x200;
    let text = image.get(offset..).unwrap_or_default();
    // The release ends at the first blank; the builder's address and the date follow.
    let length = text.iter().take(256).position(|byte| matches!(byte, b' ' | 0)).unwrap_or_default();
    let release = text.get(..length).filter(|release| release.iter().all(u8::is_ascii_graphic) && !release.is_empty());
    match release {
        Some(release) if offset > 0x200 => Ok(String::from_utf8_lossy(release).into_owned()),
        _ => Err(BzImageError::Version { offset }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn image(version: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x600];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        image[0x500..0x500 + version.len()].copy_from_slice(version);
        image
    }

    #[test]
    fn takes_the_release_up_to_the_first_blank() {
        let image = image(b"6.12.107+deb13-cloud-amd64 (debian-kernel) #1 SMP\0");
        assert_eq!(kernel_release(&image).unwrap(), "6.12.107+deb13-cloud-amd64");
    }

    #[test]
    fn refuses_other_files_and_missing_versions() {
        assert!(matches!(kernel_release(b"MZ").unwrap_err(), BzImageError::Mark { .. }));
        assert_eq!(kernel_release(&image(b"")).unwrap_err(), BzImageError::Version { offset: 0x500 });
        assert!(kernel_release(&image(b"6.1\n2 x")).is_err());
        assert!(kernel_release(&image(b"6.12 x")[..0x502]).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(offset: u16, cut in 0_usize..0x600) {
            let mut image = image(b"6.12 x");
            image[0x20e..0x210].copy_from_slice(&offset.to_le_bytes());
            let _ = kernel_release(&image[..cut]);
        }
    }
}

//! systemd-boot as a program: which version it is.
//!
//! It says so in a section of its own, `.sdmagic`: `#### LoaderInfo: systemd-boot 257.13-1~deb13u1 ####` (systemd, `src/boot/boot.c`, `DECLARE_NOALLOC_SECTION`).
//! `bootctl update` goes by the same mark, and leaves what has none or another name alone. Nobody vouches for what a program says of itself.

use std::cmp::Ordering;

use crate::names::LoaderVersion;
use crate::names::NameError;
use crate::pe::Pe;
use crate::pe::PeError;
use crate::version_order;

/// Around what a program of systemd's says of itself; the stub of kernel images has the same mark with another name.
const MARK: (&str, &str) = ("#### LoaderInfo: ", " ####");
/// Where it lies on an ESP (UAPI.1; UEFI 2.10, section 3.5.1.1), in the order in which it is exchanged. Firmware that was told nothing starts the last,
/// and falls back to it from the other: so it is touched only after the disk has taken the first.
pub const PLACES: [&str; 2] = ["EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI"];
/// How systemd-boot calls itself.
const NAME: &str = "systemd-boot ";

/// Why a program is no boot loader whose version is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoaderError {
    /// No program.
    #[error(transparent)]
    Executable(#[from] PeError),
    /// It does not say what it is.
    #[error("it has no section `.sdmagic` with a mark of systemd's")]
    NoMark,
    /// It says that it is something else.
    #[error("it says that it is `{0}`, not systemd-boot")]
    Other(String),
    /// Its version is none.
    #[error(transparent)]
    Version(#[from] NameError),
}

/// The version of a systemd-boot, signed or not. Signatures are not checked.
pub fn version(program: &[u8]) -> Result<LoaderVersion, LoaderError> {
    let pe = Pe::parse(program)?;
    let text = pe.content(".sdmagic").and_then(|bytes| std::str::from_utf8(bytes).ok());
    let text = text.map(|text| text.trim_end_matches('\0')).and_then(|text| text.strip_prefix(MARK.0));
    let text = text.and_then(|text| text.strip_suffix(MARK.1)).ok_or(LoaderError::NoMark)?;
    let version = text.strip_prefix(NAME).ok_or_else(|| LoaderError::Other(printable(text)))?;
    Ok(version.parse()?)
}

/// Compares two versions: `Less` if `left` is the older.
pub fn compare(left: &LoaderVersion, right: &LoaderVersion) -> Ordering {
    version_order::compare_text(left.as_str(), right.as_str())
}

/// It goes to a terminal.
fn printable(text: &str) -> String {
    text.chars().take(80).filter(|each| !each.is_control()).collect()
}

#[cfg(any(test, feature = "sample"))]
pub mod sample {
    //! A boot loader that says its version and does nothing, for tests here and of other crates (feature `sample`).

    use crate::pe::NX_COMPAT;
    use crate::pe::sample::program;

    /// One of this version.
    pub fn loader(version: &str) -> Vec<u8> {
        marked(&format!("#### LoaderInfo: systemd-boot {version} ####"))
    }

    /// A program with this mark.
    pub fn marked(mark: &str) -> Vec<u8> {
        program(&[(".text", b"starts kernels"), (".sdmagic", mark.as_bytes())], 1024, NX_COMPAT)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::sample::loader;
    use super::sample::marked;
    use super::*;

    #[test]
    fn a_loader_says_its_version() {
        for text in ["257.13-1~deb13u1", "258", "260~rc1-1+b2", "261.1_1:2^3"] {
            assert_eq!(version(&loader(text)).unwrap().as_str(), text);
        }
        assert_eq!(version(&marked("#### LoaderInfo: systemd-boot 257 ####\0")).unwrap().as_str(), "257");
    }

    #[test]
    fn what_is_no_systemd_boot_has_no_version() {
        for mark in ["", "#### LoaderInfo: ", "LoaderInfo: systemd-boot 257", "#### LoaderInfo: systemd-boot 257"] {
            assert_eq!(version(&marked(mark)), Err(LoaderError::NoMark), "{mark}");
        }
        let stub = version(&marked("#### LoaderInfo: systemd-stub 257 ####")).unwrap_err().to_string();
        assert_eq!(stub, "it says that it is `systemd-stub 257`, not systemd-boot");
        assert!(matches!(version(&marked("#### LoaderInfo: systemd-boot  ####")), Err(LoaderError::Version(_))));
        assert!(matches!(version(&marked("#### LoaderInfo: systemd-boot 2\x1b ####")), Err(LoaderError::Version(_))));
        assert!(matches!(version(b"loader"), Err(LoaderError::Executable(_))));
    }

    #[test]
    fn debian_numbers_are_in_their_order() {
        let ordered = ["252.39-1~deb12u1", "257~rc3-1", "257.9-1~deb13u1", "257.9-1", "257.13-1~deb13u1", "258-1"];
        let versions = ordered.map(|text| text.parse::<LoaderVersion>().unwrap());
        assert!(versions.iter().is_sorted_by(|one, other| compare(one, other).is_lt()));
    }

    proptest! {
        #[test]
        fn a_changed_loader_never_panics(at in 0_usize..2048, byte in any::<u8>()) {
            let mut changed = loader("257.13-1~deb13u1");
            changed[at] = byte;
            let _ = version(&changed);
        }
    }
}

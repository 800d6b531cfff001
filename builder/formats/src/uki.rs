//! Unified kernel images: kernel, initrd and command line behind systemd's boot stub in one executable.
//!
//! UAPI.5. The parts become sections of the stub, in the order and with the header values that `ukify` gives them, so that both tools
//! make the same file from the same parts. The virtual size of a section is the true length of its content, because the stub measures
//! exactly that many bytes. The image is not signed here, and no part is looked for: the caller brings bytes.

mod building;

pub use building::{UkiParts, build};

use crate::bzimage::BzImageError;
use crate::cmdline::{CommandLine, CommandLineError};
use crate::os_release::{OsRelease, OsReleaseError};
use crate::pe::{Pe, PeError, SUBSYSTEM_EFI_APPLICATION};
use crate::sbat::SbatError;

/// What a unified kernel image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uki<'a> {
    /// The executable with all its sections.
    pub pe: Pe<'a>,
    /// Content of `.cmdline`.
    pub command_line: CommandLine,
    /// Content of `.osrel`.
    pub os_release: OsRelease,
    /// Content of `.uname`, if it is there.
    pub kernel_release: Option<String>,
}

/// Why an image cannot be built or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// Stub, kernel or image is not an executable.
    #[error("{part}: {source}")]
    Executable {
        /// Which part.
        part: &'static str,
        /// What is wrong.
        #[source]
        source: PeError,
    },
    /// The stub is not one.
    #[error("stub: {problem}: use `linuxx64.efi.stub` from package systemd-boot-efi")]
    Stub {
        /// What is wrong.
        problem: String,
    },
    /// No room for another row of the section table.
    #[error(
        "stub has no room in its headers for section `{name}`: {needed} bytes needed, {available} there; use a newer stub"
    )]
    HeaderSpace {
        /// The section.
        name: &'static str,
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        available: usize,
    },
    /// The merged SBAT text is longer than the stub's section.
    #[error(
        "merged `.sbat` has {needed} bytes, the stub's section holds {available}: shorten the image's own SBAT lines"
    )]
    SbatSpace {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        available: u32,
    },
    /// The image would pass 4 GiB.
    #[error("image grows past 4 GiB at section `{name}`: make kernel or initrd smaller")]
    TooLarge {
        /// The section.
        name: &'static str,
    },
    /// A part without content.
    #[error("section `{name}` would be empty: the firmware would not load the image, bring its content")]
    Empty {
        /// The section.
        name: &'static str,
    },
    /// SBAT text of a part is malformed.
    #[error(transparent)]
    Sbat(#[from] SbatError),
    /// The kernel has no release text.
    #[error(transparent)]
    Kernel(#[from] BzImageError),
    /// A section that must be there is not.
    #[error("image has no section `{name}`: it is not a unified kernel image")]
    Missing {
        /// The section.
        name: &'static str,
    },
    /// A text section is not text.
    #[error("section `{name}` is not UTF-8 text: the image is damaged")]
    Text {
        /// The section.
        name: &'static str,
    },
    /// The embedded command line is malformed.
    #[error("section `.cmdline`: {0}")]
    CommandLine(#[from] CommandLineError),
    /// The embedded os-release is malformed.
    #[error("section `.osrel`: {0}")]
    OsRelease(#[from] OsReleaseError),
}

impl<'a> Uki<'a> {
    /// Reads a unified kernel image, signed or not. Signatures are not checked.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, UkiError> {
        let pe = Pe::parse(bytes).map_err(|source| UkiError::Executable { part: "image", source })?;
        if pe.subsystem != SUBSYSTEM_EFI_APPLICATION || pe.content(".linux").is_none() {
            return Err(UkiError::Missing { name: ".linux" });
        }
        let command_line = text(&pe, ".cmdline")?.trim_end().parse()?;
        let os_release = text(&pe, ".osrel")?.parse()?;
        let kernel_release = match pe.section(".uname") {
            Some(_) => Some(text(&pe, ".uname")?.to_owned()),
            None => None,
        };
        Ok(Self { pe, command_line, os_release, kernel_release })
    }
}

/// Returns the text of a section, without the zero byte that some tools add.
fn text<'a>(pe: &Pe<'a>, name: &'static str) -> Result<&'a str, UkiError> {
    let content = pe.content(name).ok_or(UkiError::Missing { name })?;
    let text = std::str::from_utf8(content).map_err(|_| UkiError::Text { name })?;
    Ok(text.trim_end_matches('\0'))
}

#[cfg(test)]
mod tests;

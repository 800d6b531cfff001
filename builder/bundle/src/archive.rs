//! `bundle.tar`: the manifest, its signature, then the parts. Specified in `docs/formats/bundle.md`.
//!
//! The reader verifies the manifest before it looks at a part, and each part while it streams. It writes only to what the caller
//! hands in and never makes a path from the archive. Bytes of a part reach the sink before its digest is known: the caller must
//! not use what was written until [`BundleReader::finish`] has returned.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::manifest::{Manifest, ManifestError, Part, PartName};
use crate::signature::{Context, LARGEST_ENVELOPE};
use crate::ustar::{BLOCK, END, claimed_size, header, padding};
use crate::verify::{TrustedKeys, Verified, VerifyError, verify};
use formats::digest::Sha256Digest;

/// First member of a bundle, and its name in the output directory.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Second member of a bundle, and its name in the output directory.
pub const SIGNATURE_FILE: &str = "manifest.json.sig";

/// First member of `newest.tar`.
pub const NEWEST_FILE: &str = "newest.json";

/// Second member of `newest.tar`.
pub const NEWEST_SIGNATURE: &str = "newest.json.sig";

/// How many bytes are copied at a time.
const CHUNK: u64 = 256 * 1024;

/// Why a bundle was refused or could not be written.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Reading or writing failed.
    #[error("cannot {action} `{member}`: {source}")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Which member.
        member: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The archive ends too early.
    #[error("the archive ends inside `{member}`: it was cut off; fetch it again")]
    Truncated {
        /// Which member.
        member: String,
    },
    /// A header that is not the one the manifest calls for.
    #[error(
        "the archive holds something else where `{expected}` must stand: it was not made by casemate, or it was changed"
    )]
    UnexpectedMember {
        /// The member that must come here.
        expected: String,
    },
    /// The manifest or its signature is larger than allowed.
    #[error("`{member}` claims {size} bytes, at most {largest} are allowed: this is no archive of casemate")]
    TooLarge {
        /// Which member.
        member: &'static str,
        /// Claimed size in bytes.
        size: u64,
        /// Largest size in bytes.
        largest: usize,
    },
    /// The signature does not hold.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The manifest is malformed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The bytes of a part are not those of the manifest.
    #[error(
        "part `{part}` has the digest {found} instead of {expected}: it was changed or damaged; fetch the bundle again"
    )]
    Digest {
        /// The part.
        part: PartName,
        /// Digest in the manifest.
        expected: Sha256Digest,
        /// Digest of the bytes.
        found: Sha256Digest,
    },
    /// A source has more bytes than the manifest says (writer only).
    #[error("part `{part}` has more than the {size} bytes of the manifest: make the manifest again")]
    PartTooLong {
        /// The part.
        part: PartName,
        /// Size in the manifest.
        size: u64,
    },
    /// Something follows the last part.
    #[error("the archive holds something after its last member: it was changed; fetch it again")]
    TrailingData,
    /// A part was asked for that is not there, or the bundle was finished too early.
    #[error("the bundle has {left} parts left: read all parts, then finish")]
    Order {
        /// Number of parts that were not yet read.
        left: usize,
    },
}

/// Writes a bundle. `open` gives the bytes of each part, in the order of [`PartName`]; they are checked against the manifest.
pub fn write_bundle<R: Read>(
    out: &mut dyn Write,
    manifest: &[u8],
    signature: &[u8],
    mut open: impl FnMut(PartName, &Part) -> io::Result<R>,
) -> Result<(), ArchiveError> {
    let parsed = Manifest::parse_unverified(manifest)?;
    write_head(out, manifest, signature)?;
    for (&name, part) in &parsed.parts {
        let file = part.file.as_str();
        let mut source = open(name, part).map_err(|error| failed("read", file, error))?;
        write_bytes(out, file, &header(file, part.size))?;
        copy_part(&mut source, out, name, part)?;
        if read_up_to(&mut source, &mut [0], file)? != 0 {
            return Err(ArchiveError::PartTooLong { part: name, size: part.size });
        }
        write_bytes(out, file, &END[..padding(part.size)])?;
    }
    write_bytes(out, "end of archive", &END)
}

/// Writes what a bundle begins with: the manifest and its signature.
pub fn write_head(out: &mut dyn Write, manifest: &[u8], signature: &[u8]) -> Result<(), ArchiveError> {
    write_small(out, MANIFEST_FILE, manifest)?;
    write_small(out, SIGNATURE_FILE, signature)
}

/// Writes `newest.tar`: the statement of what is newest and its signature in one file, so that nobody ever reads one of
/// them alone.
pub fn write_newest(out: &mut dyn Write, statement: &[u8], signature: &[u8]) -> Result<(), ArchiveError> {
    write_small(out, NEWEST_FILE, statement)?;
    write_small(out, NEWEST_SIGNATURE, signature)?;
    write_bytes(out, "end of archive", &END)
}

/// Reads `newest.tar` to its end, at most some 130 KiB: the statement and its envelope. Nobody vouches for them yet:
/// see [`crate::Judge`].
pub fn read_newest(mut source: impl Read) -> Result<(Vec<u8>, Vec<u8>), ArchiveError> {
    let statement = read_small(&mut source, NEWEST_FILE, Context::Newest.largest_document())?;
    let signature = read_small(&mut source, NEWEST_SIGNATURE, LARGEST_ENVELOPE)?;
    read_end(&mut source)?;
    Ok((statement, signature))
}

/// Reads a bundle from a stream, part by part.
pub struct BundleReader<R> {
    source: R,
    manifest: Verified<Manifest>,
    digest: Sha256Digest,
    left: BTreeMap<PartName, Part>,
}

impl<R: Read> BundleReader<R> {
    /// Reads and verifies the manifest; no part is touched.
    pub fn open(mut source: R, trusted: &TrustedKeys, threshold: NonZeroUsize) -> Result<Self, ArchiveError> {
        let manifest = read_small(&mut source, MANIFEST_FILE, Context::Manifest.largest_document())?;
        let signature = read_small(&mut source, SIGNATURE_FILE, LARGEST_ENVELOPE)?;
        let digest = Sha256Digest::of(&manifest);
        let manifest = Manifest::parse(&verify(&manifest, &signature, Context::Manifest, trusted, threshold)?)?;
        let left = manifest.parts.clone();
        Ok(Self { source, manifest, digest, left })
    }

    /// The verified manifest.
    pub fn manifest(&self) -> &Verified<Manifest> {
        &self.manifest
    }

    /// SHA-256 over the bytes of `manifest.json`, which statements of what is newest and test reports name.
    pub fn manifest_digest(&self) -> Sha256Digest {
        self.digest
    }

    /// The part that [`Self::read_part`] will read next.
    pub fn next_part(&self) -> Option<(PartName, &Part)> {
        self.left.first_key_value().map(|(&name, part)| (name, part))
    }

    /// Reads the next part into `sink` and checks header, size, digest and padding.
    pub fn read_part(&mut self, sink: &mut dyn Write) -> Result<PartName, ArchiveError> {
        let Some((name, part)) = self.left.pop_first() else {
            return Err(ArchiveError::Order { left: 0 });
        };
        let file = part.file.as_str();
        if read_block(&mut self.source, file)? != header(file, part.size) {
            return Err(ArchiveError::UnexpectedMember { expected: file.to_owned() });
        }
        copy_part(&mut self.source, sink, name, &part)?;
        read_padding(&mut self.source, file, part.size)?;
        Ok(name)
    }

    /// Checks that all parts were read and that nothing follows them.
    pub fn finish(mut self) -> Result<Verified<Manifest>, ArchiveError> {
        if !self.left.is_empty() {
            return Err(ArchiveError::Order { left: self.left.len() });
        }
        read_end(&mut self.source)?;
        Ok(self.manifest)
    }
}

/// Two zero blocks, and nothing behind them.
fn read_end(source: &mut dyn Read) -> Result<(), ArchiveError> {
    for _ in 0..2 {
        if read_block(source, "end of archive")? != [0; BLOCK] {
            return Err(ArchiveError::TrailingData);
        }
    }
    if read_up_to(source, &mut [0], "end of archive")? == 0 { Ok(()) } else { Err(ArchiveError::TrailingData) }
}

/// Copies exactly `part.size` bytes and compares the digest.
fn copy_part(source: &mut dyn Read, sink: &mut dyn Write, name: PartName, part: &Part) -> Result<(), ArchiveError> {
    let file = part.file.as_str();
    let mut hasher = Sha256::new();
    let mut left = part.size;
    let mut chunk = Vec::new();
    while left > 0 {
        chunk.clear();
        let wanted = left.min(CHUNK);
        (&mut *source).take(wanted).read_to_end(&mut chunk).map_err(|error| failed("read", file, error))?;
        if chunk.len() as u64 != wanted {
            return Err(ArchiveError::Truncated { member: file.to_owned() });
        }
        hasher.update(&chunk);
        write_bytes(sink, file, &chunk)?;
        left -= wanted;
    }
    let found = Sha256Digest::from(<[u8; 32]>::from(hasher.finalize()));
    if found == part.sha256 { Ok(()) } else { Err(ArchiveError::Digest { part: name, expected: part.sha256, found }) }
}

/// Reads a member whose size only its header says, into memory.
fn read_small(source: &mut dyn Read, member: &'static str, largest: usize) -> Result<Vec<u8>, ArchiveError> {
    let block = read_block(source, member)?;
    let size = claimed_size(&block).unwrap_or_default();
    if block != header(member, size) {
        return Err(ArchiveError::UnexpectedMember { expected: member.to_owned() });
    }
    if size > largest as u64 {
        return Err(ArchiveError::TooLarge { member, size, largest });
    }
    let mut bytes = Vec::new();
    (&mut *source).take(size).read_to_end(&mut bytes).map_err(|error| failed("read", member, error))?;
    if bytes.len() as u64 != size {
        return Err(ArchiveError::Truncated { member: member.to_owned() });
    }
    read_padding(source, member, size)?;
    Ok(bytes)
}

fn write_small(out: &mut dyn Write, member: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
    let size = bytes.len() as u64;
    write_bytes(out, member, &header(member, size))?;
    write_bytes(out, member, bytes)?;
    write_bytes(out, member, &END[..padding(size)])
}

fn read_block(source: &mut dyn Read, member: &str) -> Result<[u8; BLOCK], ArchiveError> {
    let mut block = [0; BLOCK];
    if read_up_to(source, &mut block, member)? == BLOCK {
        return Ok(block);
    }
    Err(ArchiveError::Truncated { member: member.to_owned() })
}

fn read_padding(source: &mut dyn Read, member: &str, size: u64) -> Result<(), ArchiveError> {
    let mut bytes = vec![0; padding(size)];
    if read_up_to(source, &mut bytes, member)? != bytes.len() {
        return Err(ArchiveError::Truncated { member: member.to_owned() });
    }
    // Anything but zeros there would be bytes that no signature covers.
    if bytes.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(ArchiveError::TrailingData) }
}

fn read_up_to(source: &mut dyn Read, bytes: &mut [u8], member: &str) -> Result<usize, ArchiveError> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read", member, error)),
        }
    }
    Ok(filled)
}

fn write_bytes(out: &mut dyn Write, member: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
    out.write_all(bytes).map_err(|error| failed("write", member, error))
}

fn failed(action: &'static str, member: &str, source: io::Error) -> ArchiveError {
    ArchiveError::Io { action, member: member.to_owned(), source }
}

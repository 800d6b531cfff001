//! Opens a Debian package: `debian-binary`, `control.tar`, `data.tar` in this order (deb(5)).
//!
//! The whole file is hashed and compared before one byte of it is parsed ([`verify`]). Decoding is bounded: memory of the decoder,
//! absolute size and ratio of the output. Control members are held in memory, data is a stream of tar entries.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

use sha2::{Digest as _, Sha256};

use crate::ar::{ArError, ArReader, Content, Member};
use crate::decode::{self, DecodeError};
use crate::tar::{Kind, TarError, TarReader};
use formats::digest::Sha256Digest;

/// Most bytes of all control members together; the largest of Debian are below 8 MiB.
const MAX_CONTROL_BYTES: u64 = 64 << 20;

/// Why a package file is refused.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// The file is not the one that was asked for.
    #[error(
        "package `{package}`: the file has sha256 {found} and {found_size} bytes, wanted {wanted} and {wanted_size} bytes; delete it and fetch it again"
    )]
    Digest {
        /// Name of the package.
        package: String,
        /// Digest of the file.
        found: Sha256Digest,
        /// Size of the file in bytes.
        found_size: u64,
        /// Digest from the lock.
        wanted: Sha256Digest,
        /// Size from the lock.
        wanted_size: u64,
    },
    /// The file cannot be read.
    #[error("cannot read the package file")]
    Io(#[source] std::io::Error),
    /// The outer archive is malformed.
    #[error(transparent)]
    Ar(#[from] ArError),
    /// A member cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An inner archive is malformed.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The members are not those of deb(5) or not in its order.
    #[error("found member `{found}` where `{wanted}` must stand; the package is malformed, do not install it")]
    Member {
        /// What stands there.
        found: String,
        /// What must stand there.
        wanted: &'static str,
    },
    /// The format version is not 2.x.
    #[error("unknown package format `{0}`, only 2.0 is known; the package is malformed or newer than this builder")]
    Version(String),
    /// A control member is not allowed.
    #[error("control member `{name}`: {reason}; the package is malformed, do not install it")]
    Control {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// One file of the control archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// Content.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// The files of the control archive by name: `control`, `md5sums`, `conffiles`, `preinst`, `triggers` and the like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlMembers(pub BTreeMap<String, ControlFile>);

impl ControlMembers {
    /// True if there is such a member.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A member as text; empty if the package has none.
    pub fn text(&self, name: &str) -> Result<&str, DebError> {
        let bytes = self.0.get(name).map_or(&[][..], |file| &file.bytes);
        std::str::from_utf8(bytes).map_err(|_| DebError::Control { name: name.to_owned(), reason: "it is not UTF-8" })
    }
}

/// Compares size and SHA-256 of a package file with the wanted ones and goes back to its start.
pub fn verify<F: Read + Seek>(
    package: &str,
    file: &mut F,
    wanted: Sha256Digest,
    wanted_size: u64,
) -> Result<(), DebError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 256 * 1024];
    let mut found_size = 0_u64;
    loop {
        let count = file.read(&mut buffer).map_err(DebError::Io)?;
        if count == 0 {
            break;
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        found_size = found_size.saturating_add(count as u64);
    }
    let found = Sha256Digest::from_hasher(hasher);
    if found != wanted || found_size != wanted_size {
        return Err(DebError::Digest { package: package.to_owned(), found, found_size, wanted, wanted_size });
    }
    file.seek(SeekFrom::Start(0)).map_err(DebError::Io)?;
    Ok(())
}

/// An open package whose control members are read and whose data comes next.
#[derive(Debug)]
pub struct Deb<R> {
    archive: ArReader<BufReader<R>>,
    control: ControlMembers,
    data: Member,
}

/// The data archive of an open package.
pub type DataReader<'a, R> = TarReader<decode::Decoder<Content<'a, BufReader<R>>>>;

impl<R: Read> Deb<R> {
    /// Reads up to the start of the data archive.
    pub fn open(input: R) -> Result<Self, DebError> {
        let mut archive = ArReader::new(BufReader::with_capacity(128 * 1024, input))?;
        check_format(&mut archive)?;
        let member = expect_member(&mut archive, "control.tar")?;
        let control = read_control(&mut archive, &member)?;
        let data = expect_member(&mut archive, "data.tar")?;
        Ok(Self { archive, control, data })
    }

    /// The control members.
    pub fn control(&self) -> &ControlMembers {
        &self.control
    }

    /// The entries of the data archive; to be called once.
    pub fn data(&mut self) -> Result<DataReader<'_, R>, DebError> {
        let decoder = decode::open(&self.data.name, self.data.size, self.archive.content())?;
        Ok(TarReader::new(decoder))
    }

    /// Gives the control members away.
    pub fn into_control(self) -> ControlMembers {
        self.control
    }
}

fn check_format<R: Read>(archive: &mut ArReader<R>) -> Result<(), DebError> {
    expect_member(archive, "debian-binary")?;
    let mut text = String::new();
    archive.content().take(64).read_to_string(&mut text).map_err(DebError::Io)?;
    match text.lines().next() {
        Some(line) if line.starts_with("2.") => Ok(()),
        _ => Err(DebError::Version(text.escape_debug().to_string())),
    }
}

/// The next member whose name does not start with `_` (deb(5): those may be passed over); its name must fit.
fn expect_member<R: Read>(archive: &mut ArReader<R>, wanted: &'static str) -> Result<Member, DebError> {
    let is_version = wanted == "debian-binary";
    loop {
        let Some(member) = archive.next_member()? else {
            return Err(DebError::Member { found: "end of file".into(), wanted });
        };
        let rest = member.name.strip_prefix(wanted);
        if rest.is_some_and(|rest| rest.is_empty() || (!is_version && rest.starts_with('.'))) {
            return Ok(member);
        }
        if is_version || !member.name.starts_with('_') {
            return Err(DebError::Member { found: member.name, wanted });
        }
    }
}

fn read_control<R: Read>(archive: &mut ArReader<R>, member: &Member) -> Result<ControlMembers, DebError> {
    let mut tar = TarReader::new(decode::open(&member.name, member.size, archive.content())?);
    let mut members = ControlMembers::default();
    let mut total = 0_u64;
    while let Some(entry) = tar.next_entry()? {
        if entry.path.is_root() {
            continue;
        }
        let refuse = |reason| DebError::Control { name: entry.path.as_str().to_owned(), reason };
        check_control_name(entry.path.as_str()).map_err(refuse)?;
        total = total.saturating_add(entry.size);
        match entry.kind {
            Kind::File if total <= MAX_CONTROL_BYTES => {}
            Kind::File => return Err(refuse("the control members are larger than 64 MiB")),
            _ => return Err(refuse("it is not a regular file")),
        }
        let mut bytes = Vec::new();
        tar.content().read_to_end(&mut bytes).map_err(DebError::Io)?;
        if members.0.insert(entry.path.as_str().to_owned(), ControlFile { bytes, mode: entry.mode & 0o777 }).is_some() {
            return Err(refuse("it is there twice"));
        }
    }
    if !members.has("control") {
        return Err(DebError::Control { name: "control".into(), reason: "it is missing" });
    }
    Ok(members)
}

/// Names become file names in the dpkg database, next to files that the database makes itself.
fn check_control_name(name: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name == "list" {
        return Err("the name belongs to the dpkg database");
    }
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("only letters, digits, `-` and `_` may be in its name");
    }
    Ok(())
}

//! One entry of an archive.

use std::fmt;
use std::str::FromStr;

use super::CpioError;

/// A relative path without `.` and `..`, as an archive stores it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryPath(String);

impl EntryPath {
    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the directory that holds this entry; `None` at the top.
    pub(super) fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }
}

impl FromStr for EntryPath {
    type Err = CpioError;

    fn from_str(path: &str) -> Result<Self, CpioError> {
        // The name is reserved: readers stop there.
        let reserved = path == super::writing::TRAILER;
        let bad_part = path.split('/').any(|part| matches!(part, "" | "." | ".."));
        if reserved || bad_part || path.chars().any(char::is_control) {
            return Err(CpioError::Path { path: path.to_owned() });
        }
        Ok(Self(path.to_owned()))
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// A directory.
    Directory,
    /// A regular file with its bytes.
    File(&'a [u8]),
    /// A symbolic link with its target, which may be absolute: it is resolved inside the unpacked root.
    Symlink(&'a str),
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name.
    pub path: EntryPath,
    /// Permission bits, at most `0o7777`.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// What it is.
    pub content: Content<'a>,
}

const TYPE_MASK: u32 = 0o170_000;

impl<'a> Entry<'a> {
    /// Makes a directory owned by root with mode 0755.
    pub const fn directory(path: EntryPath) -> Self {
        Self { path, permissions: 0o755, uid: 0, gid: 0, content: Content::Directory }
    }

    /// Makes a file owned by root.
    pub const fn file(path: EntryPath, permissions: u32, bytes: &'a [u8]) -> Self {
        Self { path, permissions, uid: 0, gid: 0, content: Content::File(bytes) }
    }

    /// Makes a symbolic link owned by root.
    pub const fn symlink(path: EntryPath, target: &'a str) -> Self {
        Self { path, permissions: 0o777, uid: 0, gid: 0, content: Content::Symlink(target) }
    }

    /// Returns the file type bits of the mode.
    pub(super) const fn type_bits(&self) -> u32 {
        match self.content {
            Content::Directory => 0o040_000,
            Content::File(_) => 0o100_000,
            Content::Symlink(_) => 0o120_000,
            Content::CharacterDevice { .. } => 0o020_000,
            Content::BlockDevice { .. } => 0o060_000,
        }
    }

    /// Returns the bytes stored behind the name.
    pub(super) const fn data(&self) -> &'a [u8] {
        match self.content {
            Content::File(bytes) => bytes,
            Content::Symlink(target) => target.as_bytes(),
            _ => &[],
        }
    }

    /// Returns the device number of a device, else zeros.
    pub(super) const fn device(&self) -> (u32, u32) {
        match self.content {
            Content::CharacterDevice { major, minor } | Content::BlockDevice { major, minor } => (major, minor),
            _ => (0, 0),
        }
    }
}

impl<'a> Content<'a> {
    /// Makes the content that mode bits and data describe; `None` for types that an archive of ours never has.
    pub(super) fn from_mode(mode: u32, data: &'a [u8], (major, minor): (u32, u32)) -> Option<Self> {
        match mode & TYPE_MASK {
            0o040_000 if data.is_empty() => Some(Self::Directory),
            0o100_000 => Some(Self::File(data)),
            0o120_000 => std::str::from_utf8(data).ok().filter(|target| !target.is_empty()).map(Self::Symlink),
            0o020_000 if data.is_empty() => Some(Self::CharacterDevice { major, minor }),
            0o060_000 if data.is_empty() => Some(Self::BlockDevice { major, minor }),
            _ => None,
        }
    }
}

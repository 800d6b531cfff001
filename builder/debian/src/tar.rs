//! Reads the tar archives inside a Debian package, strictly: what dpkg-deb writes is accepted, everything doubtful is refused.
//!
//! GNU and POSIX (`ustar`, PAX) headers are read. A PAX `size`, `path` or `linkpath` that disagrees with the header is how
//! archives are made to look different to two readers, so a PAX `size` is refused outright and a name may be given once only.
//! Nothing here touches a file; [`crate::extract`] does.

use std::collections::BTreeMap;
use std::io::Read;

use formats::blocks::is_zero;

use crate::tar_header::{BLOCK_BYTES, HeaderError, RawHeader};
use crate::tree_path::{TreePath, TreePathError};

/// Most bytes of one long name or PAX block.
const MAX_EXTENSION_BYTES: u64 = 256 * 1024;
/// Most entries of one archive; the largest packages of Debian hold fewer than 100 000.
const MAX_ENTRIES: u64 = 2_000_000;

/// Why a tar archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// A header is malformed.
    #[error("bad tar header after `{after}`")]
    Header {
        /// The last entry that was read.
        after: String,
        /// What is wrong.
        #[source]
        source: HeaderError,
    },
    /// A name is not allowed.
    #[error(transparent)]
    Path(#[from] TreePathError),
    /// The structure is not allowed.
    #[error("refused tar entry `{entry}`: {reason}; the package is malformed, do not install it")]
    Refused {
        /// The entry, or the one before the bad place.
        entry: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The stream ends early or cannot be decoded.
    #[error("cannot read the tar archive after `{after}`, fetch the package again")]
    Io {
        /// The last entry that was read.
        after: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; its content follows.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with its target as written.
    Symlink(String),
    /// A hard link to an earlier entry of the same archive.
    HardLink(TreePath),
    /// A character device with major and minor number.
    CharDevice(u32, u32),
    /// A block device with major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes.
    pub path: TreePath,
    /// What it is.
    pub kind: Kind,
    /// Permission bits including setuid, setgid and sticky.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Size of the content in bytes.
    pub size: u64,
    /// Extended attributes by name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Values that GNU or PAX extension entries give for the next entry.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<String>,
    link: Option<String>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// A streaming tar reader.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    left: u64,
    padding: u64,
    last: String,
    entries: u64,
    global_comments: bool,
}

impl<R: Read> TarReader<R> {
    /// A reader that stands before the first entry.
    pub fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0, last: "(start)".into(), entries: 0, global_comments: false }
    }

    /// Passes over global PAX headers that hold nothing but a comment: `git archive` notes its commit so. No package has them.
    pub fn with_global_comments(mut self) -> Self {
        self.global_comments = true;
        self
    }

    /// The next entry; `None` after the end mark, when only zeros follow.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        let mut extended = false;
        loop {
            self.skip_rest()?;
            let Some(header) = self.read_header()? else {
                if extended {
                    return Err(self.refused("an extension without an entry after it"));
                }
                return self.check_end();
            };
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(self.refused("more than 2 000 000 entries"));
            }
            if header.type_flag == b'g' && self.global_comments && !extended {
                let body = self.read_extension(header.size)?;
                self.check_comment(&body)?;
                continue;
            }
            if !matches!(header.type_flag, b'L' | b'K' | b'x') {
                return self.make_entry(&header, extensions).map(Some);
            }
            extended = true;
            let body = self.read_extension(header.size)?;
            self.apply_extension(header.type_flag, &body, &mut extensions)?;
        }
    }

    /// The content of the current entry.
    pub fn content(&mut self) -> EntryContent<'_, R> {
        EntryContent { reader: self }
    }

    /// Wraps a reason with the name of the entry being read.
    pub fn refused(&self, reason: &'static str) -> TarError {
        TarError::Refused { entry: self.last.clone(), reason }
    }

    fn io(&self, source: std::io::Error) -> TarError {
        TarError::Io { after: self.last.clone(), source }
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let wanted = self.left.saturating_add(self.padding);
        let skipped = std::io::copy(&mut self.input.by_ref().take(wanted), &mut std::io::sink())
            .map_err(|error| self.io(error))?;
        if skipped != wanted {
            return Err(self.io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    fn read_header(&mut self) -> Result<Option<RawHeader>, TarError> {
        let mut block = [0_u8; BLOCK_BYTES];
        self.input.read_exact(&mut block).map_err(|error| self.io(error))?;
        if is_zero(&block) {
            return Ok(None);
        }
        RawHeader::parse(&block).map(Some).map_err(|source| TarError::Header { after: self.last.clone(), source })
    }

    /// After the first zero block: the second, then zeros to the end of the stream.
    fn check_end(&mut self) -> Result<Option<Entry>, TarError> {
        let mut buffer = [0_u8; 8192];
        let mut total = 0_usize;
        loop {
            let count = self.input.read(&mut buffer).map_err(|error| self.io(error))?;
            if count == 0 {
                break;
            }
            total = total.saturating_add(count);
            if buffer.iter().take(count).any(|byte| *byte != 0) {
                return Err(self.refused("something follows the end mark"));
            }
        }
        if total < BLOCK_BYTES { Err(self.refused("the end mark is cut short")) } else { Ok(None) }
    }

    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENSION_BYTES {
            return Err(self.refused("an extension is larger than 256 KiB"));
        }
        (self.left, self.padding) = (size, padding_after(size));
        let mut body = Vec::new();
        EntryContent { reader: self }
            .read_to_end(&mut body)
            .map_err(|source| TarError::Io { after: self.last.clone(), source })?;
        Ok(body)
    }

    fn apply_extension(&self, flag: u8, body: &[u8], extensions: &mut Extensions) -> Result<(), TarError> {
        match flag {
            b'L' => self.set_once(&mut extensions.path, long_name(body)),
            b'K' => self.set_once(&mut extensions.link, long_name(body)),
            _ => self.apply_pax(body, extensions),
        }
    }

    fn check_comment(&self, mut body: &[u8]) -> Result<(), TarError> {
        while !body.is_empty() {
            let record = split_pax_record(body).filter(|(key, ..)| *key == "comment");
            (_, _, body) = record.ok_or_else(|| self.refused("a global PAX header with more than a comment"))?;
        }
        Ok(())
    }

    /// A second value for the same name is refused: readers differ in which of them counts.
    fn set_once(&self, slot: &mut Option<String>, value: Option<String>) -> Result<(), TarError> {
        let value = value.ok_or_else(|| self.refused("a name is not UTF-8 or holds a zero byte"))?;
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.refused("a name is given twice")),
        }
    }

    /// PAX records: `LENGTH KEY=VALUE\n`, the length counts the whole record (POSIX pax, extended header).
    fn apply_pax(&self, mut body: &[u8], extensions: &mut Extensions) -> Result<(), TarError> {
        while !body.is_empty() {
            let (key, value, rest) = split_pax_record(body).ok_or_else(|| self.refused("a malformed PAX record"))?;
            body = rest;
            match key {
                "path" => self.set_once(&mut extensions.path, long_name(value))?,
                "linkpath" => self.set_once(&mut extensions.link, long_name(value))?,
                // Times finer than a second and names of owners are not used: Debian counts in numbers and seconds.
                "mtime" | "atime" | "ctime" | "uname" | "gname" | "comment" => {}
                "size" => {
                    return Err(self.refused("a PAX size, which could hide entries from one reader"));
                }
                _ => {
                    let name =
                        key.strip_prefix("SCHILY.xattr.").ok_or_else(|| self.refused("an unknown PAX record"))?;
                    extensions.xattrs.insert(name.to_owned(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    fn make_entry(&mut self, header: &RawHeader, extensions: Extensions) -> Result<Entry, TarError> {
        let path: TreePath = extensions.path.as_deref().unwrap_or(&header.name).parse()?;
        self.last = path.to_string();
        let link = extensions.link.as_deref().unwrap_or(&header.link);
        let kind = self.entry_kind(header, link)?;
        if kind != Kind::File && header.size != 0 {
            return Err(self.refused("content after something that is not a regular file"));
        }
        if path.is_root() && kind != Kind::Directory {
            return Err(self.refused("the root itself is not a directory"));
        }
        (self.left, self.padding) = (header.size, padding_after(header.size));
        Ok(Entry {
            path,
            kind,
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            mtime: header.mtime,
            size: header.size,
            xattrs: extensions.xattrs,
        })
    }

    fn entry_kind(&self, header: &RawHeader, link: &str) -> Result<Kind, TarError> {
        let (major, minor) = header.device;
        match header.type_flag {
            b'0' | 0 if header.name.ends_with('/') => Err(self.refused("a regular file whose name ends in `/`")),
            b'0' | 0 => Ok(Kind::File),
            b'1' => Ok(Kind::HardLink(link.parse()?)),
            b'2' if link.is_empty() || link.len() > 4095 || link.chars().any(char::is_control) => {
                Err(self.refused("a bad symlink target"))
            }
            b'2' => Ok(Kind::Symlink(link.to_owned())),
            b'3' => Ok(Kind::CharDevice(major, minor)),
            b'4' => Ok(Kind::BlockDevice(major, minor)),
            b'5' => Ok(Kind::Directory),
            b'6' => Ok(Kind::Fifo),
            _ => Err(self.refused("an unknown entry type")),
        }
    }
}

/// Content of the entry a [`TarReader`] stands on.
#[derive(Debug)]
pub struct EntryContent<'a, R> {
    reader: &'a mut TarReader<R>,
}

impl<R: Read> Read for EntryContent<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.reader.left;
        if left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.reader.input.by_ref().take(left).read(buffer)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.reader.left = left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// Bytes between the end of a content and the next block.
fn padding_after(size: u64) -> u64 {
    (BLOCK_BYTES as u64 - size % BLOCK_BYTES as u64) % BLOCK_BYTES as u64
}

/// A GNU long name ends in one zero; PAX values do not.
fn long_name(body: &[u8]) -> Option<String> {
    let body = body.strip_suffix(b"\0").unwrap_or(body);
    let text = std::str::from_utf8(body).ok()?;
    (!text.contains('\0')).then(|| text.to_owned())
}

/// Key, value and what follows the first record.
fn split_pax_record(body: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = body.iter().take(8).position(|byte| *byte == b' ')?;
    let digits = std::str::from_utf8(body.get(..space)?).ok()?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length: usize = digits.parse().ok()?;
    let record = body.get(space.checked_add(1)?..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((std::str::from_utf8(record.get(..equals)?).ok()?, record.get(equals.checked_add(1)?..)?, body.get(length..)?))
}

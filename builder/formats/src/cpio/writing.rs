//! Writing an archive, entry by entry, into any output.

use std::collections::BTreeSet;
use std::io::Write;

use crate::fixedtime::SourceDateEpoch;

use super::{Content, CpioError, Entry, EntryPath};

pub(super) const MAGIC: &str = "070701";
pub(super) const TRAILER: &str = "TRAILER!!!";

/// Writes a `newc` archive. Nothing is valid before [`Writer::finish`].
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    time: SourceDateEpoch,
    inode: u32,
    previous: Option<EntryPath>,
    directories: BTreeSet<String>,
}

/// The values of a header that differ between entries.
struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    uid: u32,
    gid: u32,
    time: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> Writer<W> {
    /// Starts an archive in which every entry has the same time.
    pub const fn new(output: W, time: SourceDateEpoch) -> Self {
        Self { output, time, inode: 0, previous: None, directories: BTreeSet::new() }
    }

    /// Adds an entry; names must come in byte order, parents first.
    pub fn add(&mut self, entry: &Entry<'_>) -> Result<(), CpioError> {
        self.check_place(&entry.path)?;
        let header = self.header(entry)?;
        self.write_entry(&header, entry.path.as_str(), entry.data())?;
        if entry.content == Content::Directory {
            self.directories.insert(entry.path.as_str().to_owned());
        }
        self.previous = Some(entry.path.clone());
        Ok(())
    }

    /// Closes the archive and returns the output.
    pub fn finish(mut self) -> Result<W, CpioError> {
        let header = Header { inode: 0, mode: 0, links: 1, uid: 0, gid: 0, time: 0, size: 0, device: (0, 0) };
        self.write_entry(&header, TRAILER, &[])?;
        Ok(self.output)
    }

    /// Checks order and parent.
    fn check_place(&self, path: &EntryPath) -> Result<(), CpioError> {
        if let Some(previous) = self.previous.as_ref().filter(|previous| *previous >= path) {
            return Err(CpioError::Order { previous: previous.clone(), path: path.clone() });
        }
        match path.parent() {
            Some(parent) if !self.directories.contains(parent) => {
                Err(CpioError::Parent { path: path.clone(), parent: parent.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn header(&mut self, entry: &Entry<'_>) -> Result<Header, CpioError> {
        let too_large = |field, most, got| CpioError::Field { path: entry.path.clone(), field, most, got };
        if entry.permissions > 0o7777 {
            return Err(too_large("permissions", 0o7777, entry.permissions.into()));
        }
        let length = entry.data().len();
        let size = u32::try_from(length).map_err(|_| too_large("size", u32::MAX.into(), length as u64))?;
        self.inode += 1;
        Ok(Header {
            inode: self.inode,
            mode: entry.type_bits() | entry.permissions,
            links: if entry.content == Content::Directory { 2 } else { 1 },
            uid: entry.uid,
            gid: entry.gid,
            time: self.time.seconds(),
            size,
            device: entry.device(),
        })
    }

    fn write_entry(&mut self, header: &Header, name: &str, data: &[u8]) -> Result<(), CpioError> {
        let Header { inode, mode, links, uid, gid, time, size, device: (major, minor) } = header;
        // The name's length counts its closing zero byte.
        let name_size = name.len() + 1;
        let mut bytes = format!(
            "{MAGIC}{inode:08x}{mode:08x}{uid:08x}{gid:08x}{links:08x}{time:08x}{size:08x}\
             {:08x}{:08x}{major:08x}{minor:08x}{name_size:08x}{:08x}{name}\0",
            0, 0, 0
        )
        .into_bytes();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.output.write_all(&bytes)?;
        self.output.write_all(data)?;
        let padding = data.len().next_multiple_of(4) - data.len();
        self.output.write_all(&[0; 3][..padding])?;
        Ok(())
    }
}

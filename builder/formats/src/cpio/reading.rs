//! Listing an archive without unpacking it.
//!
//! Contents are borrowed from the archive, so no size in a header can make the reader allocate.

use super::writing::{MAGIC, TRAILER};
use super::{Content, CpioError, Entry};

/// Bytes of the fixed part of a header: magic and 13 fields.
const HEADER_SIZE: usize = 110;

/// Reads all entries of an uncompressed archive up to its trailer.
pub fn parse(archive: &[u8]) -> Result<Vec<Entry<'_>>, CpioError> {
    let mut entries = Vec::new();
    let mut cursor = Cursor { archive, offset: 0, start: 0 };
    while let Some(entry) = cursor.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

/// A place in an archive.
struct Cursor<'a> {
    archive: &'a [u8],
    offset: usize,
    /// Where the current entry starts, for messages.
    start: usize,
}

/// The 13 numbers of a header, in their order.
type Fields = [u32; 13];

impl<'a> Cursor<'a> {
    /// Reads one entry; `None` at the trailer.
    fn next_entry(&mut self) -> Result<Option<Entry<'a>>, CpioError> {
        self.start = self.offset;
        let fields = self.fields()?;
        let [_, mode, uid, gid, links, _, size, _, _, major, minor, name_size, _] = fields;
        let name = self.name(name_size)?;
        if name == TRAILER {
            return Ok(None);
        }
        let data = self.take(size, "content")?;
        let content = Content::from_mode(mode, data, (major, minor))
            .ok_or_else(|| self.malformed("type", "a directory, file, link or device", &format!("mode {mode:o}")))?;
        if links > 1 && content != Content::Directory {
            return Err(self.malformed("link count", "1", &links));
        }
        let path = name.parse()?;
        Ok(Some(Entry { path, permissions: mode & 0o7777, uid, gid, content }))
    }

    fn fields(&mut self) -> Result<Fields, CpioError> {
        let end = self.start.saturating_add(HEADER_SIZE);
        let header = self.archive.get(self.start..end).ok_or_else(|| {
            let left = self.archive.len().saturating_sub(self.start);
            self.malformed("header", "110 bytes", &format!("{left} bytes"))
        })?;
        let (magic, digits) = header.split_at(MAGIC.len());
        if magic != MAGIC.as_bytes() {
            return Err(self.malformed("magic", "`070701`", &format!("`{}`", magic.escape_ascii())));
        }
        let mut fields = [0; 13];
        for (field, text) in fields.iter_mut().zip(digits.chunks(8)) {
            *field = parse_hex(text).ok_or_else(|| {
                self.malformed("number", "8 hexadecimal digits", &format!("`{}`", text.escape_ascii()))
            })?;
        }
        self.offset = end;
        Ok(fields)
    }

    fn name(&mut self, size: u32) -> Result<&'a str, CpioError> {
        let bytes = self.take(size, "name")?;
        let text = bytes.strip_suffix(&[0]).and_then(|name| std::str::from_utf8(name).ok());
        text.ok_or_else(|| self.malformed("name", "text closed by a zero byte", &format!("`{}`", bytes.escape_ascii())))
    }

    /// Takes `size` bytes and the padding behind them.
    fn take(&mut self, size: u32, field: &'static str) -> Result<&'a [u8], CpioError> {
        let end = usize::try_from(size).ok().and_then(|size| self.offset.checked_add(size));
        let bytes = end.and_then(|end| self.archive.get(self.offset..end));
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(self.malformed(field, "a size inside the archive", &size));
        };
        self.offset = end.next_multiple_of(4);
        Ok(bytes)
    }

    fn malformed(&self, field: &'static str, expected: &'static str, got: &dyn ToString) -> CpioError {
        CpioError::Malformed { offset: self.start, field, expected, got: got.to_string() }
    }
}

/// Reads hexadecimal digits without signs or prefixes.
fn parse_hex(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(text, 16).ok()
}

//! Reads the outer shell of a Debian package: the `ar` archive of deb(5).
//!
//! Only what deb(5) allows is read: the magic line, then members with decimal sizes. The reader works on a stream, holds one
//! header at a time, never seeks and never opens a file. Which members must come in which order is the business of [`crate::deb`].

use std::io::Read;

/// The first eight bytes of every archive.
pub const MAGIC: &[u8; 8] = b"!<arch>\n";

/// Size of a member header in bytes.
const HEADER_BYTES: usize = 60;

/// Why an `ar` archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArError {
    /// The stream does not start with the archive magic.
    #[error("not a deb: the file does not start with `!<arch>`, fetch it again")]
    NoMagic,
    /// The stream ends inside a header or a member.
    #[error("the archive is cut short in {place}, fetch it again")]
    Truncated {
        /// What was being read.
        place: String,
    },
    /// A header field holds something that deb(5) does not allow.
    #[error("bad {field} `{value}` in an archive header, the file is damaged: fetch it again")]
    BadField {
        /// Name of the field.
        field: &'static str,
        /// What stands there, made printable.
        value: String,
    },
    /// The underlying file cannot be read.
    #[error("cannot read the archive")]
    Io(#[source] std::io::Error),
}

/// Name and size of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name without padding and without the slash that some writers add.
    pub name: String,
    /// Size of the content in bytes.
    pub size: u64,
}

/// A streaming reader of an `ar` archive.
#[derive(Debug)]
pub struct ArReader<R> {
    input: R,
    left_in_member: u64,
    padding: bool,
}

impl<R: Read> ArReader<R> {
    /// Reads the magic and stands before the first member.
    pub fn new(mut input: R) -> Result<Self, ArError> {
        let mut magic = [0_u8; 8];
        match read_up_to(&mut input, &mut magic)? {
            8 if &magic == MAGIC => Ok(Self { input, left_in_member: 0, padding: false }),
            _ => Err(ArError::NoMagic),
        }
    }

    /// Skips what is left of the current member and reads the next header; `None` at the end of the archive.
    pub fn next_member(&mut self) -> Result<Option<Member>, ArError> {
        self.skip_rest()?;
        let mut header = [0_u8; HEADER_BYTES];
        match read_up_to(&mut self.input, &mut header)? {
            0 => return Ok(None),
            HEADER_BYTES => {}
            _ => {
                return Err(ArError::Truncated { place: "a member header".into() });
            }
        }
        let member = parse_header(&header)?;
        self.left_in_member = member.size;
        self.padding = !member.size.is_multiple_of(2);
        Ok(Some(member))
    }

    /// The content of the current member; ends where the member ends, and a file that ends earlier is an error.
    pub fn content(&mut self) -> Content<'_, R> {
        Content { archive: self }
    }

    fn skip_rest(&mut self) -> Result<(), ArError> {
        let wanted = self.left_in_member + u64::from(self.padding);
        let skipped =
            std::io::copy(&mut self.input.by_ref().take(wanted), &mut std::io::sink()).map_err(ArError::Io)?;
        // dpkg-deb writes the padding byte, but a last member without it is whole all the same.
        if skipped < self.left_in_member {
            return Err(ArError::Truncated { place: "a member".into() });
        }
        self.left_in_member = 0;
        self.padding = false;
        Ok(())
    }
}

/// Content of the member an [`ArReader`] stands on.
#[derive(Debug)]
pub struct Content<'a, R> {
    archive: &'a mut ArReader<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.archive.left_in_member;
        if left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.archive.input.by_ref().take(left).read(buffer)?;
        if count == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the archive is cut short in a member"));
        }
        self.archive.left_in_member = left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// Reads one header of 60 bytes: name 16, time 12, uid 6, gid 6, mode 8, size 10, end mark 2.
fn parse_header(header: &[u8; HEADER_BYTES]) -> Result<Member, ArError> {
    if header.get(58..60) != Some(b"`\n".as_slice()) {
        return Err(bad_field("end mark", header.get(58..60)));
    }
    let name = parse_name(header.get(0..16))?;
    let size = header.get(48..58);
    let size = parse_decimal(size).ok_or_else(|| bad_field("size", size))?;
    Ok(Member { name, size })
}

fn parse_name(field: Option<&[u8]>) -> Result<String, ArError> {
    let text =
        field.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or_else(|| bad_field("member name", field))?;
    let name = text.trim_end_matches(' ');
    let name = name.strip_suffix('/').unwrap_or(name);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(bad_field("member name", field));
    }
    Ok(name.to_owned())
}

/// Digits, then spaces; nothing else and at least one digit.
fn parse_decimal(field: Option<&[u8]>) -> Option<u64> {
    let text = std::str::from_utf8(field?).ok()?.trim_end_matches(' ');
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn bad_field(field: &'static str, value: Option<&[u8]>) -> ArError {
    ArError::BadField { field, value: String::from_utf8_lossy(value.unwrap_or_default()).escape_debug().to_string() }
}

/// Fills as much of the buffer as the stream gives and says how much that was.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ArError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ArError::Io(error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(name: &str, size: &str) -> Vec<u8> {
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").into_bytes()
    }

    fn archive(parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for part in parts {
            bytes.extend_from_slice(part);
        }
        bytes
    }

    #[test]
    fn reads_members_with_odd_sizes_and_slashes() {
        let bytes = archive(&[
            &header("debian-binary/", "4"),
            b"2.0\n",
            &header("control.tar", "3"),
            b"abc\n",
            &header("x", "0"),
        ]);
        let mut reader = ArReader::new(bytes.as_slice()).unwrap();
        assert_eq!(reader.next_member().unwrap().unwrap(), Member { name: "debian-binary".into(), size: 4 });
        assert_eq!(reader.next_member().unwrap().unwrap().name, "control.tar");
        let mut text = String::new();
        reader.content().read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        assert_eq!(reader.next_member().unwrap().unwrap().name, "x");
        assert!(reader.next_member().unwrap().is_none());
    }

    #[test]
    fn refuses_every_malformed_archive() {
        let zoo: Vec<(&str, Vec<u8>)> = vec![
            ("empty", Vec::new()),
            ("wrong magic", b"!<arch>X".to_vec()),
            ("short header", archive(&[b"debian-binary   0"])),
            (
                "no end mark",
                archive(&[&header("a", "0").iter().map(|b| if *b == b'`' { b'x' } else { *b }).collect::<Vec<_>>()]),
            ),
            ("negative size", archive(&[&header("a", "-1")])),
            ("hex size", archive(&[&header("a", "0x10")])),
            ("signed size", archive(&[&header("a", "+1")])),
            ("empty size", archive(&[&header("a", "")])),
            ("inner space", archive(&[&header("a", "1 1")])),
            ("empty name", archive(&[&header("", "0")])),
            ("path name", archive(&[&header("../a", "0")])),
            ("long name table", archive(&[&header("//", "0")])),
            ("size beyond the file", archive(&[&header("a", "9999999999"), b"abc"])),
        ];
        for (what, bytes) in zoo {
            let outcome = ArReader::new(bytes.as_slice()).and_then(|mut reader| {
                while reader.next_member()?.is_some() {}
                Ok(())
            });
            assert!(outcome.is_err(), "{what} was accepted");
        }
    }

    #[test]
    fn content_cut_short_is_an_error_and_not_an_early_end() {
        let bytes = archive(&[&header("a", "10"), b"abc"]);
        let mut reader = ArReader::new(bytes.as_slice()).unwrap();
        reader.next_member().unwrap();
        assert!(reader.content().read_to_end(&mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), with_magic: bool) {
            let bytes = if with_magic { archive(&[&bytes]) } else { bytes };
            if let Ok(mut reader) = ArReader::new(bytes.as_slice()) {
                while let Ok(Some(_)) = reader.next_member() {}
            }
        }
    }
}

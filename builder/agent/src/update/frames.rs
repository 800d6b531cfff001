//! What the fetcher tells the agent: whether a file is there, its bytes in pieces, and how they ended.
//!
//! One byte of answer, then pieces of at most 64 KiB, each behind its length (u32, little-endian). A length of 0 is the end, one of `u32::MAX` a
//! failure and the reason. So an end that came too early is known from one that did not, and the reason is the fetcher's.

use std::io;
use std::io::Read;
use std::io::Write;

const THERE: u8 = b'+';
const MISSING: u8 = b'-';
const END: u32 = 0;
const FAILED: u32 = u32::MAX;
/// Largest piece, in bytes.
pub(super) const LARGEST: usize = 64 * 1024;
/// What is read of a reason, in bytes.
const LONGEST_REASON: u64 = 1000;

/// Says that there is no such file.
pub(super) fn write_missing(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[MISSING])
}

/// Says that there is such a file, before its pieces.
pub(super) fn write_there(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[THERE])
}

/// Hands over some bytes.
pub(super) fn write_bytes(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(LARGEST) {
        let length = u32::try_from(piece.len()).map_err(io::Error::other)?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(piece)?;
    }
    Ok(())
}

/// Says that this was all.
pub(super) fn write_end(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&END.to_le_bytes())
}

/// Says why there is no more.
pub(super) fn write_failure(out: &mut dyn Write, reason: &str) -> io::Result<()> {
    out.write_all(&FAILED.to_le_bytes())?;
    out.write_all(reason.as_bytes())
}

/// The bytes of a file, as the fetcher hands them over; nothing where it says that there is none.
pub(super) fn read_file<R: Read>(mut source: R) -> io::Result<Option<Pieces<R>>> {
    let mut answer = [0];
    source.read_exact(&mut answer)?;
    match answer {
        [THERE] => Ok(Some(Pieces { source, left: 0, ended: false })),
        [MISSING] => Ok(None),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the fetcher says something else")),
    }
}

/// Bytes out of their pieces.
#[derive(Debug)]
pub(super) struct Pieces<R> {
    source: R,
    left: usize,
    ended: bool,
}

impl<R: Read> Pieces<R> {
    fn next_piece(&mut self) -> io::Result<()> {
        let mut length = [0; 4];
        self.source.read_exact(&mut length)?;
        match u32::from_le_bytes(length) {
            END => self.ended = true,
            FAILED => return Err(io::Error::other(self.reason()?)),
            length => self.left = usize::try_from(length).map_err(io::Error::other)?,
        }
        Ok(())
    }

    /// What it says goes to a terminal.
    fn reason(&mut self) -> io::Result<String> {
        let mut reason = Vec::new();
        (&mut self.source).take(LONGEST_REASON).read_to_end(&mut reason)?;
        Ok(String::from_utf8_lossy(&reason).chars().map(|each| if each.is_control() { ' ' } else { each }).collect())
    }
}

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            self.next_piece()?;
        }
        let most = self.left.min(buffer.len());
        if self.ended || most == 0 {
            return Ok(0);
        }
        let read = self.source.read(buffer.get_mut(..most).unwrap_or_default())?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(mut pieces) = read_file(bytes)? else { return Ok(None) };
        let mut all = Vec::new();
        pieces.read_to_end(&mut all)?;
        Ok(Some(all))
    }

    fn written(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_there(&mut out).unwrap();
        write_bytes(&mut out, bytes).unwrap();
        out
    }

    #[test]
    fn bytes_come_through_whatever_their_number() {
        for length in [0, 1, LARGEST - 1, LARGEST, LARGEST + 1, 3 * LARGEST] {
            let mut out = written(&vec![7; length]);
            write_end(&mut out).unwrap();
            assert_eq!(read(&out).unwrap().unwrap(), vec![7; length]);
        }
        let mut out = Vec::new();
        write_missing(&mut out).unwrap();
        assert_eq!(read(&out).unwrap(), None);
    }

    #[test]
    fn an_end_that_nobody_announced_is_an_error_wherever_it_comes() {
        let mut out = written(b"some bytes");
        write_end(&mut out).unwrap();
        for end in 0..out.len() {
            assert_eq!(read(&out[..end]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{end}");
        }
        assert!(read(b"?").is_err());
    }

    #[test]
    fn a_reason_comes_through_and_is_no_order_for_a_terminal() {
        let mut out = written(b"half");
        write_failure(&mut out, &format!("it \u{1b}[2J stalled{}", " ".repeat(5000))).unwrap();
        let error = read(&out).unwrap_err().to_string();
        assert!(error.starts_with("it  [2J stalled") && error.len() <= 1000, "{error}");
    }
}

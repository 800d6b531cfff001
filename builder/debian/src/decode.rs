//! Decompresses the members of a package: xz, zstd, gzip or none, chosen by the member's name.
//!
//! Every output is bounded, by an absolute size and by its ratio to the input, so that a small file cannot fill the disk.

use std::io::{self, Read};

use liblzma::stream::Stream;

/// Most decoded bytes of one member; the largest packages of Debian unpack to about 3 GB.
const MAX_DECODED_BYTES: u64 = 8 << 30;
/// Most decoded bytes for one encoded byte; text and empty tables reach about 300.
const MAX_RATIO: u64 = 1000;
/// Below this size the ratio is not looked at.
const RATIO_FREE_BYTES: u64 = 64 << 20;
/// Memory of the xz decoder in bytes; `xz -9` needs 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;
/// Largest zstd window as a power of two (128 MiB).
const ZSTD_WINDOW_LOG: u32 = 27;

/// Why a member cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The compression is not known.
    #[error(
        "member `{0}`: unknown compression, known are `.xz`, `.zst`, `.gz` and none; build the package anew with one of these"
    )]
    Unknown(String),
    /// The decoder cannot be made.
    #[error("member `{member}` cannot be decoded")]
    Start {
        /// Name of the member.
        member: String,
        /// What the decoder says.
        #[source]
        source: io::Error,
    },
}

/// A bounded stream of decoded bytes.
pub struct Decoder<R: Read> {
    inner: Inner<R>,
    left: u64,
}

enum Inner<R: Read> {
    Plain(R),
    Xz(liblzma::read::XzDecoder<R>),
    Zstd(zstd::Decoder<'static, io::BufReader<R>>),
    Gzip(flate2::read::GzDecoder<R>),
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Decoder").field("left", &self.left).finish_non_exhaustive()
    }
}

/// Opens a decoder for a member of `size` encoded bytes.
pub fn open<R: Read>(member: &str, size: u64, input: R) -> Result<Decoder<R>, DecodeError> {
    let start = |source| DecodeError::Start { member: member.to_owned(), source };
    let inner = match member.rsplit_once('.') {
        Some((_, "tar")) => Inner::Plain(input),
        Some((_, "xz")) => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY_BYTES, 0).map_err(|error| start(error.into()))?;
            Inner::Xz(liblzma::read::XzDecoder::new_stream(input, stream))
        }
        Some((_, "zst")) => {
            let mut decoder = zstd::Decoder::new(input).map_err(start)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(start)?;
            Inner::Zstd(decoder)
        }
        Some((_, "gz")) => Inner::Gzip(flate2::read::GzDecoder::new(input)),
        _ => return Err(DecodeError::Unknown(member.to_owned())),
    };
    let left = size.saturating_mul(MAX_RATIO).clamp(RATIO_FREE_BYTES, MAX_DECODED_BYTES);
    Ok(Decoder { inner, left })
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.inner {
            Inner::Plain(input) => input.read(buffer),
            Inner::Xz(input) => input.read(buffer),
            Inner::Zstd(input) => input.read(buffer),
            Inner::Gzip(input) => input.read(buffer),
        }?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the package unpacks to far more than its size allows, do not install it",
            )
        })?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read_all(member: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut decoder = open(member, bytes.len() as u64, bytes).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        decoder.read_to_end(&mut out).map(|_| out).map_err(|error| error.to_string())
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn decodes_each_known_compression() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"text").unwrap();
        let gzip = gzip.finish().unwrap();
        let zst = zstd::encode_all(&b"text"[..], 1).unwrap();
        for (member, bytes) in
            [("data.tar", b"text".to_vec()), ("data.tar.xz", xz(b"text")), ("data.tar.zst", zst), ("data.tar.gz", gzip)]
        {
            assert_eq!(read_all(member, &bytes).unwrap(), b"text", "{member}");
            if member != "data.tar" {
                assert!(read_all(member, &bytes[..bytes.len() - 3]).is_err(), "{member} cut short was accepted");
                assert!(read_all(member, b"text").is_err(), "{member} with plain text was accepted");
            }
        }
    }

    #[test]
    fn refuses_unknown_compressions() {
        for member in ["data.tar.bz2", "data.tar.lzma", "data.tar.", "data"] {
            assert!(open(member, 0, &b""[..]).is_err(), "{member}");
        }
    }

    #[test]
    fn stops_a_decompression_bomb() {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        let zeros = vec![0_u8; 1 << 20];
        for _ in 0..80 {
            encoder.write_all(&zeros).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        let mut decoder = open("data.tar.xz", bomb.len() as u64, bomb.as_slice()).unwrap();
        let error = io::copy(&mut decoder, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("far more"), "{error}");
    }
}

//! One 512-byte tar header: `ustar` of POSIX and the GNU variant that dpkg-deb writes.
//!
//! Numbers are octal text or GNU base-256; the checksum must match. Extensions and names longer than the header are the
//! business of [`crate::tar`].

/// Size of a tar block in bytes.
pub const BLOCK_BYTES: usize = 512;

/// Why a header is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The checksum does not match.
    #[error("the checksum is wrong, fetch the package again")]
    Checksum,
    /// Neither POSIX nor GNU magic.
    #[error("it is neither a GNU nor a POSIX header, the package is malformed")]
    Magic,
    /// A field cannot be read.
    #[error("the field `{0}` is malformed, so is the package")]
    Field(&'static str),
}

/// The fields of a header, numbers decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawHeader {
    /// Name with the POSIX prefix put before it.
    pub name: String,
    /// Link target as written.
    pub link: String,
    /// Type flag.
    pub type_flag: u8,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Content size in bytes.
    pub size: u64,
    /// Modification time in seconds.
    pub mtime: i64,
    /// Device numbers.
    pub device: (u32, u32),
}

impl RawHeader {
    /// Decodes a block; field offsets from POSIX pax, "ustar Interchange Format".
    pub fn parse(block: &[u8; BLOCK_BYTES]) -> Result<Self, HeaderError> {
        if number(field(block, 148, 8)) != Some(checksum(block)) {
            return Err(HeaderError::Checksum);
        }
        let posix = match field(block, 257, 8) {
            b"ustar\x0000" => true,
            b"ustar  \0" => false,
            _ => return Err(HeaderError::Magic),
        };
        let small = |at, size, name| {
            number(field(block, at, size)).and_then(|value| u32::try_from(value).ok()).ok_or(HeaderError::Field(name))
        };
        let mode = small(100, 8, "mode")?;
        if mode & !0o177_777 != 0 {
            return Err(HeaderError::Field("mode"));
        }
        let prefix =
            if posix { text(field(block, 345, 155)).ok_or(HeaderError::Field("prefix"))? } else { String::new() };
        let name = text(field(block, 0, 100)).ok_or(HeaderError::Field("name"))?;
        Ok(Self {
            name: if prefix.is_empty() { name } else { format!("{prefix}/{name}") },
            link: text(field(block, 157, 100)).ok_or(HeaderError::Field("linkname"))?,
            type_flag: block.get(156).copied().unwrap_or_default(),
            mode: mode & 0o7777,
            uid: small(108, 8, "uid")?,
            gid: small(116, 8, "gid")?,
            size: number(field(block, 124, 12))
                .filter(|size| i64::try_from(*size).is_ok())
                .ok_or(HeaderError::Field("size"))?,
            mtime: number(field(block, 136, 12))
                .and_then(|time| i64::try_from(time).ok())
                .ok_or(HeaderError::Field("mtime"))?,
            device: (small(329, 8, "devmajor")?, small(337, 8, "devminor")?),
        })
    }
}

fn field(block: &[u8; BLOCK_BYTES], at: usize, size: usize) -> &[u8] {
    block.get(at..at + size).unwrap_or_default()
}

/// Sum of all bytes with the checksum field counted as spaces.
fn checksum(block: &[u8; BLOCK_BYTES]) -> u64 {
    let byte_at = |(at, byte): (usize, &u8)| {
        if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) }
    };
    block.iter().enumerate().map(byte_at).sum()
}

/// Text up to the first zero byte.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    std::str::from_utf8(bytes.get(..end)?).ok().map(str::to_owned)
}

/// Octal text padded by spaces or zero bytes, or base-256 when the first bit is set; an empty field is zero.
fn number(bytes: &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    if first & 0x80 != 0 {
        // 0xff marks a negative number, which no field here may hold.
        let start = u64::from(first & 0x7f);
        return rest.iter().try_fold(start, |value, byte| value.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let digits = text.trim_end_matches(['\0', ' ']).trim_start_matches(' ');
    digits.bytes().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_octal_and_base_256_numbers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 2]), Some(258));
        assert_eq!(number(&[0xff; 12]), None);
        assert_eq!(number(b"12x\0"), None);
        assert_eq!(number(b"-1\0"), None);
        assert_eq!(number(b"12 34\0"), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 512), fix_sum: bool) {
            let mut block: [u8; 512] = bytes.try_into().unwrap();
            if fix_sum {
                block[257..265].copy_from_slice(b"ustar  \0");
                let sum = format!("{:06o}\0 ", checksum(&block));
                block[148..156].copy_from_slice(sum.as_bytes());
            }
            let _ = RawHeader::parse(&block);
        }
    }
}

//! The one ustar header that a bundle member may have (POSIX.1-1988), written and compared as a whole.
//!
//! A member is a plain file with mode 0644, owner 0 and a fixed time, so its header is a function of name and size. The reader
//! makes the expected header itself and compares 512 bytes: no other type, link, path, device or extension can get through.

/// Size of a header and unit of padding in bytes.
pub(crate) const BLOCK: usize = 512;

/// Two zero blocks end an archive.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Where the size stands: 11 octal digits.
const SIZE_FIELD: std::ops::Range<usize> = 124..135;

/// The only header for a member with this name (at most 99 bytes) and size (at most 8 GiB less one byte).
pub(crate) fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut block = [0_u8; BLOCK];
    put(&mut block, 0, name.as_bytes());
    put(&mut block, 100, b"0000644\0");
    put(&mut block, 108, b"0000000\0");
    put(&mut block, 116, b"0000000\0");
    put(&mut block, 124, format!("{size:011o}").as_bytes());
    // The time is 0 for every member: what an image is as old as stands in its manifest.
    put(&mut block, 136, b"00000000000\0");
    put(&mut block, 148, b"        ");
    put(&mut block, 156, b"0");
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 329, b"0000000\0");
    put(&mut block, 337, b"0000000\0");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The size that a header claims, when the field holds octal digits.
pub(crate) fn claimed_size(block: &[u8; BLOCK]) -> Option<u64> {
    let digits = std::str::from_utf8(block.get(SIZE_FIELD)?).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| u64::from_str_radix(digits, 8).ok())?
}

/// Zero bytes between a member of `size` bytes and the next header.
pub(crate) fn padding(size: u64) -> usize {
    let block = BLOCK as u64;
    usize::try_from((block - size % block) % block).unwrap_or_default()
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    for (place, byte) in block.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_holds_its_own_checksum() {
        let block = header("root.erofs", 4096);
        let written = u32::from_str_radix(std::str::from_utf8(&block[148..154]).unwrap(), 8).unwrap();
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u32::from(byte) })
            .sum();
        assert_eq!(written, sum);
        assert_eq!(claimed_size(&block), Some(4096));
    }

    #[test]
    fn pads_to_whole_blocks() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}

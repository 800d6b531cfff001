//! Little-endian integers at an offset of a byte slice, always with a bounds check.
//!
//! The parsers of this crate read foreign bytes only through these functions, so that no offset taken from a file can lead to
//! a panic. Nothing here interprets what it reads.

/// Returns the `N` bytes at `offset`, or `None` if the slice ends before.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    let end = offset.checked_add(N)?;
    bytes.get(offset..end)?.try_into().ok()
}

/// Returns the 16-bit integer at `offset`.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_le_bytes)
}

/// Returns the 32-bit integer at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array_at(bytes, offset).map(u32::from_le_bytes)
}

/// Returns the 64-bit integer at `offset`.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array_at(bytes, offset).map(u64::from_le_bytes)
}

/// Returns `length` bytes from `offset`, both as found in a file, or `None` if they are not all there.
pub(crate) fn slice_at(bytes: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = usize::try_from(offset.checked_add(length)?).ok()?;
    bytes.get(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_integers_at_the_end_but_not_past_it() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(u64_at(&bytes, 0), Some(0x0807_0605_0403_0201));
        assert_eq!(u16_at(&bytes, 6), Some(0x0807));
        assert_eq!(u16_at(&bytes, 7), None);
        assert_eq!(u32_at(&bytes, usize::MAX), None);
    }

    #[test]
    fn refuses_ranges_that_overflow() {
        assert_eq!(slice_at(&[0; 4], u64::MAX, 2), None);
        assert_eq!(slice_at(&[0; 4], 4, 0), Some(&[][..]));
    }
}

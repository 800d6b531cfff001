//! Looks at whole blocks by comparing memory, which is fast at any level of optimisation.

/// Whether there is no byte but zero; also of no bytes at all.
#[must_use]
pub fn is_zero(block: &[u8]) -> bool {
    // Each byte is as the one before, and the first is zero.
    block.first().is_none_or(|first| *first == 0 && block.get(1..) == block.get(..block.len() - 1))
}

/// The first byte at which two slices differ; a missing byte is different.
#[must_use]
pub fn first_difference(left: &[u8], right: &[u8]) -> Option<usize> {
    if left == right {
        return None;
    }
    let common = left.iter().zip(right).position(|(one, other)| one != other);
    Some(common.unwrap_or_else(|| left.len().min(right.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_zero_only_where_all_its_bytes_are() {
        assert!(is_zero(&[]));
        assert!(is_zero(&[0]) && is_zero(&[0; 4096]));
        for at in [0, 1, 2047, 4095] {
            let mut block = [0; 4096];
            block[at] = 1;
            assert!(!is_zero(&block), "{at}");
        }
        assert!(!is_zero(&[7; 512]));
    }

    #[test]
    fn the_first_difference_is_named_also_where_one_ends() {
        assert_eq!(first_difference(b"same", b"same"), None);
        assert_eq!(first_difference(b"", b""), None);
        assert_eq!(first_difference(b"same", b"some"), Some(1));
        assert_eq!(first_difference(b"same", b"sa"), Some(2));
        assert_eq!(first_difference(b"", b"s"), Some(0));
    }
}

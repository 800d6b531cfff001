//! The root hash of a verity tree, the one value that stands for a whole root file system.
//!
//! Written as 64 lower-case hexadecimal digits, as in the kernel's `roothash=`. It never stands for anything but SHA-256.

use crate::digest::hex_text;
use crate::guid::Guid;

/// SHA-256 digest at the top of a hash tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootHash([u8; 32]);

impl RootHash {
    /// Makes the value from digest bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the digest bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the partition identifiers that let the root partitions be found by root hash alone: data, then hash tree.
    ///
    /// The data partition has the first 128 bits and the hash partition the last 128 bits, as printed digits (UAPI.2, "verity").
    pub fn partition_guids(&self) -> (Guid, Guid) {
        let (mut first, mut last) = ([0; 16], [0; 16]);
        first.copy_from_slice(&self.0[..16]);
        last.copy_from_slice(&self.0[16..]);
        (Guid::from_bytes(first), Guid::from_bytes(last))
    }
}

hex_text!(RootHash);

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";

    #[test]
    fn splits_printed_digits_into_two_partition_guids() {
        let (data, hash) = TEXT.parse::<RootHash>().unwrap().partition_guids();
        assert_eq!(data.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(hash.to_string(), "10213243-5465-7687-98a9-bacbdcedfe0f");
    }

    #[test]
    fn refuses_upper_case_and_wrong_length_with_the_text() {
        let short = TEXT[1..].to_owned();
        let longer = format!("{TEXT}0");
        for text in [TEXT.to_uppercase(), short, longer, String::new(), "é".repeat(32)] {
            let error = text.parse::<RootHash>().unwrap_err().to_string();
            assert!(error.contains(&text), "{error}");
        }
    }
}

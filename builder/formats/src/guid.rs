//! Globally unique identifiers in the two byte orders that an image needs.
//!
//! Text and most formats keep the sixteen bytes in the order of the printed digits; the partition table stores the first three
//! groups with their bytes reversed. The type keeps the printed order and converts at the edge. It never makes a random identifier:
//! what must be stable is either a constant or derived from a text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An identifier written as `8-4-4-4-12` lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Guid([u8; 16]);

/// Says why a text is not a [`Guid`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a GUID: expected hexadecimal digits in groups of 8-4-4-4-12, such as `c12a7328-f81f-11d2-ba4b-00a0c93ec93b`"
)]
pub struct GuidError {
    text: String,
}

/// Lengths of the groups of digits in the text form.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

impl Guid {
    /// The all-zero identifier; as a partition type it marks an unused entry.
    pub const ZERO: Self = Self([0; 16]);
    /// Partition type: EFI system partition (UEFI 2.10, table 5-7).
    pub const ESP: Self = Self::from_u128(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b);
    /// Partition type: root file system for x86-64 (UAPI.2).
    pub const ROOT_X86_64: Self = Self::from_u128(0x4f68bce3_e8cd_4db1_96e7_fbcaf984b709);
    /// Partition type: dm-verity hash tree of the x86-64 root (UAPI.2).
    pub const ROOT_VERITY_X86_64: Self = Self::from_u128(0x2c7357ed_ebd2_46d9_aec1_23d437ec2bf5);
    /// Partition type: variable data, `/var` (UAPI.2).
    pub const VAR: Self = Self::from_u128(0x4d21b016_b534_45c2_a9fb_5c16e091fd2d);
    /// Partition type: Linux data without a stated use (UAPI.2).
    pub const LINUX_GENERIC: Self = Self::from_u128(0x0fc63daf_8483_4772_8e79_3d69d8477de4);

    /// Makes the identifier whose printed digits are those of `digits`.
    pub const fn from_u128(digits: u128) -> Self {
        Self(digits.to_be_bytes())
    }

    /// Makes the identifier from its bytes in printed order.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes in printed order.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Makes the identifier from the mixed-endian bytes of a partition table (UEFI 2.10, appendix A).
    pub const fn from_gpt_bytes(bytes: [u8; 16]) -> Self {
        Self(swap_groups(bytes))
    }

    /// Returns the mixed-endian bytes that a partition table stores.
    pub const fn to_gpt_bytes(self) -> [u8; 16] {
        swap_groups(self.0)
    }

    /// Derives a stable identifier from a text: version 8 (RFC 9562), from the SHA-256 of the text.
    ///
    /// Used where a format wants an identifier and the image must not depend on chance. Different texts give different
    /// identifiers for all practical purposes.
    pub fn derived_from(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }
}

/// Reverses the bytes of the first three groups; its own inverse.
const fn swap_groups(b: [u8; 16]) -> [u8; 16] {
    [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]
}

impl FromStr for Guid {
    type Err = GuidError;

    fn from_str(text: &str) -> Result<Self, GuidError> {
        let groups: Vec<&str> = text.split('-').collect();
        let well_shaped = groups.iter().map(|group| group.len()).eq(GROUPS);
        let mut bytes = [0; 16];
        if well_shaped && hex::decode_to_slice(groups.concat(), &mut bytes).is_ok() {
            return Ok(Self(bytes));
        }
        Err(GuidError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Guid {
    type Error = GuidError;

    fn try_from(text: String) -> Result<Self, GuidError> {
        text.parse()
    }
}

impl From<Guid> for String {
    fn from(guid: Guid) -> Self {
        guid.to_string()
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex::encode(self.0);
        let mut rest = digits.as_str();
        for (index, length) in GROUPS.into_iter().enumerate() {
            let (group, tail) = rest.split_at(length);
            write!(formatter, "{}{group}", if index == 0 { "" } else { "-" })?;
            rest = tail;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stores_first_three_groups_reversed_in_a_partition_table() {
        let expected = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
        assert_eq!(Guid::ESP.to_gpt_bytes(), expected);
        assert_eq!(Guid::from_gpt_bytes(expected), Guid::ESP);
    }

    #[test]
    fn prints_constants_as_the_specification_writes_them() {
        assert_eq!(Guid::ROOT_X86_64.to_string(), "4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
        assert_eq!(Guid::VAR.to_string(), "4d21b016-b534-45c2-a9fb-5c16e091fd2d");
    }

    #[test]
    fn refuses_wrong_shapes_and_names_the_text() {
        for text in
            ["", "4f68bce3", "4f68bce3e8cd4db196e7fbcaf984b709", "4f68bce3-e8cd-4db1-96e7-fbcaf984b70g", "é-----"]
        {
            let error = text.parse::<Guid>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}` is not a GUID")), "{error}");
        }
    }

    #[test]
    fn derives_the_same_identifier_from_the_same_text_and_another_from_another() {
        let one = Guid::derived_from("casemate disk");
        assert_eq!(one, Guid::derived_from("casemate disk"));
        assert_ne!(one, Guid::derived_from("casemate esp"));
        assert_eq!(one.to_string().as_bytes()[14], b'8');
    }

    proptest! {
        #[test]
        fn text_and_table_bytes_round_trip(bytes: [u8; 16]) {
            let guid = Guid::from_bytes(bytes);
            prop_assert_eq!(guid.to_string().parse::<Guid>().unwrap(), guid);
            prop_assert_eq!(Guid::from_gpt_bytes(guid.to_gpt_bytes()), guid);
        }

        #[test]
        fn parser_never_panics(text: String) {
            let _ = text.parse::<Guid>();
        }
    }
}

//! Attribute bits of a partition.
//!
//! Bits 60 to 63 mean what the Discoverable Partitions Specification says; unknown bits of foreign tables are kept as they are.

use std::fmt;
use std::ops::BitOr;

/// The 64 attribute bits of a partition entry.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(u64);

/// Names of the bits that this project sets, for printing.
const NAMES: [(Attributes, &str); 4] = [
    (Attributes::NO_BLOCK_IO, "no-block-io"),
    (Attributes::GROW_FILE_SYSTEM, "growfs"),
    (Attributes::READ_ONLY, "read-only"),
    (Attributes::NO_AUTO, "no-auto"),
];

impl Attributes {
    /// No bit set.
    pub const NONE: Self = Self(0);
    /// Bit 1: firmware does not offer the partition; on an ESP, the system does not mount it by itself.
    pub const NO_BLOCK_IO: Self = Self(1 << 1);
    /// Bit 59: grow the file system to the partition at mount.
    pub const GROW_FILE_SYSTEM: Self = Self(1 << 59);
    /// Bit 60: mount read-only; always set on a verity hash partition.
    pub const READ_ONLY: Self = Self(1 << 60);
    /// Bit 63: never found or mounted by itself; set on a slot that must not be used.
    pub const NO_AUTO: Self = Self(1 << 63);

    /// Makes the value from its bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Attributes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> =
            NAMES.iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, name)| (*name).to_owned()).collect();
        let known = NAMES.iter().fold(0, |bits, (bit, _)| bits | bit.0);
        if self.0 & !known != 0 {
            words.push(format!("{:#x}", self.0 & !known));
        }
        formatter.write_str(&words.join(","))
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Attributes({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_bits_of_the_specification() {
        assert_eq!(Attributes::NO_AUTO.bits(), 0x8000_0000_0000_0000);
        assert_eq!(Attributes::READ_ONLY.bits(), 0x1000_0000_0000_0000);
        assert_eq!(Attributes::GROW_FILE_SYSTEM.bits(), 0x0800_0000_0000_0000);
    }

    #[test]
    fn prints_names_and_unknown_bits() {
        let both = Attributes::READ_ONLY | Attributes::from_bits(4);
        assert_eq!(both.to_string(), "read-only,0x4");
        assert!(both.contains(Attributes::READ_ONLY));
        assert!(!both.contains(Attributes::NO_AUTO));
    }
}

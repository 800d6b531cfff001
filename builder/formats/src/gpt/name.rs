//! Partition labels.
//!
//! A label has at most 36 UTF-16 units. Labels carry the version of a slot, so a label is never cut: one that does not fit is an
//! error for the person who chose name and version.

use std::fmt;
use std::str::FromStr;

/// Most UTF-16 units in a label.
const MAX_UNITS: usize = 36;
/// Bytes of the label field.
pub(super) const FIELD_BYTES: usize = MAX_UNITS * 2;

/// A label that fits a partition entry and holds no control character; may be empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartName(String);

/// Why a text is not a [`PartName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartNameError {
    /// Too long.
    #[error(
        "partition name `{name}` has {units} UTF-16 units, expected at most {MAX_UNITS}: shorten image name or version"
    )]
    TooLong {
        /// The name.
        name: String,
        /// Its length.
        units: usize,
    },
    /// A control character would end or garble the label.
    #[error("partition name {name:?} holds a control character: use letters, digits, `_`, `-` and `.`")]
    Control {
        /// The name.
        name: String,
    },
}

impl PartName {
    /// Returns the label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the label field of an entry; `None` if it is not UTF-16 text.
    pub(super) fn from_field(field: &[u8]) -> Option<Self> {
        let (pairs, _) = field.as_chunks::<2>();
        let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).take_while(|unit| *unit != 0);
        let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
        text.parse().ok()
    }

    /// Returns the label field of an entry, padded with zero bytes.
    pub(super) fn to_field(&self) -> [u8; FIELD_BYTES] {
        let mut field = [0; FIELD_BYTES];
        for (target, byte) in field.iter_mut().zip(self.0.encode_utf16().flat_map(u16::to_le_bytes)) {
            *target = byte;
        }
        field
    }
}

impl FromStr for PartName {
    type Err = PartNameError;

    fn from_str(name: &str) -> Result<Self, PartNameError> {
        let units = name.encode_utf16().count();
        if units > MAX_UNITS {
            return Err(PartNameError::TooLong { name: name.to_owned(), units });
        }
        if name.chars().any(char::is_control) {
            return Err(PartNameError::Control { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_utf16_units_not_characters() {
        assert!("a".repeat(36).parse::<PartName>().is_ok());
        let error = "a".repeat(37).parse::<PartName>().unwrap_err();
        assert!(matches!(error, PartNameError::TooLong { units: 37, .. }));
        // Each of these takes two units.
        assert!("\u{1f3f0}".repeat(18).parse::<PartName>().is_ok());
        assert!("\u{1f3f0}".repeat(19).parse::<PartName>().is_err());
    }

    #[test]
    fn refuses_control_characters_and_broken_surrogates() {
        assert!("a\0b".parse::<PartName>().is_err());
        assert_eq!(PartName::from_field(&[0x00, 0xd8, 0x41, 0x00]), None);
    }

    proptest! {
        #[test]
        fn field_round_trips(name in "[^\\p{Cc}]{0,18}") {
            let name: PartName = name.parse().unwrap();
            prop_assert_eq!(PartName::from_field(&name.to_field()), Some(name));
        }
    }
}

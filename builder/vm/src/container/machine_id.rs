//! The identity of an installation: what `/etc/machine-id` holds.

use std::fmt;
use std::str::FromStr;

/// A machine id: 32 hexadecimal digits, not all zero (machine-id(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineId(String);

/// A text that is no machine id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no machine id, use 32 lower case hexadecimal digits that are not all zero")]
pub struct MachineIdError(String);

impl FromStr for MachineId {
    type Err = MachineIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if digits && text.bytes().any(|b| b != b'0') { Ok(Self(text.into())) } else { Err(MachineIdError(text.into())) }
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn refuses_what_is_no_machine_id() {
        for text in ["", "0", &"0".repeat(32), &ID.to_uppercase(), &ID[1..], "0123456789abcdef0123456789abcdeg"] {
            assert!(text.parse::<MachineId>().is_err(), "{text}");
        }
    }
}

//! Credentials: named bytes that the machine hands to the guest's systemd.
//!
//! See systemd.system-credentials(7) and SYSTEMD.IO/CREDENTIALS: SMBIOS type 11 strings and `fw_cfg` files.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How a credential reaches the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A vendor string of the SMBIOS table.
    Smbios,
    /// A file of QEMU's `fw_cfg` device.
    FwCfg,
}

/// A name that systemd accepts for a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialName(String);

/// A name that is no credential name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no credential name, use up to 200 of the characters a-z A-Z 0-9 . _ -")]
pub struct CredentialNameError(String);

impl FromStr for CredentialName {
    type Err = CredentialNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let good = (1..=200).contains(&text.len()) && text.chars().all(allowed) && !text.starts_with('.');
        if good { Ok(Self(text.to_owned())) } else { Err(CredentialNameError(text.to_owned())) }
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Named bytes for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The name units ask for.
    pub name: CredentialName,
    /// The content.
    pub bytes: Vec<u8>,
    /// The way it takes.
    pub channel: Channel,
}

impl Credential {
    /// A credential by SMBIOS, which works with firmware and with direct kernel boot.
    pub fn smbios(name: CredentialName, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name, bytes: bytes.into(), channel: Channel::Smbios }
    }

    /// A credential by `fw_cfg`, which needs the guest's `qemu_fw_cfg` module.
    pub fn fw_cfg(name: CredentialName, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name, bytes: bytes.into(), channel: Channel::FwCfg }
    }

    /// The two words of QEMU's command line; base64 keeps commas out of an SMBIOS string.
    ///
    /// `file` is where the bytes lie for QEMU, used by `fw_cfg` only.
    pub(crate) fn option(&self, file: &str) -> [String; 2] {
        let name = &self.name;
        match self.channel {
            Channel::Smbios => {
                let text = STANDARD.encode(&self.bytes);
                ["-smbios".into(), format!("type=11,value=io.systemd.credential.binary:{name}={text}")]
            }
            Channel::FwCfg => ["-fw_cfg".into(), format!("name=opt/io.systemd.credentials/{name},file={file}")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smbios_value_holds_no_comma_whatever_the_bytes() {
        let all: Vec<u8> = (0..=255).collect();
        let [_, value] = Credential::smbios("a.b".parse().unwrap(), all).option("");
        assert_eq!(value.matches(',').count(), 1, "{value}");
        assert!(value.starts_with("type=11,value=io.systemd.credential.binary:a.b=AAEC"));
    }

    #[test]
    fn refuses_names_that_would_change_the_option() {
        for name in ["", "a,b", "a=b", "a/b", "../x", ".hidden", "a b", &"x".repeat(201)] {
            assert!(name.parse::<CredentialName>().is_err(), "{name}");
        }
    }
}

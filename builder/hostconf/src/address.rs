//! Networks and interface addresses in CIDR notation, both families (RFC 4632, RFC 4291 2.3).
//!
//! A network has no host bits: `192.0.2.5/24` is refused with the network that was probably meant, so nobody opens 256 addresses unknowingly.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::document::shown;

/// Why a text is not a network or an interface address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// No address and prefix length.
    #[error(
        "`{found}` is not an address with a prefix length: write e.g. `192.0.2.0/24` or `2001:db8::/48`, one address as `/32` or `/128`"
    )]
    Shape {
        /// The offending text, shortened.
        found: String,
    },
    /// An IPv4 address in IPv6 clothes.
    #[error("`{found}` is an IPv4 address written as IPv6: write it as IPv4")]
    Mapped {
        /// The offending text, shortened.
        found: String,
    },
    /// Bits beyond the prefix.
    #[error(
        "`{found}` is one address inside a network: write `{network}` for the network or `{address}` for the one address"
    )]
    HostBits {
        /// The offending text, shortened.
        found: String,
        /// The whole network.
        network: String,
        /// The single address.
        address: String,
    },
}

/// A network: an address without host bits and a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The address of an interface with the prefix length of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceAddress {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

impl InterfaceAddress {
    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl FromStr for Network {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (address, prefix) = parse_cidr(text)?;
        let first = masked(address, prefix);
        if first != address {
            let address = format!("{address}/{}", width(address));
            return Err(AddressError::HostBits { found: shown(text), network: format!("{first}/{prefix}"), address });
        }
        Ok(Self { address, prefix })
    }
}

impl FromStr for InterfaceAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (address, prefix) = parse_cidr(text)?;
        if address.is_unspecified() || address.is_multicast() || prefix == 0 {
            return Err(AddressError::Shape { found: shown(text) });
        }
        Ok(Self { address, prefix })
    }
}

macro_rules! cidr_text {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}/{}", self.address, self.prefix)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

cidr_text!(Network);
cidr_text!(InterfaceAddress);

fn parse_cidr(text: &str) -> Result<(IpAddr, u8), AddressError> {
    let refused = || AddressError::Shape { found: shown(text) };
    let (address, digits) = text.split_once('/').ok_or_else(refused)?;
    let address: IpAddr = address.parse().map_err(|_| refused())?;
    if let IpAddr::V6(six) = address
        && six.to_ipv4_mapped().is_some()
    {
        return Err(AddressError::Mapped { found: shown(text) });
    }
    // `+8` and `08` are numbers to Rust, but nobody means them.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let prefix: u8 = digits.parse().ok().filter(|_| plain).ok_or_else(refused)?;
    if prefix > width(address) { Err(refused()) } else { Ok((address, prefix)) }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with all bits after the prefix cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V4((u32::from(four) & mask).into())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V6((u128::from(six) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_networks_with_host_bits_and_says_what_was_meant() {
        let error = "192.0.2.5/24".parse::<Network>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`192.0.2.5/24` is one address inside a network: write `192.0.2.0/24` for the network or `192.0.2.5/32` for the one address"
        );
    }

    #[test]
    fn accepts_both_families_and_refuses_other_spellings() {
        for good in ["192.0.2.0/24", "0.0.0.0/0", "192.0.2.1/32", "2001:db8::/48", "::/0"] {
            assert_eq!(good.parse::<Network>().unwrap().to_string(), good);
        }
        for bad in [
            "192.0.2.0",
            "192.0.2.0/33",
            "192.0.2.0/+8",
            "192.0.2.0/08",
            "2001:db8::/129",
            "::ffff:192.0.2.0/120",
            "192.0.2/24",
            "/",
            "x/1",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_contains_its_own_family_only() {
        let all: Network = "::/0".parse().unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        assert!(!all.contains("192.0.2.1".parse().unwrap()));
    }
}

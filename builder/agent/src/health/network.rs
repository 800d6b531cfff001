//! Whether the network is what the document says: each fixed address, or one from DHCP or router advertisements.
//!
//! Services listen on all addresses and answer on loopback long before the network is there, so their probes do not see that a host cannot be
//! reached. Pure: what the host has is handed in.

use std::net::IpAddr;

use hostconf::NetworkSettings;
use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;

use crate::addresses;

/// The addresses without which a host is not what its document says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// Any that others can reach, by DHCP or router advertisements.
    Dynamic,
    /// All of these.
    Fixed(Vec<IpAddr>),
}

/// What is missing, for the screen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// Neither DHCP nor a router gave an address.
    #[error(
        "no address has come by DHCP or router advertisement; the host has {}; is the cable in, and is there a DHCP server? else set `address` in `[network]`",
        list(.found)
    )]
    NoLease {
        /// What the host has.
        found: Vec<IpAddr>,
    },
    /// Addresses of the document that the host does not have.
    #[error("{} of host.toml, `[network]`, is not configured; the host has {}; does `interface` fit a device?", list(.missing), list(.found))]
    Missing {
        /// What is not there.
        missing: Vec<IpAddr>,
        /// What the host has.
        found: Vec<IpAddr>,
    },
}

impl Wanted {
    /// What a document declares.
    pub fn of(settings: &NetworkSettings) -> Self {
        if settings.address.is_empty() {
            return Self::Dynamic;
        }
        Self::Fixed(settings.address.iter().map(hostconf::InterfaceAddress::address).collect())
    }

    /// Compares with what the host has. Only addresses that can be used count: a lasting one that is still being checked for a second owner does not.
    pub fn check(&self, usable: &[IpAddr]) -> Result<(), NetworkError> {
        let found = usable.to_vec();
        match self {
            Self::Dynamic if usable.iter().any(addresses::is_wide) => Ok(()),
            Self::Dynamic => Err(NetworkError::NoLease { found }),
            Self::Fixed(wanted) => {
                let missing: Vec<IpAddr> = wanted.iter().filter(|address| !usable.contains(address)).copied().collect();
                if missing.is_empty() { Ok(()) } else { Err(NetworkError::Missing { missing, found }) }
            }
        }
    }
}

fn list(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "no address".to_owned();
    }
    addresses.iter().map(|address| format!("`{address}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn settings(addresses: &[&str]) -> NetworkSettings {
        NetworkSettings {
            address: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..NetworkSettings::default()
        }
    }

    #[test]
    fn every_address_of_the_document_must_be_there() {
        let wanted = Wanted::of(&settings(&["192.0.2.7/24", "2001:db8::7/64"]));
        assert_eq!(wanted.check(&ips(&["2001:db8::7", "192.0.2.7", "10.0.0.1"])), Ok(()));
        let error = wanted.check(&ips(&["192.0.2.7", "fe80::1"])).unwrap_err();
        assert_eq!(
            error,
            NetworkError::Missing { missing: ips(&["2001:db8::7"]), found: ips(&["192.0.2.7", "fe80::1"]) }
        );
        let text = error.to_string();
        assert!(text.starts_with("`2001:db8::7` of host.toml") && text.contains("`fe80::1`"), "{text}");
    }

    #[test]
    fn another_address_does_not_stand_in_for_the_declared_one() {
        assert!(Wanted::of(&settings(&["192.0.2.7/24"])).check(&ips(&["192.0.2.8"])).is_err());
    }

    #[test]
    fn without_addresses_in_the_document_one_that_others_can_reach_is_enough() {
        let wanted = Wanted::of(&settings(&[]));
        assert_eq!(wanted, Wanted::Dynamic);
        for good in ["192.0.2.7", "10.0.2.15", "2001:db8::7", "fd00::7"] {
            assert_eq!(wanted.check(&ips(&["fe80::1", good])), Ok(()), "{good}");
        }
    }

    #[test]
    fn loopback_and_link_local_addresses_are_no_lease() {
        for found in [&[][..], &["127.0.0.1", "::1"], &["fe80::1"], &["169.254.3.4"]] {
            let error = Wanted::Dynamic.check(&ips(found)).unwrap_err();
            assert!(error.to_string().contains("DHCP"), "{error}");
        }
    }
}

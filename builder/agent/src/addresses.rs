//! The addresses that this host has at this moment.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::UdpSocket;

/// All addresses of all interfaces but loopback, sorted.
pub fn configured() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let mut found: Vec<IpAddr> =
        interfaces.filter_map(|interface| address(&interface)).filter(|ip| !ip.is_loopback()).collect();
    found.sort();
    found.dedup();
    found
}

/// Those that a service can take. An IPv6 address that is still being checked for a second owner (RFC 4862 §5.4) is there and cannot be used.
pub fn usable() -> Vec<IpAddr> {
    // A link-local IPv6 address cannot be taken without naming its device, so it is believed.
    let takes = |address: &IpAddr| address.is_ipv6() && !is_wide(address) || UdpSocket::bind((*address, 0)).is_ok();
    configured().into_iter().filter(takes).collect()
}

/// Whether an address is for more than this host or this wire.
pub fn is_wide(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => Ipv6Addr::is_unicast_link_local(v6),
    };
    !link_local && !address.is_loopback() && !address.is_unspecified()
}

/// For the screen: link-local addresses only when there is nothing else.
pub fn shown() -> Vec<String> {
    let found = configured();
    let mut wide: Vec<String> = found.iter().filter(|ip| is_wide(ip)).map(ToString::to_string).collect();
    if wide.is_empty() {
        wide = found.iter().map(ToString::to_string).collect();
    }
    wide.sort();
    wide
}

fn address(interface: &nix::ifaddrs::InterfaceAddress) -> Option<IpAddr> {
    let address = interface.address?;
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(IpAddr::V4(v4.ip()));
    }
    address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_show_loopback() {
        assert!(shown().iter().all(|address| address != "127.0.0.1" && address != "::1"));
    }

    #[test]
    fn what_is_usable_is_configured() {
        let configured = configured();
        assert!(usable().iter().all(|address| configured.contains(address)));
    }

    #[test]
    fn a_private_address_is_wide_and_a_local_one_is_not() {
        for (text, wide) in
            [("10.0.0.1", true), ("fd00::1", true), ("169.254.1.1", false), ("fe80::1", false), ("::1", false)]
        {
            assert_eq!(is_wide(&text.parse().unwrap()), wide, "{text}");
        }
    }
}

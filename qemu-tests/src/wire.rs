//! A wire of its own between a machine and a network of the test: nobody else is on it who could answer in the machine's place, or listen. So the
//! machine's document names its addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use vm::{Network, NetworkNamespace};

use crate::neighbour::OUTSIDE;

pub(crate) const WIRE: &str = "wire0";
/// The host's own addresses; only its document names them.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 20);
pub(crate) const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x20);
/// The test's: of IPv4 in a network of the administrators, of IPv6 a stranger.
pub(crate) const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);
pub(crate) const NEIGHBOUR6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x77);

/// The wire, from the test's end.
pub(crate) struct Wire {
    pub(crate) namespace: NetworkNamespace,
}

impl Wire {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { namespace: NetworkNamespace::new().context("cannot make a network for the wire")? })
    }

    /// The machine's end; QEMU makes ours when it starts.
    pub(crate) fn network(&self) -> Network {
        Network::Tap { name: WIRE.to_owned(), namespace: Some(self.namespace.path()) }
    }

    /// What the machine's document says of this wire. Names are answered by whoever stands outside.
    pub(crate) fn section() -> String {
        format!(
            "\n[network]\naddress = [\"{ADDRESS}/24\", \"{ADDRESS6}/64\"]\ngateway = [\"{NEIGHBOUR}\", \"{NEIGHBOUR6}\"]\ndns = [\"{OUTSIDE}\"]\n"
        )
    }

    /// Whether our end is there and up; it goes with each machine.
    pub(crate) fn is_up(&self) -> bool {
        self.namespace.run(|| tools::netlink::link_up(tools::netlink::link_index(WIRE)?)).is_ok()
    }

    /// Gives our end its addresses.
    pub(crate) fn plug_in(&self) -> Result<()> {
        for address in [IpAddr::V4(NEIGHBOUR), NEIGHBOUR6.into()] {
            self.namespace.add_address(WIRE, address).with_context(|| format!("our end cannot be {address}"))?;
        }
        Ok(())
    }
}

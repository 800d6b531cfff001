//! The ports of this machine that lead into the guest, all on the loopback address.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::Result;
use tools::Failure;

use crate::spec::Forward;

/// Where free ports are looked for: below the ports that Linux gives to outgoing connections (32768 and up by default), so that no
/// client of ours or of others can take one between the choice and its use.
const CHOICE: std::ops::Range<u16> = 20_000..32_000;

/// One port for each service of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// HTTP over TLS.
    pub https: u16,
    /// Plain HTTP.
    pub http: u16,
    /// ssh.
    pub ssh: u16,
}

impl Ports {
    /// The services' own ports, on an address of the host itself.
    pub const OWN: Self = Self { https: 443, http: 80, ssh: 22 };

    /// Three ports that nobody uses, and that no other call gives to anybody for as long as this process lives.
    pub fn free() -> Result<Self> {
        let found = CHOICE.step_by(3).map(Self::starting_at).find(|ports| ports.claim().is_some());
        found.ok_or_else(|| {
            Failure::environment(format!("no three ports of 127.0.0.1 in a row are free between {CHOICE:?}"))
                .hint("end the programs that use them (`ss -tln` lists them)")
                .into()
        })
    }

    fn starting_at(first: u16) -> Self {
        Self { https: first, http: first + 1, ssh: first + 2 }
    }

    /// Makes these ports ours; `None` where somebody has one of them.
    fn claim(self) -> Option<()> {
        // A name that the kernel keeps for one process at a time and forgets with it; ports cannot be held until QEMU takes them.
        let name = SocketAddr::from_abstract_name(format!("casemate-ports-{}", self.https)).ok()?;
        let held = UnixListener::bind_addr(&name).ok()?;
        [self.https, self.http, self.ssh].into_iter().try_for_each(|port| listen(port).map(drop)).ok()?;
        // Held on purpose until the process ends.
        std::mem::forget(held);
        Some(())
    }

    /// What QEMU is told.
    pub fn forwards(self) -> Vec<Forward> {
        let Self { https, http, ssh } = Self::OWN;
        let pairs = [(self.https, https), (self.http, http), (self.ssh, ssh)];
        pairs.map(|(host_port, guest_port)| Forward { host_port, guest_port }).into()
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_can_be_used() {
        let ports = Ports::free().unwrap();
        let _held = [ports.https, ports.http, ports.ssh].map(|port| listen(port).unwrap());
        assert!(CHOICE.contains(&ports.https) && CHOICE.contains(&ports.ssh));
    }

    #[test]
    fn no_port_is_given_twice_though_nobody_uses_it_yet() {
        let given: Vec<Ports> = (0..4).map(|_| Ports::free().unwrap()).collect();
        let all: std::collections::BTreeSet<u16> =
            given.iter().flat_map(|ports| [ports.https, ports.http, ports.ssh]).collect();
        assert_eq!(all.len(), 12, "{given:?}");
    }

    #[test]
    fn ports_that_somebody_uses_are_passed_over() {
        let ports = Ports::starting_at(CHOICE.end - 3);
        let taken = listen(ports.ssh).unwrap();
        assert_eq!(ports.claim(), None);
        drop(taken);
        assert_eq!(ports.claim(), Some(()));
    }

    #[test]
    fn each_service_is_reached_through_its_own_port() {
        let forwards = Ports { https: 8443, http: 8080, ssh: 8022 }.forwards();
        let pairs: Vec<_> = forwards.iter().map(|forward| (forward.host_port, forward.guest_port)).collect();
        assert_eq!(pairs, [(8443, 443), (8080, 80), (8022, 22)]);
    }
}

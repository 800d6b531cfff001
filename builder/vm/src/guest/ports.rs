//! The ports of this machine that lead into the guest, all on the loopback address.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;
use tools::failure::HintExt as _;

use crate::spec::Forward;

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

    /// Three ports that nobody uses at this moment.
    pub fn free() -> Result<Self> {
        // All three are held at once, or the kernel may give the same one again.
        let held = [listen(0), listen(0), listen(0)];
        let mut ports = [0; 3];
        for (port, listener) in ports.iter_mut().zip(held) {
            let address = listener.and_then(|listener| listener.local_addr());
            *port = address.or_blame_environment("see whether this machine has free ports on 127.0.0.1")?.port();
        }
        let [https, http, ssh] = ports;
        Ok(Self { https, http, ssh })
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
    }

    #[test]
    fn each_service_is_reached_through_its_own_port() {
        let forwards = Ports { https: 8443, http: 8080, ssh: 8022 }.forwards();
        let pairs: Vec<_> = forwards.iter().map(|forward| (forward.host_port, forward.guest_port)).collect();
        assert_eq!(pairs, [(8443, 443), (8080, 80), (8022, 22)]);
    }
}

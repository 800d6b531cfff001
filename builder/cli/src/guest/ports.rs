//! The ports of this machine that lead into the guest, all on the loopback address.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;
use tools::{Failure, failure::HintExt as _};
use vm::Forward;

/// One port of this machine for each service of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) https: u16,
    pub(crate) http: u16,
    pub(crate) ssh: u16,
}

impl Ports {
    /// Three ports that nobody uses at this moment.
    pub(crate) fn free() -> Result<Self> {
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

    /// Refuses ports that are taken or named twice, before a machine is made for them.
    pub(crate) fn check(self) -> Result<()> {
        let mut seen = BTreeMap::new();
        for (option, port) in self.named() {
            if let Some(other) = seen.insert(port, option) {
                return Err(refused(format!("`{other}` and `{option}` both name port {port}"), option));
            }
            if let Err(error) = listen(port) {
                return Err(refused(format!("port {port} of 127.0.0.1 cannot be used: {error}"), option));
            }
        }
        Ok(())
    }

    /// What QEMU is told.
    pub(crate) fn forwards(self) -> Vec<Forward> {
        let pairs = [(self.https, 443), (self.http, 80), (self.ssh, 22)];
        pairs.map(|(host_port, guest_port)| Forward { host_port, guest_port }).into()
    }

    fn named(self) -> [(&'static str, u16); 3] {
        [("--https-port", self.https), ("--http-port", self.http), ("--ssh-port", self.ssh)]
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn refused(message: String, option: &str) -> anyhow::Error {
    Failure::refused(message)
        .hint(format!("name another port with `{option} PORT`, or end the program that uses it"))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_pass_the_check() {
        Ports::free().unwrap().check().unwrap();
    }

    #[test]
    fn a_taken_port_is_refused_with_the_option_that_changes_it() {
        let ports = Ports::free().unwrap();
        let _taken = listen(ports.http).unwrap();
        let text = tools::failure::render(&ports.check().unwrap_err());
        assert!(text.contains(&ports.http.to_string()) && text.contains("--http-port"), "{text}");
    }

    #[test]
    fn one_port_for_two_services_is_refused() {
        let ports = Ports::free().unwrap();
        let text = Ports { ssh: ports.https, ..ports }.check().unwrap_err().to_string();
        assert!(text.contains("`--https-port` and `--ssh-port`"), "{text}");
    }

    #[test]
    fn each_service_is_reached_through_its_own_port() {
        let forwards = Ports { https: 8443, http: 8080, ssh: 8022 }.forwards();
        let pairs: Vec<_> = forwards.iter().map(|forward| (forward.host_port, forward.guest_port)).collect();
        assert_eq!(pairs, [(8443, 443), (8080, 80), (8022, 22)]);
    }
}

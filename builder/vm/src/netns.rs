//! Network namespaces for tests: made, connected and entered without any program.
//!
//! A namespace lives as long as its value; threads of this process enter it for one closure at a time.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::thread;

use nix::sched::CloneFlags;
use rustix::thread::LinkNameSpaceType;
use tools::netlink;

/// One end of a cable between two namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port<'a> {
    /// Name of the interface, at most 15 bytes.
    pub interface: &'a str,
    /// Its address.
    pub address: Ipv4Addr,
}

/// A network of its own, at first with only `lo`.
#[derive(Debug)]
pub struct NetworkNamespace {
    handle: File,
}

impl NetworkNamespace {
    /// Makes a namespace; needs root.
    pub fn new() -> io::Result<Self> {
        // In a thread of its own, which ends in the new namespace while we stay where we are.
        in_thread(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
            netlink::loopback_up()?;
            File::open("/proc/thread-self/ns/net").map(|handle| Self { handle })
        })
    }

    /// A path that leads to the namespace for as long as this process and value live.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd()).into()
    }

    /// Runs a closure inside; sockets made there stay there when they are handed out.
    pub fn run<T: Send>(&self, deed: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        in_thread(|| {
            rustix::thread::move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))?;
            deed()
        })
    }

    /// Lays a cable to another namespace and gives both ends an address in the same /24.
    pub fn connect(&self, here: &Port<'_>, other: &Self, there: &Port<'_>) -> io::Result<()> {
        self.run(|| {
            netlink::add_veth(here.interface, there.interface, other.handle.as_fd())?;
            bring_up(here)
        })?;
        other.run(|| bring_up(there))
    }

    /// Gives an interface one more address in its /24 or /64.
    pub fn add_address(&self, interface: &str, address: IpAddr) -> io::Result<()> {
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        self.run(|| netlink::add_address(netlink::link_index(interface)?, address, prefix))
    }

    /// Sends everything without a nearer route to this address.
    pub fn default_route(&self, gateway: Ipv4Addr) -> io::Result<()> {
        self.run(|| netlink::add_default_route(gateway))
    }
}

fn bring_up(port: &Port<'_>) -> io::Result<()> {
    let index = netlink::link_index(port.interface)?;
    netlink::add_address(index, port.address.into(), 24)?;
    netlink::link_up(index)
}

/// Namespaces belong to threads, so a thread is borrowed for the deed and then thrown away.
fn in_thread<T: Send>(deed: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(deed).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_namespace_has_only_its_own_ports() {
        let outside = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = outside.local_addr().unwrap();
        let namespace = NetworkNamespace::new().unwrap();
        let error = namespace.run(|| TcpStream::connect(address)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_cable_carries_data_between_two_namespaces() {
        let (left, right) = (NetworkNamespace::new().unwrap(), NetworkNamespace::new().unwrap());
        let port = |interface, last| Port { interface, address: Ipv4Addr::new(10, 9, 8, last) };
        left.connect(&port("left0", 1), &right, &port("right0", 2)).unwrap();
        left.default_route(Ipv4Addr::new(10, 9, 8, 2)).unwrap();
        let address = SocketAddr::from(([10, 9, 8, 2], 80));
        let listener = right.run(|| TcpListener::bind(address)).unwrap();
        let mut client = left.run(|| TcpStream::connect(address)).unwrap();
        client.write_all(b"word").unwrap();
        drop(client);
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "word");
    }

    #[test]
    fn an_interface_that_exists_is_not_made_twice() {
        let (left, right) = (NetworkNamespace::new().unwrap(), NetworkNamespace::new().unwrap());
        let port = |interface| Port { interface, address: Ipv4Addr::new(10, 9, 8, 1) };
        left.connect(&port("a0"), &right, &port("b0")).unwrap();
        let error = left.connect(&port("a0"), &right, &port("c0")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}

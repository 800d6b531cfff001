//! Speaks to the kernel about network interfaces, without the `ip` program.
//!
//! Only the few requests that the sandbox and the tests need; each call opens its own socket in the network
//! namespace of the calling thread. Message layout: `linux/netlink.h`, `linux/rtnetlink.h`.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE_EXCL: u16 = 0x400 | 0x200;
const IFF_UP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;

/// Index of `lo`, the first interface of every network namespace.
const LOOPBACK: u32 = 1;

/// Brings `lo` up in the network namespace of this thread.
pub fn loopback_up() -> io::Result<()> {
    link_up(LOOPBACK)
}

/// Brings an interface up by its index.
pub fn link_up(index: u32) -> io::Result<()> {
    send(&Message::new(RTM_NEWLINK, 0).link_header(index, IFF_UP).finish())
}

/// Makes a pair of connected interfaces: `name` here, `peer` in the namespace `peer_namespace`.
pub fn add_veth(name: &str, peer: &str, peer_namespace: BorrowedFd<'_>) -> io::Result<()> {
    let namespace = peer_namespace.as_raw_fd().to_ne_bytes();
    let peer =
        Message::body().link_header(0, 0).attribute(IFLA_IFNAME, &text(peer)).attribute(IFLA_NET_NS_FD, &namespace);
    let data = Message::body().attribute(VETH_INFO_PEER | NLA_F_NESTED, &peer.bytes);
    let info = Message::body().attribute(IFLA_INFO_KIND, b"veth").attribute(IFLA_INFO_DATA | NLA_F_NESTED, &data.bytes);
    let message = Message::new(RTM_NEWLINK, NLM_F_CREATE_EXCL)
        .link_header(0, 0)
        .attribute(IFLA_IFNAME, &text(name))
        .attribute(IFLA_LINKINFO | NLA_F_NESTED, &info.bytes);
    send(&message.finish())
}

/// Gives an interface an address.
pub fn add_address(index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    // Nobody is asked whether the address is free, which would take a second.
    const IFA_F_NODAD: u8 = 2;
    let (family, octets) = match address {
        IpAddr::V4(address) => (2, address.octets().to_vec()),
        IpAddr::V6(address) => (10, address.octets().to_vec()),
    };
    // struct ifaddrmsg: family AF_INET or AF_INET6, prefix length, flags, scope, index.
    let mut message = Message::new(RTM_NEWADDR, NLM_F_CREATE_EXCL);
    message.bytes.extend_from_slice(&[family, prefix, IFA_F_NODAD, 0]);
    message.bytes.extend_from_slice(&index.to_ne_bytes());
    send(&message.attribute(IFA_LOCAL, &octets).attribute(IFA_ADDRESS, &octets).finish())
}

/// Sends everything without a nearer route to `gateway`.
pub fn add_default_route(gateway: Ipv4Addr) -> io::Result<()> {
    const RTA_GATEWAY: u16 = 5;
    // struct rtmsg: AF_INET, no prefixes, table main (254), protocol boot (3), scope universe, unicast (1).
    let mut message = Message::new(RTM_NEWROUTE, NLM_F_CREATE_EXCL);
    message.bytes.extend_from_slice(&[2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
    send(&message.attribute(RTA_GATEWAY, &gateway.octets()).finish())
}

/// The index of an interface of this thread's network namespace.
pub fn link_index(name: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

/// A request under construction; lengths are filled in at the end.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        bytes.extend_from_slice(&1_u32.to_ne_bytes());
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        Self { bytes }
    }

    fn body() -> Self {
        Self { bytes: Vec::new() }
    }

    /// struct ifinfomsg: family, type, index, flags, mask of the flags to change.
    fn link_header(mut self, index: u32, flags: u32) -> Self {
        self.bytes.extend_from_slice(&[0; 4]);
        for word in [index, flags, flags] {
            self.bytes.extend_from_slice(&word.to_ne_bytes());
        }
        self
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        // Values here are names and numbers; a length beyond 16 bits cannot occur and would only be refused.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
        self.bytes.splice(..4, length);
        self.bytes
    }
}

fn text(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Sends one request and reads the kernel's acknowledgement (struct nlmsgerr after the header).
fn send(message: &[u8]) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::sendto(&socket, message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 8192];
    let (count, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let code = answer.get(16..20.min(count)).and_then(|code| <[u8; 4]>::try_from(code).ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::Error::other("the kernel's answer is too short")),
    }
}

//! A port scan from a network of its own, on the same wire as the host under test.
//!
//! The namespace holds nothing but this wire, so no packet can leave the machine. The host is reached by its link-local address,
//! which it has without any configuration.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use vm::{Network, NetworkNamespace};

/// QEMU's first network card is 52:54:00:12:34:56; RFC 4291 appendix A makes this of it.
const HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0x00ff, 0xfe12, 0x3456);
const WIRE: &str = "scan0";
const THREADS: usize = 48;
/// Ports on which something of a usual Linux answers over UDP.
const UDP_PORTS: [u16; 12] = [53, 69, 111, 123, 137, 161, 500, 514, 1900, 4500, 5353, 5355];

/// A wire with a scanner at its other end.
pub(crate) struct Scanner {
    namespace: NetworkNamespace,
}

/// An open port, as `tcp/22`.
pub(crate) type Open = String;

impl Scanner {
    pub(crate) fn new(purpose: &str) -> Result<Self> {
        Ok(Self {
            namespace: NetworkNamespace::new().with_context(|| format!("cannot make a network for `{purpose}`"))?,
        })
    }

    /// The host's end of the wire; QEMU makes it in the scanner's namespace.
    pub(crate) fn network(&self) -> Network {
        Network::Tap { name: WIRE.to_owned(), namespace: Some(self.namespace.path()) }
    }

    /// Scans all TCP ports and the usual UDP ones. Most must be refused: a host that cannot be reached proves nothing.
    pub(crate) fn open_ports(&self, patience: Duration) -> Result<Vec<Open>> {
        let index = self.namespace.run(|| {
            let index = tools::netlink::link_index(WIRE)?;
            tools::netlink::link_up(index).map(|()| index)
        });
        let host = SocketAddrV6::new(HOST, 0, 0, index.context("the wire cannot be used")?);
        open_ports(&self.namespace, host.into(), patience)
    }
}

/// Scans a host from a network that holds nothing but the wire to it. The port of `host` means nothing.
pub(crate) fn open_ports(from: &NetworkNamespace, host: SocketAddr, patience: Duration) -> Result<Vec<Open>> {
    let open = from.run(|| {
        wait_reachable(host, patience)?;
        let (mut open, refused) = scan_tcp(host);
        open.extend(scan_udp(host)?);
        Ok((open, refused))
    });
    let (open, refused) = open.context("cannot scan")?;
    ensure!(refused > 65_000, "only {refused} of 65535 TCP ports answered at all: the scan proves nothing");
    Ok(open)
}

fn address(mut host: SocketAddr, port: u16) -> SocketAddr {
    host.set_port(port);
    host
}

/// The first answer, a refusal, shows that the wire is up on both sides.
fn wait_reachable(host: SocketAddr, patience: Duration) -> io::Result<()> {
    let started = Instant::now();
    loop {
        match TcpStream::connect_timeout(&address(host, 1), Duration::from_secs(1)) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
            Err(error) if started.elapsed() > patience => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn scan_tcp(host: SocketAddr) -> (Vec<Open>, u32) {
    let next = AtomicU32::new(1);
    let refused = AtomicU32::new(0);
    let open = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            // Threads are in the namespace of the thread that starts them.
            scope.spawn(|| {
                while let Ok(port) = u16::try_from(next.fetch_add(1, Ordering::Relaxed)) {
                    match knock(host, port) {
                        Knock::Open => {
                            open.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(format!("tcp/{port}"));
                        }
                        Knock::Refused => drop(refused.fetch_add(1, Ordering::Relaxed)),
                        Knock::Silent => {}
                    }
                }
            });
        }
    });
    (open.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner), refused.into_inner())
}

enum Knock {
    Open,
    Refused,
    Silent,
}

fn knock(host: SocketAddr, port: u16) -> Knock {
    // A lost packet is sent again by the kernel after a second.
    match TcpStream::connect_timeout(&address(host, port), Duration::from_secs(4)) {
        Ok(_) => Knock::Open,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Knock::Refused,
        Err(_) => Knock::Silent,
    }
}

/// A closed UDP port answers with "port unreachable", at a limited rate; a silent one counts as open.
fn scan_udp(host: SocketAddr) -> io::Result<Vec<Open>> {
    let mut open = Vec::new();
    for port in UDP_PORTS {
        let socket = UdpSocket::bind(if host.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(Duration::from_millis(1500)))?;
        socket.connect(address(host, port))?;
        let refused = (0..4).any(|_| {
            let sent = socket.send(b"?");
            let answer = socket.recv(&mut [0; 64]);
            [sent, answer]
                .into_iter()
                .any(|result| result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
        });
        if !refused {
            open.push(format!("udp/{port}"));
        }
    }
    Ok(open)
}

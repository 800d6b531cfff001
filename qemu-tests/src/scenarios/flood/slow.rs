//! Whoever asks so slowly that the server waits for the end of a request, on all connections that he may have of both families: nobody else
//! waits, and what is not asked in time is ended.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use vm::NetworkNamespace;

use super::{SITE, Town, v4};
use crate::artifacts::say;
use crate::container_host::{ADDRESS, ADDRESS6, shell};
use crate::knock;

/// One attacker, with an address of each family.
pub(super) const ADDRESSES: [IpAddr; 2] = [v4(95), IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0x95, 0, 0, 0, 0x95))];
/// The most connections that one address may hold (`hostconf::firewall`).
const CONNECTIONS: usize = 100;
/// What a visitor waits for a page meanwhile, in seconds, at most: the server may have to start a process.
const AT_MOST: f64 = 3.0;
/// The server ends what has not become a request by then: 20 s (`RequestReadTimeout`), and what this machine adds.
const ENDED: Duration = Duration::from_secs(35);
/// What a connection and the first words may take: two hundred at once.
const PATIENCE: Duration = Duration::from_secs(15);

/// A request that never ends: how it begins, and one more byte every second.
#[derive(Clone)]
struct Slow {
    what: &'static str,
    begin: &'static [u8],
    /// Over TLS; without it the server never waits for a body.
    tls: Option<Arc<ClientConfig>>,
}

const HEADERS: Slow =
    Slow { what: "headers", begin: b"GET / HTTP/1.1\r\nHost: www.example.org\r\nX-Slow: ", tls: None };
const BODY: Slow = Slow {
    what: "bodies",
    begin: b"POST /?slow HTTP/1.1\r\nHost: www.example.org\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: 50000\r\n\r\ntext=",
    tls: None,
};

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Town<'_> {
    pub(super) fn serves_beside_the_slow(&self, neighbour: &NetworkNamespace) -> Result<()> {
        let certificate = shell(self.container, "cat /var/lib/casemate/keys/tls/site001.crt")?;
        let bodies = Slow { tls: Some(trusting(&certificate)?), ..BODY };
        for slow in [HEADERS, bodies] {
            let attack = || Ok(neighbour.run(|| Ok(slow.attack()))?);
            let ((held, ended), longest) = self.beside_a_visitor("asks slowly", attack)?;
            let (wanted, what) = (2 * CONNECTIONS, slow.what);
            say(&format!("flood: {held} slow {what} at once; a visitor waits for {longest:.2} s at most"));
            ensure!(
                (held, ended) == (wanted, wanted),
                "of {wanted} slow {what} {held} were let in and {ended} were ended in time"
            );
            ensure!(longest <= AT_MOST, "beside slow {what} a visitor waits for {longest:.2} s");
        }
        Ok(())
    }
}

/// A client that trusts the site's own certificate.
fn trusting(certificate: &str) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Slow {
    /// How many connections were let in, and how many of them the server has ended.
    fn attack(&self) -> (usize, usize) {
        let mut streams = thread::scope(|scope| {
            let sources = ADDRESSES.into_iter().flat_map(|address| (0..CONNECTIONS).map(move |_| address));
            let tries: Vec<_> = sources.map(|source| scope.spawn(move || self.begin(source))).collect();
            tries.into_iter().filter_map(|attempt| attempt.join().ok().flatten()).collect::<Vec<_>>()
        });
        let (held, started) = (streams.len(), Instant::now());
        while !streams.is_empty() && started.elapsed() < ENDED {
            streams.retain_mut(is_open);
            thread::sleep(Duration::from_secs(1));
        }
        (held, held - streams.len())
    }

    fn begin(&self, source: IpAddr) -> Option<Box<dyn Stream>> {
        let target: IpAddr = if source.is_ipv4() { ADDRESS.into() } else { ADDRESS6.into() };
        let port = if self.tls.is_some() { 443 } else { 80 };
        let socket = knock::from(source, SocketAddr::new(target, port), PATIENCE).ok()?;
        let same = socket.try_clone().ok()?;
        let mut stream = self.speak(socket)?;
        stream.write_all(self.begin).ok()?;
        same.set_nonblocking(true).ok()?;
        Some(stream)
    }

    fn speak(&self, socket: TcpStream) -> Option<Box<dyn Stream>> {
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        let Some(config) = &self.tls else { return Some(Box::new(socket)) };
        let connection = ClientConnection::new(Arc::clone(config), SITE.try_into().ok()?).ok()?;
        Some(Box::new(StreamOwned::new(connection, socket)))
    }
}

/// Sends one more byte; the server's answer, whatever it is, is an end.
fn is_open(stream: &mut Box<dyn Stream>) -> bool {
    let silent = |result: std::io::Result<usize>| result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    stream.write_all(b"a").is_ok() && stream.flush().is_ok() && silent(stream.read(&mut [0; 64]))
}

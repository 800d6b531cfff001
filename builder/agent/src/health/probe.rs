//! The probes: each asks one service a question that only a working service answers, within a time limit.
//!
//! A probe speaks to this host only: loopback, a socket below the root, or a program.

use std::io::Read as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::StreamOwned;
use rustls::pki_types::ServerName;
use thiserror::Error;

use super::http;
use super::http::Expected;
use super::http::HttpError;

/// Time for one answer. A page of PHP under emulation needs seconds for its first page.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Why a service does not count as working.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// Nobody listens, or nobody answers.
    #[error("cannot connect to {place}: {source}")]
    Connect {
        /// Port or socket.
        place: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The greeting is not that of the server that should be there.
    #[error("port {port} does not greet as {protocol}: `{greeting}`")]
    Greeting {
        /// The port.
        port: u16,
        /// What should be spoken there.
        protocol: &'static str,
        /// What came.
        greeting: String,
    },
    /// TLS failed, or somebody else's certificate is shown.
    #[error("TLS with `{name}`: {reason}")]
    Tls {
        /// Server name that was asked for.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The page is not the expected one.
    #[error("{path}: {source}")]
    Page {
        /// Path that was asked for.
        path: String,
        /// The reason.
        source: HttpError,
    },
}

/// Somebody accepts connections on a port of this host.
pub fn tcp(port: u16, timeout: Duration) -> Result<TcpStream, ProbeError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connected = TcpStream::connect_timeout(&address, timeout).and_then(|stream| {
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(stream)
    });
    connected.map_err(|source| ProbeError::Connect { place: format!("port {port}"), source })
}

/// An ssh server greets (RFC 4253 §4.2).
pub fn ssh(port: u16, timeout: Duration) -> Result<(), ProbeError> {
    greeted(port, "ssh", *b"SSH-2.0-", timeout).map(drop)
}

/// A mail server greets and is ready (RFC 5321 §4.2).
pub fn smtp(port: u16, timeout: Duration) -> Result<(), ProbeError> {
    let mut stream = greeted(port, "smtp", *b"220 ", timeout)?;
    // Who only hangs up is a line in the server's log, at each look. What it says to this is not asked.
    let _ = stream.write_all(b"QUIT\r\n").and_then(|()| stream.read_to_end(&mut Vec::new()));
    Ok(())
}

/// Connects and reads the first bytes that a server says, which must be these.
fn greeted<const LENGTH: usize>(
    port: u16,
    protocol: &'static str,
    expected: [u8; LENGTH],
    timeout: Duration,
) -> Result<TcpStream, ProbeError> {
    let mut stream = tcp(port, timeout)?;
    let mut greeting = [0; LENGTH];
    let read = stream.read_exact(&mut greeting);
    if read.is_ok() && greeting == expected {
        return Ok(stream);
    }
    Err(ProbeError::Greeting { port, protocol, greeting: greeting.escape_ascii().to_string() })
}

/// Somebody accepts connections on a socket in the file system.
pub fn unix(path: &Path) -> Result<(), ProbeError> {
    UnixStream::connect(path)
        .map(drop)
        .map_err(|source| ProbeError::Connect { place: path.display().to_string(), source })
}

/// A page that is asked for over TLS with the name of a site.
#[derive(Debug, Clone)]
pub struct Page<'a> {
    /// Port, normally 443.
    pub port: u16,
    /// Server name: in the TLS greeting and in the request.
    pub name: &'a str,
    /// Path of the page.
    pub path: &'a str,
    /// What must come.
    pub expected: &'a Expected,
}

/// A site answers with the host's own certificate and the expected page.
pub fn https(page: &Page<'_>, config: &Arc<ClientConfig>, timeout: Duration) -> Result<(), ProbeError> {
    let tls = |reason: String| ProbeError::Tls { name: page.name.to_owned(), reason };
    let name = ServerName::try_from(page.name.to_owned()).map_err(|error| tls(error.to_string()))?;
    let client = ClientConnection::new(Arc::clone(config), name).map_err(|error| tls(error.to_string()))?;
    let mut stream = StreamOwned::new(client, tcp(page.port, timeout)?);
    stream.conn.complete_io(&mut stream.sock).map_err(|error| tls(error.to_string()))?;
    http::get(&mut stream, page.name, page.path)
        .and_then(|answer| page.expected.check(&answer))
        .map_err(|source| ProbeError::Page { path: page.path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use rustls::ServerConfig;
    use rustls::ServerConnection;
    use rustls::crypto::ring;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;
    use crate::health::pinned;

    const CERTIFICATE: &[u8] = include_bytes!("../../tests/data/test_certificate.der");
    const OTHER_CERTIFICATE: &[u8] = include_bytes!("../../tests/data/other_certificate.der");
    const KEY: &[u8] = include_bytes!("../../tests/data/test_key.der");
    const SOON: Duration = Duration::from_secs(5);

    fn free_port() -> (TcpListener, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// Serves one connection with these bytes.
    fn greet(bytes: &'static [u8]) -> u16 {
        let (listener, port) = free_port();
        thread::spawn(move || listener.accept().unwrap().0.write_all(bytes));
        port
    }

    /// Serves one TLS connection; the page tells the server name it was asked for.
    fn serve_page(certificate: &'static [u8]) -> u16 {
        let (listener, port) = free_port();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(KEY));
        // The builder checks that key and certificate belong together; a resolver of one's own does not.
        let provider = Arc::new(ring::default_provider());
        let signing = provider.key_provider.load_private_key(key).unwrap();
        let certified = rustls::sign::CertifiedKey::new(vec![CertificateDer::from(certificate)], signing);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        thread::spawn(move || {
            let socket = listener.accept().unwrap().0;
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), socket);
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let name = stream.conn.server_name().unwrap_or("nobody").to_owned();
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthis is {name}").as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        });
        port
    }

    fn ask(port: u16, pinned: &'static [u8], text: &str) -> Result<(), ProbeError> {
        let expected = Expected { status: 200, text: text.to_owned() };
        let page = Page { port, name: "www.example.org", path: "/", expected: &expected };
        https(&page, &pinned::client(CertificateDer::from(pinned)).unwrap(), SOON)
    }

    #[test]
    fn accepts_the_page_of_a_site_with_our_certificate() {
        ask(serve_page(CERTIFICATE), CERTIFICATE, "this is www.example.org").unwrap();
    }

    #[test]
    fn refuses_another_page() {
        let error = ask(serve_page(CERTIFICATE), CERTIFICATE, "WordPress").unwrap_err();
        assert_eq!(error.to_string(), "/: the answer does not hold `WordPress`");
    }

    #[test]
    fn refuses_a_certificate_that_is_not_ours() {
        let error = ask(serve_page(OTHER_CERTIFICATE), CERTIFICATE, "").unwrap_err();
        assert!(matches!(error, ProbeError::Tls { .. }), "{error}");
    }

    #[test]
    fn refuses_our_certificate_without_its_key() {
        let error = ask(serve_page(OTHER_CERTIFICATE), OTHER_CERTIFICATE, "").unwrap_err();
        assert!(matches!(error, ProbeError::Tls { .. }), "{error}");
    }

    #[test]
    fn knows_an_ssh_server_by_its_greeting() {
        ssh(greet(b"SSH-2.0-OpenSSH_10.0\r\n"), SOON).unwrap();
        let error = ssh(greet(b"220 mail ESMTP\r\n"), SOON).unwrap_err();
        assert!(error.to_string().contains("220 mail"), "{error}");
    }

    #[test]
    fn knows_a_mail_server_by_its_greeting() {
        smtp(greet(b"220 mail.example.org ESMTP\r\n"), SOON).unwrap();
        for greeting in [b"SSH-2.0-OpenSSH_10.0\r\n".as_slice(), b"421 too busy\r\n", b"220", b""] {
            let error = smtp(greet(greeting), SOON).unwrap_err();
            assert!(error.to_string().contains("does not greet as smtp"), "{error}");
        }
    }

    #[test]
    fn refuses_a_closed_port_and_a_dead_socket() {
        let (listener, port) = free_port();
        assert!(tcp(port, SOON).is_ok());
        drop(listener);
        assert!(matches!(tcp(port, SOON), Err(ProbeError::Connect { .. })));
        assert!(unix(Path::new("/nonexistent.sock")).is_err());
    }

    #[test]
    fn does_not_wait_longer_than_the_limit_for_a_silent_server() {
        let (_listener, port) = free_port();
        let begin = std::time::Instant::now();
        assert!(ssh(port, Duration::from_millis(200)).is_err());
        assert!(begin.elapsed() < SOON);
    }
}

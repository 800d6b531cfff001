//! The relay of a scenario: a mail server at the neighbour's end of the wire that takes everything and remembers it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fs_err as fs;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use vm::NetworkNamespace;

/// How long a client may think.
const PATIENCE: Duration = Duration::from_secs(60);
/// The one way to log in.
const LOGIN: &str = "AUTH PLAIN";
/// No line and no message is longer.
const LONGEST: usize = 1 << 20;

/// A message that arrived, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) text: String,
    pub(crate) encrypted: bool,
    /// What followed `AUTH PLAIN`.
    pub(crate) login: Option<String>,
}

/// A mail server in a network; it ends with the process.
pub(crate) struct Relay {
    taken: Arc<Mutex<Vec<Message>>>,
}

impl Relay {
    /// Listens on this port of all addresses; it offers a login, but with `tls` only after STARTTLS.
    pub(crate) fn start(network: &NetworkNamespace, port: u16, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let listener = network.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, tls) = (Arc::clone(&kept), tls.clone());
                // Whoever breaks off has sent nothing that counts.
                thread::spawn(move || serve(stream, tls, &kept).ok());
            }
        });
        Ok(Self { taken })
    }

    /// All messages that have arrived.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.taken.lock().map(|taken| taken.clone()).unwrap_or_default()
    }

    /// Waits until this many messages are there, or the time is over; returns what is there then.
    pub(crate) fn wait_for(&self, count: usize, patience: Duration) -> Vec<Message> {
        let begun = Instant::now();
        while self.messages().len() < count && begun.elapsed() < patience {
            thread::sleep(Duration::from_millis(100));
        }
        self.messages()
    }
}

/// TLS with this key and certificate, both PEM.
pub(crate) fn identity(key: &Path, certificate: &Path) -> Result<Arc<ServerConfig>> {
    let key = PrivateKeyDer::from_pem_slice(&fs::read(key)?).context("no private key")?;
    let certificate = CertificateDer::from_pem_slice(&fs::read(certificate)?).context("no certificate")?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Arc::new(config))
}

fn serve(mut stream: TcpStream, tls: Option<Arc<ServerConfig>>, taken: &Mutex<Vec<Message>>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let offers = if tls.is_some() { "STARTTLS" } else { LOGIN };
    say(&mut stream, "220 relay ESMTP")?;
    let asked = converse(&mut stream, offers, &Message::default(), taken)?;
    let (Asked::ForTls, Some(config)) = (asked, tls) else { return Ok(()) };
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut encrypted = StreamOwned::new(connection, stream);
    let fresh = Message { encrypted: true, ..Message::default() };
    converse(&mut encrypted, LOGIN, &fresh, taken).map(drop)
}

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    ToEnd,
    ForTls,
}

/// Takes messages until the client ends it or wants TLS. `fresh` is what each message of this connection begins with.
fn converse(
    stream: &mut (impl Read + Write),
    offers: &str,
    fresh: &Message,
    taken: &Mutex<Vec<Message>>,
) -> io::Result<Asked> {
    let greeting = format!("250-relay\r\n250-{offers}\r\n250 SIZE {LONGEST}");
    let mut login = None;
    let mut message = fresh.clone();
    loop {
        let line = line(stream)?;
        let upper = line.to_ascii_uppercase();
        let answer = match upper.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => greeting.as_str(),
            "STARTTLS" => {
                say(stream, "220 go ahead")?;
                return Ok(Asked::ForTls);
            }
            "AUTH" => {
                login = line.rsplit(' ').next().map(str::to_owned);
                "235 welcome"
            }
            "MAIL" => {
                message = Message { sender: address(&line), login: login.clone(), ..fresh.clone() };
                "250 sender"
            }
            "RCPT" => {
                message.recipients.push(address(&line));
                "250 recipient"
            }
            "DATA" => {
                say(stream, "354 go ahead")?;
                message.text = text(stream)?;
                if let Ok(mut taken) = taken.lock() {
                    taken.push(message.clone());
                }
                "250 taken"
            }
            "QUIT" => {
                say(stream, "221 bye")?;
                return Ok(Asked::ToEnd);
            }
            _ => "250 as you like",
        };
        say(stream, answer)?;
    }
}

fn say(stream: &mut impl Write, words: &str) -> io::Result<()> {
    stream.write_all(format!("{words}\r\n").as_bytes())?;
    stream.flush()
}

/// One line without its end. Byte by byte: what follows a line may already be TLS.
fn line(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LONGEST {
        stream.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
}

/// The lines up to the one with a single dot (RFC 5321 4.5.2).
fn text(stream: &mut impl Read) -> io::Result<String> {
    let mut text = String::new();
    while text.len() < LONGEST {
        let line = line(stream)?;
        if line == "." {
            break;
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push('\n');
    }
    Ok(text)
}

/// What stands in angle brackets.
fn address(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or_else(String::new, |(address, _)| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that has said everything already.
    struct Script(io::Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn conversation(said: &str) -> (io::Result<Asked>, Vec<Message>, String) {
        let mut script = Script(io::Cursor::new(said.as_bytes().to_vec()), Vec::new());
        let taken = Mutex::new(Vec::new());
        let asked = converse(&mut script, "STARTTLS", &Message::default(), &taken);
        (asked, taken.into_inner().unwrap(), String::from_utf8(script.1).unwrap())
    }

    #[test]
    fn a_message_is_kept_with_its_envelope_and_without_the_dots_of_the_protocol() {
        let said = "EHLO x\r\nMAIL FROM:<a@example.org> SIZE=9\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\n\
                    DATA\r\nSubject: s\r\n\r\n..\r\n.\r\nQUIT\r\n";
        let (asked, messages, answers) = conversation(said);
        assert_eq!(asked.unwrap(), Asked::ToEnd);
        let [message] = messages.as_slice() else { panic!("{messages:?}") };
        assert_eq!((message.sender.as_str(), message.recipients.len()), ("a@example.org", 2));
        assert_eq!(message.text, "Subject: s\n\n.\n");
        assert!(answers.contains("250-STARTTLS\r\n"), "{answers}");
    }

    #[test]
    fn a_message_that_was_cut_is_not_kept() {
        let (asked, messages, _) = conversation("MAIL FROM:<a@example.org>\r\nDATA\r\nhalf of it\r\n");
        assert!(asked.is_err() && messages.is_empty(), "{messages:?}");
        assert_eq!(conversation("STARTTLS\r\n").0.unwrap(), Asked::ForTls);
    }
}

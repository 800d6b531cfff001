//! The rest of the world, as a scenario needs it: a neighbour on the wire who answers questions about names and serves one page.
//!
//! Every name has an address, so what is refused is refused by a rule and not for want of an answer: names that begin with `inside.` are the
//! neighbour's own private address, all others a public one that it has too.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use vm::NetworkNamespace;

/// An address of the outside world (RFC 5737).
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the page says.
pub(crate) const PAGE: &str = "a page of the neighbour";
/// Header of a DNS message (RFC 1035 4.1.1), in bytes.
const HEADER: usize = 12;

/// Services in a network; they end with the process.
pub(crate) struct Neighbour {
    visits: Arc<AtomicUsize>,
}

impl Neighbour {
    /// Serves HTTP on port 80 of all addresses and names on port 53 of `address` in this network.
    pub(crate) fn start(network: &NetworkNamespace, address: Ipv4Addr) -> io::Result<Self> {
        Self::start_beside(network, address, &[])
    }

    /// The same, and these names lead to hosts.
    pub(crate) fn start_beside(
        network: &NetworkNamespace,
        address: Ipv4Addr,
        hosted: &'static [(&'static str, Ipv4Addr)],
    ) -> io::Result<Self> {
        let (web, names) = network.run(|| {
            tools::netlink::add_address(tools::netlink::link_index("lo")?, OUTSIDE.into(), 32)?;
            Ok((TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80))?, UdpSocket::bind((address, 53))?))
        })?;
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&visits);
        thread::spawn(move || {
            for mut stream in web.incoming().flatten() {
                counted.fetch_add(1, Ordering::Relaxed);
                // Whole, or closing would cut off the answer. A visitor who only connects has been counted.
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let length = PAGE.len();
                let _ =
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{PAGE}");
            }
        });
        thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = names.recv_from(&mut question) {
                if let Some(answer) = answer(question.get(..length).unwrap_or_default(), address, hosted) {
                    let _ = names.send_to(&answer, from);
                }
            }
        });
        Ok(Self { visits })
    }

    /// How many have connected to the web server.
    pub(crate) fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

/// One address for a question about addresses (A), no answer and no error for any other.
fn answer(question: &[u8], address: Ipv4Addr, hosted: &[(&str, Ipv4Addr)]) -> Option<Vec<u8>> {
    let end = HEADER + name_length(question.get(HEADER..)?)?;
    let asked = question.get(HEADER..end + 4)?;
    let inside = asked.starts_with(b"\x06inside");
    let is_asked =
        |name: &str| asked.get(..asked.len() - 4).is_some_and(|bytes| bytes.eq_ignore_ascii_case(&encoded(name)));
    let host = hosted.iter().find(|(name, _)| is_asked(name)).map(|(_, host)| *host);
    let wants_address = question.get(end..end + 2)? == [0, 1];
    let mut message = question.get(..2)?.to_vec();
    // An authoritative answer; one question; one answer or none.
    message.extend([0x84, 0, 0, 1, 0, u8::from(wants_address), 0, 0, 0, 0]);
    message.extend(asked);
    if wants_address {
        // The name of the question, A, IN, a minute, four bytes.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(host.unwrap_or(if inside { address } else { OUTSIDE }).octets());
    }
    Some(message)
}

/// A name as it stands in a message (RFC 1035 3.1).
fn encoded(name: &str) -> Vec<u8> {
    let labels =
        name.split('.').flat_map(|label| std::iter::once(u8::try_from(label.len()).unwrap_or(0)).chain(label.bytes()));
    labels.chain([0]).collect()
}

/// Length of a name with its end (RFC 1035 3.1).
fn name_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            label @ 1..=63 => at += 1 + usize::from(label),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03net\x00\x00\x01\x00\x01";

    #[test]
    fn an_address_is_answered_and_other_questions_have_no_answer() {
        let told = answer(ASKED, Ipv4Addr::new(10, 0, 2, 2), &[]).unwrap();
        assert_eq!(told[..2], ASKED[..2]);
        assert_eq!(told[7], 1);
        assert!(told.ends_with(&OUTSIDE.octets()));
        let hosted = [("www.example.com", Ipv4Addr::LOCALHOST), ("www.example.net", Ipv4Addr::new(10, 0, 2, 20))];
        assert!(answer(ASKED, Ipv4Addr::LOCALHOST, &hosted).unwrap().ends_with(&[10, 0, 2, 20]));
        let inside = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x06inside\x03net\0\0\x01\0\x01";
        assert!(answer(inside, Ipv4Addr::new(10, 0, 2, 2), &[]).unwrap().ends_with(&[10, 0, 2, 2]));
        let mut other = ASKED.to_vec();
        other[ASKED.len() - 3] = 28;
        assert_eq!(answer(&other, Ipv4Addr::LOCALHOST, &[]).unwrap()[7], 0);
        for length in 0..ASKED.len() {
            assert!(answer(&ASKED[..length], Ipv4Addr::LOCALHOST, &[]).is_none(), "{length}");
        }
    }
}

//! A request to a site's PHP by its socket (FastCGI 1.0), as the web server makes them.
//!
//! So what the host wants of a site runs where the site's own programs run: same user, same root, same limits, same way out.

use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use thiserror::Error;

/// More than any answer to the host (§3.3 has no limit).
const LONGEST_ANSWER: usize = 1 << 20;
/// The version of the protocol and the only request of the connection.
const VERSION: u8 = 1;
const REQUEST: u16 = 1;
/// Longest content of a record (§3.3).
const LONGEST_CONTENT: usize = 0xffff;

/// Types of records (§8).
mod record {
    pub(super) const BEGIN: u8 = 1;
    pub(super) const END: u8 = 3;
    pub(super) const PARAMETERS: u8 = 4;
    pub(super) const STDIN: u8 = 5;
    pub(super) const STDOUT: u8 = 6;
    pub(super) const STDERR: u8 = 7;
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The PHP file, as the site's PHP sees it.
    pub script: &'a str,
    /// Further variables of `$_SERVER`, e.g. `HTTP_HOST`.
    pub variables: &'a [(&'a str, &'a str)],
    /// The time for the whole answer.
    pub patience: Duration,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Status of HTTP (RFC 3875 §6.3.3); 200 where the program says none.
    pub status: u16,
    /// Body.
    pub body: String,
    /// What PHP wrote to its error stream.
    pub errors: String,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum FastCgiError {
    /// The socket refuses, or nothing comes.
    #[error("cannot ask PHP by `{socket}`: {source}")]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else than FastCGI, or too much of it.
    #[error("PHP at `{socket}` answers with {what}")]
    Protocol {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Asks once and reads the whole answer.
pub fn ask(socket: &Path, request: &Request<'_>) -> Result<Answer, FastCgiError> {
    let failed = |source| FastCgiError::Socket { socket: socket.to_owned(), source };
    let end = Instant::now() + request.patience;
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_write_timeout(Some(request.patience)).map_err(failed)?;
    stream.write_all(&encode(request)).map_err(failed)?;
    let (output, errors) = read_streams(&mut Until { stream: &stream, end }, socket)?;
    let errors = String::from_utf8_lossy(&errors).trim().to_owned();
    Ok(Answer { errors, ..split_head(&output) })
}

/// Reads until a moment, however little comes at a time.
struct Until<'a> {
    stream: &'a UnixStream,
    end: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

/// The whole request: begin (role: responder), variables, empty input.
fn encode(request: &Request<'_>) -> Vec<u8> {
    const RESPONDER: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
    let usual = [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTPS", "on"),
        ("SCRIPT_FILENAME", request.script),
        ("SCRIPT_NAME", request.script),
    ];
    let mut variables = Vec::new();
    for (name, value) in usual.iter().chain(request.variables) {
        push_length(&mut variables, name.len());
        push_length(&mut variables, value.len());
        variables.extend_from_slice(name.as_bytes());
        variables.extend_from_slice(value.as_bytes());
    }
    let mut bytes = Vec::new();
    push_record(&mut bytes, record::BEGIN, &RESPONDER);
    for part in variables.chunks(LONGEST_CONTENT) {
        push_record(&mut bytes, record::PARAMETERS, part);
    }
    push_record(&mut bytes, record::PARAMETERS, &[]);
    push_record(&mut bytes, record::STDIN, &[]);
    bytes
}

/// One byte up to 127, else four with the highest bit set (§3.4).
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => bytes.extend((u32::try_from(length).unwrap_or(u32::MAX) | 1 << 31).to_be_bytes()),
    }
}

fn push_record(bytes: &mut Vec<u8>, kind: u8, content: &[u8]) {
    bytes.extend([VERSION, kind]);
    bytes.extend(REQUEST.to_be_bytes());
    bytes.extend(u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend_from_slice(content);
}

/// Both streams up to the record that ends the request.
fn read_streams(stream: &mut impl Read, socket: &Path) -> Result<(Vec<u8>, Vec<u8>), FastCgiError> {
    let failed = |source| FastCgiError::Socket { socket: socket.to_owned(), source };
    let wrong = |what| FastCgiError::Protocol { socket: socket.to_owned(), what };
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    loop {
        let mut head = [0; 8];
        stream.read_exact(&mut head).map_err(failed)?;
        let [version, kind, _, _, high, low, padding, _] = head;
        if version != VERSION {
            return Err(wrong("something that is not FastCGI"));
        }
        let mut content = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        stream.read_exact(&mut content).map_err(failed)?;
        stream.read_exact(&mut vec![0; usize::from(padding)]).map_err(failed)?;
        match kind {
            record::STDOUT => output.extend(content),
            record::STDERR => errors.extend(content),
            record::END => return Ok((output, errors)),
            _ => return Err(wrong("a record that nobody asked for")),
        }
        if output.len() + errors.len() > LONGEST_ANSWER {
            return Err(wrong("more than 1 MiB"));
        }
    }
}

/// Headers end with an empty line; their `Status:` is the answer's (RFC 3875 §6.2).
fn split_head(output: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(output);
    let (head, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).unwrap_or((&text, ""));
    let status = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let number = value.split_whitespace().next()?;
        number.parse().ok().filter(|_| name.eq_ignore_ascii_case("status"))
    });
    Answer { status: status.unwrap_or(200), body: body.to_owned(), errors: String::new() }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::testing;

    fn records(parts: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, content) in parts {
            push_record(&mut bytes, *kind, content);
        }
        bytes
    }

    /// Answers one request well, with this body.
    pub(crate) fn answer(mut stream: UnixStream, body: &str) {
        let mut request = vec![0; 4096];
        assert!(stream.read(&mut request).unwrap() > 0);
        let body = format!("Status: 200 OK\r\n\r\n{body}");
        stream.write_all(&records(&[(record::STDOUT, body.as_bytes()), (record::END, &[0; 8])])).unwrap();
    }

    /// A PHP that sends `answer` to whoever asks, and returns what it was sent.
    fn asked(answer: &[u8]) -> (Result<Answer, FastCgiError>, Vec<u8>) {
        let folder = testing::folder();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = vec![0; 4096];
                let count = stream.read(&mut request).unwrap();
                // Whoever has had enough hangs up.
                let _ = stream.write_all(answer);
                request.truncate(count);
                request
            });
            let request = Request {
                script: "/usr/share/x.php",
                variables: &[("HTTP_HOST", "www.example.org")],
                patience: Duration::from_secs(5),
            };
            let answer = ask(&socket, &request);
            (answer, server.join().unwrap())
        })
    }

    #[test]
    fn sends_variables_and_reads_status_body_and_errors() {
        let body = b"Status: 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\nnot yet";
        let (answer, request) =
            asked(&records(&[(record::STDERR, b"oh\n"), (record::STDOUT, body), (record::END, &[0; 8])]));
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str(), answer.errors.as_str()), (503, "not yet", "oh"));
        let sent = String::from_utf8_lossy(&request).into_owned();
        assert!(sent.contains("HTTP_HOSTwww.example.org") && sent.contains("SCRIPT_FILENAME/usr/share/x.php"));
        assert!(request.starts_with(&[1, record::BEGIN, 0, 1, 0, 8, 0, 0, 0, 1]), "{request:?}");
    }

    #[test]
    fn an_answer_without_status_is_well() {
        let (answer, _) = asked(&records(&[(record::STDOUT, b"A: b\n\nx"), (record::END, &[0; 8])]));
        assert_eq!(answer.unwrap(), Answer { status: 200, body: "x".to_owned(), errors: String::new() });
    }

    #[test]
    fn whatever_is_not_an_answer_is_an_error() {
        assert!(matches!(asked(b"HTTP/1.1 400 Bad").0, Err(FastCgiError::Protocol { .. })));
        assert!(matches!(asked(&records(&[(record::STDOUT, b"A: b\n\nx")])).0, Err(FastCgiError::Socket { .. })));
        assert!(matches!(asked(&records(&[(record::BEGIN, &[])])).0, Err(FastCgiError::Protocol { .. })));
        let endless: Vec<u8> = (0..20).flat_map(|_| records(&[(record::STDOUT, &vec![b'x'; 0xffff])])).collect();
        assert!(matches!(asked(&endless).0, Err(FastCgiError::Protocol { .. } | FastCgiError::Socket { .. })));
    }

    #[test]
    fn an_answer_that_drips_has_no_more_time_than_one_that_does_not_come() {
        let folder = testing::folder();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                // Ends when nobody listens any more.
                while stream.write_all(&records(&[(record::STDOUT, b"x")])).is_ok() {
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let begin = Instant::now();
            let request = Request { script: "/x.php", variables: &[], patience: Duration::from_millis(200) };
            let answer = ask(&socket, &request);
            assert!(matches!(answer, Err(FastCgiError::Socket { .. })), "{answer:?}");
            assert!(begin.elapsed() < Duration::from_secs(5));
        });
    }

    #[test]
    fn long_lengths_take_four_bytes() {
        let mut bytes = Vec::new();
        push_length(&mut bytes, 127);
        push_length(&mut bytes, 128);
        assert_eq!(bytes, [127, 0x80, 0, 0, 128]);
    }
}

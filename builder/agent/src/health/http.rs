//! As much of HTTP/1.1 as a health check needs: one GET, one answer, closed afterwards.
//!
//! The answer is foreign bytes: it is read up to a limit and parsed without trust. Redirects are not followed; a check says what it expects.

use std::io::Read;
use std::io::Write;

use thiserror::Error;

/// A page is judged by its first megabyte.
const LIMIT: u64 = 1 << 20;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code, such as 200.
    pub status: u16,
    /// Head and body as text, bytes outside of UTF-8 replaced.
    pub text: String,
}

/// What a health check wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Status code.
    pub status: u16,
    /// Text that must be in the answer; empty accepts all.
    pub text: String,
}

/// Why an answer does not count.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The connection broke or took too long.
    #[error("no answer: {0}")]
    Connection(#[from] std::io::Error),
    /// The first line is not HTTP.
    #[error("the answer is not HTTP: it starts with `{0}`")]
    NotHttp(String),
    /// Another status code.
    #[error("the status is {found} instead of {expected}")]
    Status {
        /// What came.
        found: u16,
        /// What the check wants.
        expected: u16,
    },
    /// The right status, the wrong page.
    #[error("the answer does not hold `{0}`")]
    Text(String),
}

/// Asks for a path and reads the answer to its end.
pub fn get(connection: &mut (impl Read + Write), host: &str, path: &str) -> Result<Answer, HttpError> {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: casemate-agent\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    connection.flush()?;
    let mut bytes = Vec::new();
    match connection.take(LIMIT).read_to_end(&mut bytes) {
        // Many servers close without the closing message of TLS; the status line and text are judged all the same.
        Err(error) if bytes.is_empty() || error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error.into()),
        _ => parse(&bytes),
    }
}

/// Reads the status line (RFC 9112 §4).
fn parse(bytes: &[u8]) -> Result<Answer, HttpError> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let line = text.lines().next().unwrap_or_default();
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|word| word.parse().ok());
    match status {
        Some(status) if version.starts_with("HTTP/1.") => Ok(Answer { status, text }),
        _ => Err(HttpError::NotHttp(line.chars().take(40).collect())),
    }
}

impl Expected {
    /// Compares an answer with what is wanted.
    pub fn check(&self, answer: &Answer) -> Result<(), HttpError> {
        if answer.status != self.status {
            return Err(HttpError::Status { found: answer.status, expected: self.status });
        }
        if !answer.text.contains(&self.text) {
            return Err(HttpError::Text(self.text.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_status_and_text() {
        let answer = parse(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n<html>Example</html>").unwrap();
        assert_eq!(answer.status, 200);
        let expected = Expected { status: 200, text: "Example".into() };
        assert!(expected.check(&answer).is_ok());
    }

    #[test]
    fn refuses_another_status_or_text() {
        let answer = parse(b"HTTP/1.1 500 Oops\r\n\r\nerror").unwrap();
        let wants = |status, text: &str| Expected { status, text: text.into() }.check(&answer).unwrap_err().to_string();
        assert_eq!(wants(200, ""), "the status is 500 instead of 200");
        assert_eq!(wants(500, "Example"), "the answer does not hold `Example`");
    }

    #[test]
    fn refuses_what_is_not_http() {
        for bytes in [&b""[..], b"SSH-2.0-x", b"HTTP/1.1", b"HTTP/1.1 abc", b"HTTP/2 200", b"\xff\xfe"] {
            assert!(matches!(parse(bytes), Err(HttpError::NotHttp(_))), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}

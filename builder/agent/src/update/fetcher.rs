//! The half that talks to the world: a process without rights, which hands over the bytes of one file of the repository.
//!
//! It is asked by the agent over a socket, one file for each connection (`casemate-fetch@.service`). What it hands over is judged by the agent: this
//! half may be taken over by whoever it talks to, and nothing follows from it.

use std::fs;
use std::io;
use std::io::BufRead as _;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::thread;

use download::Http;
use download::HttpError;
use download::Way;
use download::WayError;
use tools::ExitKind;
use tools::Remedy;

use super::frames;
use super::settings::Source;

/// Longest name of a file below the folder of the image, in bytes.
const LONGEST_NAME: u64 = 300;
/// Bytes after which a connection that breaks off is no step back.
const PROGRESS: u64 = 1 << 20;

/// Why a file was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The agent is gone, or asks for nonsense.
    #[error("the agent cannot be understood: {0}")]
    Agent(io::Error),
    /// The certificates to trust cannot be read.
    #[error("cannot read `{0}`: {1}")]
    Roots(String, io::Error),
    /// The way cannot be gone.
    #[error(transparent)]
    Way(#[from] WayError),
}

impl Remedy for FetchError {
    fn remedy(&self) -> Option<String> {
        let text = match self {
            Self::Agent(_) => "the fetcher answers the agent alone: ask by `casemate-agent update check`",
            Self::Roots(..) => "give the host its document again: `systemctl restart casemate-personalise`",
            Self::Way(WayError::Proxy(_)) => "look at `https_proxy` in `systemctl cat casemate-fetch@.service`",
            Self::Way(WayError::Roots(_) | WayError::NoRoots) => {
                "write certificates in PEM into `host.toml`, `[update]`, `roots`, and give the host that document"
            }
        };
        Some(text.to_owned())
    }

    fn exit_kind(&self) -> ExitKind {
        match self {
            Self::Way(WayError::Roots(_) | WayError::NoRoots) => ExitKind::Refused,
            Self::Agent(_) | Self::Roots(..) | Self::Way(WayError::Proxy(_)) => ExitKind::Environment,
        }
    }
}

/// A client that trusts whom the document says, by the proxy that the unit says.
pub fn client(source: &Source, proxy: Option<String>, root: &Path) -> Result<Http, FetchError> {
    let place = root.join(source.roots.strip_prefix("/").unwrap_or(&source.roots));
    let roots = fs::read(&place).map_err(|error| FetchError::Roots(place.display().to_string(), error))?;
    Ok(Http::default().by(&Way { proxy, roots: Some(roots) })?)
}

/// Answers one question: a line with the name of a file below `folder`, which is an address.
pub fn serve(http: &Http, folder: &str, input: impl Read, out: &mut dyn Write) -> Result<(), FetchError> {
    let mut line = String::new();
    io::BufReader::new(input.take(LONGEST_NAME)).read_line(&mut line).map_err(FetchError::Agent)?;
    let name = line.strip_suffix('\n').filter(|name| is_below(name));
    let name = name.ok_or_else(|| FetchError::Agent(io::ErrorKind::InvalidInput.into()))?;
    let address = format!("{}/{name}", folder.trim_end_matches('/'));
    hand_over(http, &address, out).map_err(FetchError::Agent)
}

/// Names of a repository, and nothing that leads out of it.
fn is_below(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~^+".contains(&byte);
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed);
    name.split('/').all(part)
}

/// Hands over all of a file. A connection that breaks off is made again, from where it was.
fn hand_over(http: &Http, address: &str, out: &mut dyn Write) -> io::Result<()> {
    let (mut at, mut before, mut attempt) = (0, 0, 0);
    loop {
        let error = match copy(http, address, &mut at, out)? {
            Ok(()) if at == 0 => return frames::write_there(out).and_then(|()| frames::write_end(out)),
            Ok(()) => return frames::write_end(out),
            Err(error) if at == 0 && error.is_gone() => return frames::write_missing(out),
            Err(error) => error,
        };
        if at >= before + PROGRESS {
            (before, attempt) = (at, 0);
        }
        if attempt >= http.retries() || !error.may_pass() {
            if at == 0 {
                frames::write_there(out)?;
            }
            return frames::write_failure(out, &error.to_string());
        }
        thread::sleep(http.pause(attempt));
        attempt += 1;
    }
}

/// Copies from a place on, and counts on how far it came. The outer error is one of the agent's side.
fn copy(http: &Http, address: &str, at: &mut u64, out: &mut dyn Write) -> io::Result<Result<(), HttpError>> {
    let mut body = match http.get(address, *at) {
        Ok(body) => body,
        // There is nothing behind the end: all of it came, and then the connection broke.
        Err(HttpError::Status(416)) if *at > 0 => return Ok(Ok(())),
        Err(error) => return Ok(Err(error)),
    };
    let mut skip = *at - body.start.min(*at);
    let mut buffer = vec![0; frames::LARGEST];
    loop {
        let read = match body.reader.read(&mut buffer) {
            Ok(0) => return Ok(Ok(())),
            Ok(read) => read,
            Err(error) => return Ok(Err(http.broken(error))),
        };
        let known = usize::try_from(skip).unwrap_or(usize::MAX).min(read);
        skip -= known as u64;
        let new = buffer.get(known..read).unwrap_or_default();
        if new.is_empty() {
            continue;
        }
        if *at == 0 {
            frames::write_there(out)?;
        }
        frames::write_bytes(out, new)?;
        *at += new.len() as u64;
    }
}

#[cfg(test)]
mod tests;

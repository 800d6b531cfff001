//! The HTTP client: one request at a time, with a range, no cookies, no state but the open connections.

use std::{
    io::{self, Read},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;
use ureq::{Agent, Proxy, http::StatusCode};

use crate::pace::{Paced, SLOWEST, TooSlow};

/// A client that keeps connections open between requests.
#[derive(Debug, Clone)]
pub struct Http {
    agent: Agent,
    retries: u32,
    pause: Duration,
    patience: Duration,
}

/// How a server is reached, where that is not the usual way.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// The HTTP proxy that is asked, e.g. `http://127.0.0.1:3128`; absent: none.
    pub proxy: Option<String>,
    /// Certificates to trust, as PEM; absent: those that browsers trust.
    pub roots: Option<Vec<u8>>,
}

/// How long a server may send nothing before the connection counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The body of an answer.
pub struct Body {
    /// The offset of its first byte in the file.
    pub start: u64,
    /// What is behind it.
    pub reader: Box<dyn Read>,
}

/// What a server gave with a file, by which it can tell later that the file is still the same (RFC 9110, 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

/// The answer to a request for a small file.
#[derive(Debug)]
pub enum Small {
    /// The file, and by what to ask for it the next time.
    File(Vec<u8>, Validators),
    /// It is what the validators belong to.
    Unchanged,
    /// The server does not have it.
    Missing,
}

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection, no answer, or not HTTP.
    #[error("no answer from the server: {0}; check the network and its address")]
    Connection(Box<ureq::Error>),
    /// The server said no.
    #[error("the server answers with status {0}; use another server")]
    Status(u16),
    /// Not one byte for as long as we wait.
    #[error(
        "the server sent nothing for {0:?}; try again, use another server, or wait longer with `--timeout SECONDS`"
    )]
    Stalled(Duration),
    /// Something, and so little that the file would never be here.
    #[error(
        "the server sent fewer than {bytes} bytes a second for {patience:?}; try again, use another server, or judge over a longer time \
         with `--timeout SECONDS`"
    )]
    Slow {
        /// What a second must bring.
        bytes: u64,
        /// How long it did not.
        patience: Duration,
    },
    /// Sent from address to address.
    #[error("the server sends us from one address to the next without end; use another server")]
    Redirects,
    /// The connection broke inside the body.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The body ended early.
    #[error("the connection ended after {held} of {size} bytes")]
    Cut {
        /// What arrived.
        held: u64,
        /// What should have.
        size: u64,
    },
    /// The body is longer than the limit.
    #[error("the answer is longer than {0} bytes")]
    TooLong(u64),
    /// The rest did not fit the beginning that was kept from an earlier attempt.
    #[error("the rest of the file does not fit its beginning")]
    Stale,
}

/// A way that cannot be gone.
#[derive(Debug, thiserror::Error)]
pub enum WayError {
    /// Not the address of a proxy.
    #[error("the address of the proxy is none: {0}")]
    Proxy(ureq::Error),
    /// Not PEM.
    #[error("the certificates to trust are not PEM: {0}")]
    Roots(ureq::Error),
    /// Nobody would be trusted.
    #[error("there is no certificate among those to trust")]
    NoRoots,
}

impl Default for Http {
    fn default() -> Self {
        Self::new(4, Duration::from_millis(250))
    }
}

impl Http {
    /// A client that tries `retries` times more, after `pause`, twice `pause` and so on.
    pub fn new(retries: u32, pause: Duration) -> Self {
        Self { agent: agent(PATIENCE), retries, pause, patience: PATIENCE }
    }

    /// The same client with another [`PATIENCE`].
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { agent: agent(patience), patience, ..self }
    }

    /// A client that goes a way of its own, and to no other address than the one that it is given: a redirect is an answer
    /// like any other.
    pub fn by(self, way: &Way) -> Result<Self, WayError> {
        let mut config = config(self.patience).max_redirects(0);
        let proxy = way.proxy.as_deref().map(Proxy::new).transpose().map_err(WayError::Proxy)?;
        if let Some(roots) = &way.roots {
            config = config.tls_config(TlsConfig::builder().root_certs(certificates(roots)?).build());
        }
        Ok(Self { agent: config.proxy(proxy).build().new_agent(), ..self })
    }

    /// How often a request is made again.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// How long to wait before the attempt after this one, from 0.
    pub fn pause(&self, attempt: u32) -> Duration {
        self.pause.saturating_mul(2_u32.saturating_pow(attempt.min(8)))
    }

    fn failed(&self, error: ureq::Error) -> HttpError {
        match error {
            ureq::Error::Timeout(_) => HttpError::Stalled(self.patience),
            ureq::Error::TooManyRedirects => HttpError::Redirects,
            error => HttpError::Connection(Box::new(error)),
        }
    }

    /// What it means that a body cannot be read on.
    pub fn broken(&self, error: io::Error) -> HttpError {
        let timeout = |error: &ureq::Error| matches!(error, ureq::Error::Timeout(_));
        let Some(inner) = error.get_ref() else { return HttpError::Broken(error) };
        if inner.is::<TooSlow>() {
            return HttpError::Slow { bytes: SLOWEST, patience: self.patience };
        }
        match inner.downcast_ref::<ureq::Error>() {
            Some(inner) if timeout(inner) => HttpError::Stalled(self.patience),
            _ => HttpError::Broken(error),
        }
    }

    /// Asks for a file from an offset on; the server may answer with all of it.
    pub fn get(&self, address: &str, from: u64) -> Result<Body, HttpError> {
        let mut request = self.agent.get(address);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| self.failed(error))?;
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if from > 0 => {
                let range = response.headers().get("Content-Range").and_then(|value| value.to_str().ok());
                let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
                if start != Some(from) {
                    return Err(HttpError::Stale);
                }
                from
            }
            other => return Err(HttpError::Status(other.as_u16())),
        };
        Ok(Body { start, reader: Box::new(self.body(response)) })
    }

    fn body(&self, response: ureq::http::Response<ureq::Body>) -> Paced<impl Read + use<>> {
        Paced::new(response.into_body().into_with_config().limit(u64::MAX).reader(), self.patience)
    }

    /// Gets a whole file of at most `limit` bytes, trying again as usual, unless it is still the one that is `held`.
    pub fn get_small(&self, address: &str, limit: u64, held: Option<&Validators>) -> Result<Small, HttpError> {
        let mut attempt = 0;
        loop {
            match self.get_once(address, limit, held) {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_gone() => return Ok(Small::Missing),
                Err(error) if attempt < self.retries && error.may_pass() => {
                    std::thread::sleep(self.pause(attempt));
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gets a whole file of at most `limit` bytes into memory, trying again as usual.
    pub fn get_whole(&self, address: &str, limit: u64) -> Result<Vec<u8>, HttpError> {
        match self.get_small(address, limit, None)? {
            Small::File(bytes, _) => Ok(bytes),
            Small::Unchanged | Small::Missing => Err(HttpError::Status(404)),
        }
    }

    fn get_once(&self, address: &str, limit: u64, held: Option<&Validators>) -> Result<Small, HttpError> {
        let mut request = self.agent.get(address);
        let Validators { etag, last_modified } = held.cloned().unwrap_or_default();
        for (name, value) in [("If-None-Match", etag), ("If-Modified-Since", last_modified)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let response = request.call().map_err(|error| self.failed(error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if held.is_some() => return Ok(Small::Unchanged),
            other => return Err(HttpError::Status(other.as_u16())),
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let validators = Validators { etag: header("ETag"), last_modified: header("Last-Modified") };
        let mut bytes = Vec::new();
        self.body(response)
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| self.broken(error))?;
        if bytes.len() as u64 > limit { Err(HttpError::TooLong(limit)) } else { Ok(Small::File(bytes, validators)) }
    }
}

/// A client that gives a server so much time for each step.
fn agent(patience: Duration) -> Agent {
    config(patience).build().new_agent()
}

fn config(patience: Duration) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(patience.min(Duration::from_secs(20))))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
        .user_agent("casemate")
        // The body must be the bytes the digest is of.
        .accept_encoding("identity")
        .max_idle_connections_per_host(8)
}

fn certificates(pem: &[u8]) -> Result<RootCerts, WayError> {
    let all = ureq::tls::parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(WayError::Roots(error))),
    });
    let all: Vec<Certificate<'static>> = all.collect::<Result<_, _>>()?;
    if all.is_empty() { Err(WayError::NoRoots) } else { Ok(RootCerts::new_with_certs(&all)) }
}

impl HttpError {
    /// Whether the server does not have the file.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Status(404 | 410))
    }

    /// Whether another attempt may do better.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Status(status) => *status >= 500 || [408, 416, 425, 429].contains(status),
            Self::TooLong(_) | Self::Redirects => false,
            _ => true,
        }
    }
}

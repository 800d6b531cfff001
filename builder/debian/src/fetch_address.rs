//! One file of a known digest into the store, from any address or from this machine.
//!
//! [`crate::fetch`] is for packages, whose exact size the archive promises; here only the digest and a limit are known. A file that is
//! in the store already is hashed again: what was damaged there is fetched anew.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    thread,
};

use download::{Http, HttpError};
use formats::digest::Sha256Digest;
use sha2::{Digest as _, Sha256};

use crate::store::{Partial, Store, StoreError};

/// A file that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What to call it in messages, such as ``asset `theme` ``.
    pub label: &'a str,
    /// Where it is: an address or a path, for messages.
    pub place: &'a str,
    /// Its digest.
    pub sha256: Sha256Digest,
    /// Most bytes that it may have.
    pub limit: u64,
}

/// A file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The store does not have it and the network may not be used.
    #[error("{label} is not in the cache; run again without `--offline` while the network is there")]
    Offline {
        /// The file.
        label: String,
    },
    /// It has another digest.
    #[error(
        "{label}: `{place}` has SHA-256 {found}, expected {expected}; if the new content is wanted, look at it and change `sha256`"
    )]
    Digest {
        /// The file.
        label: String,
        /// Where it came from.
        place: String,
        /// What was promised.
        expected: Sha256Digest,
        /// What came.
        found: Sha256Digest,
    },
    /// It is larger than its limit.
    #[error("{label}: `{place}` has more than the {limit} bytes of its limit; if that is right, raise `size`")]
    TooLong {
        /// The file.
        label: String,
        /// Where it came from.
        place: String,
        /// The limit.
        limit: u64,
    },
    /// The transfer failed again and again.
    #[error("{label}: cannot fetch `{place}`; look at the address and the network")]
    Transfer {
        /// The file.
        label: String,
        /// Where it was to come from.
        place: String,
        /// The last failure.
        source: HttpError,
    },
    /// A file of this machine cannot be read.
    #[error("{label}: cannot read `{place}`; put the file there")]
    Read {
        /// The file.
        label: String,
        /// Where it should be.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why one attempt ended.
enum Stop {
    /// Another one may do better.
    Broken(HttpError),
    /// It will not.
    Final(AddressError),
}

/// Makes sure that the store has a file from an address, and gives its path. Without a client the network is not used.
pub fn fetch_address(store: &Store, wanted: Wanted<'_>, http: Option<&Http>) -> Result<PathBuf, AddressError> {
    let mut partial = store.open_partial(&wanted.sha256)?;
    if let Some(path) = held(store, wanted)? {
        return Ok(path);
    }
    let http = http.ok_or_else(|| AddressError::Offline { label: wanted.label.into() })?;
    let mut attempt = 0;
    loop {
        let body = http.get(wanted.place, 0).map_err(Stop::Broken);
        match body.and_then(|mut body| wanted.keep(&mut *body.reader, &mut partial, |error| http.broken(error))) {
            Ok(()) => return Ok(store.publish(&partial, &wanted.sha256)?),
            Err(Stop::Final(error)) => return Err(error),
            Err(Stop::Broken(error)) if attempt < http.retries() && error.may_pass() => {
                thread::sleep(http.pause(attempt));
                attempt += 1;
            }
            Err(Stop::Broken(source)) => {
                return Err(AddressError::Transfer { label: wanted.label.into(), place: wanted.place.into(), source });
            }
        }
    }
}

/// Makes sure that the store has a file of this machine, and gives its path there. The file itself is always read and compared.
pub fn keep_file(store: &Store, wanted: Wanted<'_>, path: &Path) -> Result<PathBuf, AddressError> {
    let mut partial = store.open_partial(&wanted.sha256)?;
    let failed = |source| AddressError::Read { label: wanted.label.into(), place: wanted.place.into(), source };
    let mut file = File::open(path).map_err(failed)?;
    match wanted.keep(&mut file, &mut partial, HttpError::Broken) {
        Ok(()) => Ok(store.publish(&partial, &wanted.sha256)?),
        Err(Stop::Final(error)) => Err(error),
        Err(Stop::Broken(HttpError::Broken(error))) => Err(failed(error)),
        Err(Stop::Broken(other)) => Err(failed(io::Error::other(other))),
    }
}

/// The path in the store, if the file is there and is what it should be.
fn held(store: &Store, wanted: Wanted<'_>) -> Result<Option<PathBuf>, StoreError> {
    let path = store.path(&wanted.sha256);
    let Ok(file) = File::open(&path) else { return Ok(None) };
    let mut hasher = Sha256::new();
    let size =
        io::copy(&mut file.take(wanted.limit.saturating_add(1)), &mut hasher).map_err(StoreError::of("read", &path))?;
    let good = size <= wanted.limit && Sha256Digest::from_hasher(hasher) == wanted.sha256;
    Ok(good.then_some(path))
}

impl Wanted<'_> {
    /// Copies a body into the unfinished file and compares its digest.
    fn keep(
        &self,
        body: &mut dyn Read,
        partial: &mut Partial,
        broken: impl Fn(io::Error) -> HttpError,
    ) -> Result<(), Stop> {
        let lost = |error: StoreError| Stop::Final(error.into());
        partial.clear().map_err(lost)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut length = 0_u64;
        loop {
            let count = body.read(&mut buffer).map_err(|error| Stop::Broken(broken(error)))?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            length = length.saturating_add(count as u64);
            if length > self.limit {
                partial.clear().map_err(lost)?;
                let (label, place) = (self.label.into(), self.place.into());
                return Err(Stop::Final(AddressError::TooLong { label, place, limit: self.limit }));
            }
            hasher.update(bytes);
            partial.file.write_all(bytes).map_err(partial.failed("write")).map_err(lost)?;
        }
        let found = Sha256Digest::from_hasher(hasher);
        if found == self.sha256 {
            return Ok(());
        }
        partial.clear().map_err(lost)?;
        let (label, place) = (self.label.into(), self.place.into());
        Err(Stop::Final(AddressError::Digest { label, place, expected: self.sha256, found }))
    }
}

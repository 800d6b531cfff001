//! Downloads into the store: parallel, resumed, capped, verified.
//!
//! Every file's size and digest are known before the first byte is asked for, so the mirror is trusted with nothing: a body
//! that is longer is cut off, one with another digest never enters the store. This is the last use of the network in a build.

use std::{
    io::{Read, Seek as _, Write as _},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use download::{Http, HttpError};
use formats::digest::Sha256Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    mirror::Mirrors,
    parallel::for_each_largest_first,
    pool_path::PoolPath,
    store::{Partial, Store, StoreError},
    suite::Site,
};

/// Files that are downloaded at the same time.
const CONNECTIONS: usize = 8;

/// A file to have in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// What to call it in messages, such as `apache2 2.4.62-1`.
    pub label: String,
    /// Who serves it.
    pub site: Site,
    /// Where it is below the base address.
    pub path: PoolPath,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256Digest,
}

/// Whether the network may be used.
#[derive(Debug, Clone, Copy)]
pub enum Network<'a> {
    /// Only what is in the store already.
    Offline,
    /// These mirrors over this client.
    Online(&'a Http, &'a Mirrors),
}

/// Is told how the download goes; called from several threads.
pub trait Progress: Sync {
    /// So many files and bytes are to be fetched.
    fn begin(&self, files: usize, bytes: u64);
    /// So many bytes more have arrived.
    fn advance(&self, bytes: u64);
    /// A file is complete.
    fn finish(&self, label: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: usize, _: u64) {}
    fn advance(&self, _: u64) {}
    fn finish(&self, _: &str) {}
}

/// A file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The store does not have them and the network may not be used.
    #[error("not in the cache: {}; run again without `--offline` while the network is there", list(.0))]
    Offline(Vec<String>),
    /// The mirror does not have them any more.
    #[error("the mirror no longer carries {}; run `casemate lock IMAGE` to choose current versions", list(.0))]
    Gone(Vec<String>),
    /// The body has another digest.
    #[error(
        "{label}: expected SHA-256 {expected}, got {found}; the mirror or something on the way is broken, use another mirror"
    )]
    Digest {
        /// The file.
        label: String,
        /// What was promised.
        expected: Sha256Digest,
        /// What came.
        found: Sha256Digest,
    },
    /// The body is longer than promised.
    #[error("{label}: the mirror sends more than the {size} bytes it should have; use another mirror")]
    TooLong {
        /// The file.
        label: String,
        /// Its size.
        size: u64,
    },
    /// The transfer failed again and again.
    #[error("{label}: the transfer fails")]
    Transfer {
        /// The file.
        label: String,
        /// The last failure.
        source: HttpError,
    },
    /// There is no room for what is to be fetched.
    #[error("the disk of `{}` is full: {files} files of {needed} MiB are to be fetched, {free} MiB are free", path.display())]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// How many files are missing.
        files: usize,
        /// How much they have, MiB.
        needed: u64,
        /// How much is free, MiB.
        free: u64,
        /// The error that the system would give.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes sure that the store has every file and gives their paths in the order of `downloads`.
pub fn fetch_all(
    store: &Store,
    downloads: &[Download],
    network: Network<'_>,
    progress: &dyn Progress,
) -> Result<Vec<PathBuf>, FetchError> {
    let mut missing = Vec::new();
    for download in downloads {
        if store.find(&download.sha256, download.size)?.is_none() && !missing.contains(&download) {
            missing.push(download);
        }
    }
    match network {
        _ if missing.is_empty() => {}
        Network::Offline => {
            return Err(FetchError::Offline(missing.iter().map(|d| d.label.clone()).collect()));
        }
        Network::Online(http, mirrors) => {
            progress.begin(missing.len(), missing.iter().map(|download| download.size).sum());
            check_room(store, &missing)?;
            // Large files first: a large one begun last would hold up the end alone.
            missing.sort_by_key(|download| std::cmp::Reverse(download.size));
            fetch_missing(&Session { store, http, mirrors, progress }, &missing)?;
        }
    }
    Ok(downloads.iter().map(|download| store.path(&download.sha256)).collect())
}

/// Removes from the store what is not any more what it was when it was fetched, so that it is fetched anew; returns what to call it.
///
/// A store file was checked on its way in. For whoever is about to read it that is not enough: disks fail and people write.
pub fn remove_damaged(store: &Store, downloads: &[Download]) -> Result<Vec<String>, StoreError> {
    let sizes: Vec<u64> = downloads.iter().map(|download| download.size).collect();
    let jobs = thread::available_parallelism().unwrap_or(std::num::NonZeroUsize::MIN);
    let sound = for_each_largest_first(&sizes, jobs, |at| match downloads.get(at) {
        Some(download) => store.remove_damaged(&download.sha256),
        None => Ok(false),
    })?;
    let damaged = downloads.iter().zip(sound).filter(|(_, damaged)| *damaged);
    Ok(damaged.map(|(download, _)| download.label.clone()).collect())
}

/// Refuses to begin what cannot end.
fn check_room(store: &Store, missing: &[&Download]) -> Result<(), FetchError> {
    let needed: u64 = missing.iter().map(|download| download.size).sum();
    let free = store.free_bytes()?;
    if free >= needed {
        return Ok(());
    }
    let (path, needed, free) = (store.directory().to_owned(), needed.div_ceil(1 << 20), free >> 20);
    Err(FetchError::NoRoom { path, files: missing.len(), needed, free, source: std::io::ErrorKind::StorageFull.into() })
}

#[derive(Clone, Copy)]
struct Session<'a> {
    store: &'a Store,
    http: &'a Http,
    mirrors: &'a Mirrors,
    progress: &'a dyn Progress,
}

fn fetch_missing(session: &Session<'_>, missing: &[&Download]) -> Result<(), FetchError> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let errors = Mutex::new(Vec::new());
    let work = || {
        while let Some(download) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = session.fetch(download) {
                // All files that are gone are told at once; any other failure ends the work.
                stop.fetch_or(!matches!(error, FetchError::Gone(_)), Ordering::Relaxed);
                errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS.min(missing.len()) {
            scope.spawn(work);
        }
    });
    summarize(errors.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn summarize(errors: Vec<FetchError>) -> Result<(), FetchError> {
    let mut gone = Vec::new();
    for error in errors {
        match error {
            FetchError::Gone(labels) => gone.extend(labels),
            other => return Err(other),
        }
    }
    gone.sort();
    if gone.is_empty() { Ok(()) } else { Err(FetchError::Gone(gone)) }
}

/// How one attempt at a body ended.
enum Attempt {
    Done,
    /// Try again, from where the file ends now.
    Again(HttpError),
}

impl Session<'_> {
    fn fetch(&self, download: &Download) -> Result<(), FetchError> {
        let mut partial = self.store.open_partial(&download.sha256)?;
        if self.store.find(&download.sha256, download.size)?.is_some() {
            return Ok(()); // another process was faster
        }
        // What an earlier run left counts as arrived.
        self.progress.advance(partial.len()?.min(download.size));
        let mut attempt = 0;
        loop {
            match self.attempt(download, &mut partial)? {
                Attempt::Done => break,
                Attempt::Again(error) if attempt < self.http.retries() && error.may_pass() => {
                    thread::sleep(self.http.pause(attempt));
                    attempt += 1;
                }
                Attempt::Again(error) if error.is_gone() => {
                    return Err(FetchError::Gone(vec![download.label.clone()]));
                }
                Attempt::Again(source) => {
                    return Err(FetchError::Transfer { label: download.label.clone(), source });
                }
            }
        }
        self.store.publish(&partial, &download.sha256)?;
        self.progress.finish(&download.label);
        Ok(())
    }

    fn attempt(&self, download: &Download, partial: &mut Partial) -> Result<Attempt, FetchError> {
        if partial.len()? > download.size {
            partial.clear()?;
        }
        let held = partial.len()?;
        if held < download.size {
            let address = self.mirrors.base(download.site).join(download.path.as_str());
            let mut body = match self.http.get(&address, held) {
                Ok(body) => body,
                Err(error) => {
                    // A range that the server cannot serve means that the kept beginning is of another file.
                    if matches!(error, HttpError::Stale | HttpError::Status(416)) {
                        partial.clear()?;
                    }
                    return Ok(Attempt::Again(error));
                }
            };
            if body.start != held {
                partial.clear()?; // the server gave the whole file instead of the rest
            }
            if let Some(error) = self.copy(download, &mut body.reader, partial)? {
                return Ok(Attempt::Again(error));
            }
        }
        verify(download, partial, held > 0)
    }

    /// Appends a body to the file; what cut it short, if anything.
    fn copy(
        &self,
        download: &Download,
        body: &mut dyn Read,
        partial: &mut Partial,
    ) -> Result<Option<HttpError>, FetchError> {
        let mut length = partial.len()?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) if length < download.size => {
                    return Ok(Some(HttpError::Cut { held: length, size: download.size }));
                }
                Ok(0) => return Ok(None),
                Ok(count) => count,
                Err(error) => return Ok(Some(self.http.broken(error))),
            };
            length += count as u64;
            if length > download.size {
                partial.clear()?;
                return Err(FetchError::TooLong { label: download.label.clone(), size: download.size });
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            partial.file.write_all(bytes).map_err(partial.failed("write"))?;
            self.progress.advance(count as u64);
        }
    }
}

fn verify(download: &Download, partial: &mut Partial, resumed: bool) -> Result<Attempt, FetchError> {
    let mut hasher = Sha256::new();
    partial.file.rewind().map_err(partial.failed("read"))?;
    std::io::copy(&mut partial.file, &mut hasher).map_err(partial.failed("read"))?;
    let found = Sha256Digest::from_hasher(hasher);
    if found == download.sha256 {
        return Ok(Attempt::Done);
    }
    partial.clear()?;
    if resumed {
        // The beginning may be from another file of this name: once more from the first byte.
        return Ok(Attempt::Again(HttpError::Stale));
    }
    Err(FetchError::Digest { label: download.label.clone(), expected: download.sha256, found })
}

fn list(labels: &[String]) -> String {
    labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}

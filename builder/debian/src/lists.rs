//! Release files: download, cache, verify, and the newest date ever seen.
//!
//! `DIR/SUITE/InRelease` (or `Release` and `Release.gpg`) is the last one that passed every check, `DIR/SUITE/seen` its date. The date
//! is kept apart so that deleting or damaging the cached file does not open the door for an older Release.
//! `DIR/SUITE/InRelease.http` holds what the mirror said of the file, for asking whether it changed; what is not sent again goes
//! through every check as well.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use download::{Http, HttpError, Small, Validators};
use formats::digest::Sha256Digest;
use serde::{Deserialize, Serialize};

use crate::{
    archive::Access,
    date::UnixTime,
    fetch::Network,
    keyring::{SignatureError, Verified},
    mirror::Mirrors,
    release::Release,
    release_error::{ReleaseError, StaleError},
    suite::Suite,
};

/// A Release file is some 150 KB.
const RELEASE_LIMIT: u64 = 16 << 20;

/// The cache of Release files.
#[derive(Debug, Clone)]
pub struct Lists {
    directory: PathBuf,
}

/// A Release could not be had or believed.
#[derive(Debug, thiserror::Error)]
pub enum ListsError {
    /// The cache cannot be used.
    #[error("cannot use `{}` in the cache; check its owner and the free space", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// `seen` holds no date.
    #[error("`{}` holds no date; delete it if the cache was damaged", path.display())]
    Seen {
        /// The file.
        path: PathBuf,
    },
    /// Nothing cached and no network.
    #[error("no Release of `{0}` in the cache; run again without `--offline` while the network is there")]
    Offline(String),
    /// The download failed.
    #[error("cannot get the Release of `{suite}`")]
    Http {
        /// The suite.
        suite: String,
        /// What went wrong.
        source: HttpError,
    },
    /// The mirror has no such suite.
    #[error("the mirror has no suite `{0}`; check its name and the mirror's address")]
    NoSuite(String),
    /// Not signed by a key that is believed.
    #[error("the Release of `{suite}` is not trusted: {source}; use another mirror")]
    Signature {
        /// The suite.
        suite: String,
        /// Why.
        source: SignatureError,
    },
    /// Malformed.
    #[error("the Release of `{suite}` is malformed: {source}")]
    Malformed {
        /// The suite.
        suite: String,
        /// Why.
        source: ReleaseError,
    },
    /// Signed, and yet refused.
    #[error("the Release of `{suite}` is refused: {source}")]
    Stale {
        /// The suite.
        suite: String,
        /// Why.
        source: StaleError,
    },
}

/// What a mirror said of a file that it sent.
#[derive(Debug, Serialize, Deserialize)]
struct Held {
    /// Where the file came from.
    address: String,
    /// Which file it was.
    sha256: Sha256Digest,
    validators: Validators,
}

/// The bytes of a Release with its signature.
enum Signed {
    Inline(Vec<u8>),
    Detached { release: Vec<u8>, signature: Vec<u8> },
}

impl Lists {
    /// Opens the cache at `directory` and makes it if it is not there.
    pub fn open(directory: &Path) -> Result<Self, ListsError> {
        fs::create_dir_all(directory).map_err(cache_error(directory))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Gets the Release of a suite and puts it through every check.
    pub fn fetch_release(&self, access: &Access<'_>, suite: &Suite) -> Result<Verified<Release>, ListsError> {
        let signed = match access.network {
            Network::Offline => self.load(suite)?,
            Network::Online(http, mirrors) => self.download(http, mirrors, suite)?,
        };
        let name = || suite.name.to_string();
        let text = match &signed {
            Signed::Inline(message) => access.keyring.verify_clearsigned(message, access.now),
            Signed::Detached { release, signature } => access.keyring.verify_detached(release, signature, access.now),
        };
        let text = text.map_err(|source| ListsError::Signature { suite: name(), source })?;
        let release = Verified::parse(text).map_err(|source| ListsError::Malformed { suite: name(), source })?;
        release
            .check_fresh(&suite.name, access.freshness, access.now, self.load_seen(suite)?)
            .map_err(|source| ListsError::Stale { suite: name(), source })?;
        self.keep(suite, &signed, release.date)?;
        Ok(release)
    }

    fn download(&self, http: &Http, mirrors: &Mirrors, suite: &Suite) -> Result<Signed, ListsError> {
        let get = |name: &str, held: Option<&Held>| {
            let address = address_of(mirrors, suite, name);
            let validators = held.filter(|held| held.address == address).map(|held| &held.validators);
            let failed = |source| ListsError::Http { suite: suite.name.to_string(), source };
            http.get_small(&address, RELEASE_LIMIT, validators).map_err(failed)
        };
        let cached = read_if_there(&self.path(suite, "InRelease"))?;
        let held = cached.as_ref().and_then(|bytes| self.load_held(suite, bytes));
        match (get("InRelease", held.as_ref())?, cached) {
            (Small::Unchanged, Some(bytes)) => return Ok(Signed::Inline(bytes)),
            (Small::File(bytes, validators), _) => {
                let address = address_of(mirrors, suite, "InRelease");
                let held = Held { address, sha256: Sha256Digest::of(&bytes), validators };
                self.keep_held(suite, &held)?;
                return Ok(Signed::Inline(bytes));
            }
            _ => {}
        }
        match (get("Release", None)?, get("Release.gpg", None)?) {
            (Small::File(release, _), Small::File(signature, _)) => Ok(Signed::Detached { release, signature }),
            _ => Err(ListsError::NoSuite(suite.name.to_string())),
        }
    }

    /// What the mirror said of the cached file; none when the file is another one by now, or damaged.
    fn load_held(&self, suite: &Suite, cached: &[u8]) -> Option<Held> {
        let text = fs::read_to_string(self.path(suite, "InRelease.http")).ok()?;
        toml::from_str(&text).ok().filter(|held: &Held| held.sha256 == Sha256Digest::of(cached))
    }

    fn keep_held(&self, suite: &Suite, held: &Held) -> Result<(), ListsError> {
        let path = self.path(suite, "InRelease.http");
        match toml::to_string(held) {
            Ok(text) => write_atomic(&path, text.as_bytes()),
            Err(error) => Err(cache_error(&path)(io::Error::other(error))),
        }
    }

    fn path(&self, suite: &Suite, name: &str) -> PathBuf {
        self.directory.join(suite.name.as_str()).join(name)
    }

    fn load(&self, suite: &Suite) -> Result<Signed, ListsError> {
        if let Some(message) = read_if_there(&self.path(suite, "InRelease"))? {
            return Ok(Signed::Inline(message));
        }
        let release = read_if_there(&self.path(suite, "Release"))?;
        let signature = read_if_there(&self.path(suite, "Release.gpg"))?;
        match (release, signature) {
            (Some(release), Some(signature)) => Ok(Signed::Detached { release, signature }),
            _ => Err(ListsError::Offline(suite.name.to_string())),
        }
    }

    fn load_seen(&self, suite: &Suite) -> Result<Option<UnixTime>, ListsError> {
        let path = self.path(suite, "seen");
        let Some(bytes) = read_if_there(&path)? else {
            return Ok(None);
        };
        let date = str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().parse().ok());
        date.map(Some).ok_or(ListsError::Seen { path })
    }

    fn keep(&self, suite: &Suite, signed: &Signed, date: UnixTime) -> Result<(), ListsError> {
        // The date goes first: cut between the two, the next run still refuses what is older.
        write_atomic(&self.path(suite, "seen"), format!("{date}\n").as_bytes())?;
        match signed {
            Signed::Inline(message) => write_atomic(&self.path(suite, "InRelease"), message),
            Signed::Detached { release, signature } => {
                write_atomic(&self.path(suite, "Release"), release)?;
                write_atomic(&self.path(suite, "Release.gpg"), signature)
            }
        }
    }
}

fn address_of(mirrors: &Mirrors, suite: &Suite, name: &str) -> String {
    mirrors.base(suite.site).join(&format!("dists/{}/{name}", suite.name))
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ListsError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cache_error(path)(error)),
    }
}

/// Writes a file whole or not at all; one that holds these bytes already is left alone, since syncing takes longer than reading.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), ListsError> {
    if read_if_there(path)?.is_some_and(|held| held == bytes) {
        return Ok(());
    }
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&temporary, bytes)?;
        fs::File::open(&temporary)?.sync_data()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        // A full disk leaves half a file; nobody else would remove it.
        let _ = fs::remove_file(&temporary);
        cache_error(path)(error)
    })
}

fn cache_error(path: &Path) -> impl FnOnce(io::Error) -> ListsError + use<> {
    let path = path.to_owned();
    move |source| ListsError::Cache { path, source }
}

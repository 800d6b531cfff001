//! The archive as a build sees it: fresh signed Releases and one index of all packages.
//!
//! Ties the pure parts to the network and the cache. Offline the cached files are used after the very same checks: a signature
//! is checked each time, never remembered.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use liblzma::read::XzDecoder;

use crate::{
    date::UnixTime,
    fetch::{Download, FetchError, Network, Silent, fetch_all, remove_damaged},
    keyring::{Keyring, Verified},
    lists::{Lists, ListsError},
    lock::{Lock, LockedSuite},
    lock_error::LockError,
    package::{Architecture, PackageName},
    packages::{PackageIndex, PackagesError, Source},
    placeholder::PLACEHOLDER,
    release::{Freshness, Release},
    resolve::resolve,
    resolve_error::ResolveError,
    store::{Store, StoreError},
    suite::{Component, Origin, Suite},
    wish::Wish,
};

/// An index may not be larger than this when decompressed; trixie's is 57 MB.
const INDEX_LIMIT: u64 = 512 << 20;

/// Everything that decides whether and how the archive is reached.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// Where lists are cached.
    pub cache: &'a Path,
    /// Whether and from where to download.
    pub network: Network<'a>,
    /// Whom to believe.
    pub keyring: &'a Keyring,
    /// How old a Release may be.
    pub freshness: Freshness,
    /// The time of this run.
    pub now: UnixTime,
}

/// The Releases and packages of some suites.
#[derive(Debug)]
pub struct Archive {
    /// The suites with their Releases, in the order of the search.
    pub releases: Vec<(Suite, Verified<Release>)>,
    /// Their packages.
    pub index: PackageIndex,
    architecture: Architecture,
}

/// The archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A Release could not be had or believed.
    #[error(transparent)]
    Lists(#[from] ListsError),
    /// A Release does not list an index.
    #[error("the Release of `{suite}` lists no `{path}`; check the component and the architecture")]
    NoIndex {
        /// The suite.
        suite: String,
        /// The index.
        path: String,
    },
    /// An index could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The cache.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An index in the cache is damaged.
    #[error("cannot decompress `{}`: {reason}; delete the file and run again", path.display())]
    Decompress {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An index is malformed.
    #[error(transparent)]
    Packages(#[from] PackagesError),
    /// The wanted packages have no solution.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl Archive {
    /// Gets, verifies and reads the Releases and Packages of `suites`.
    pub fn open(access: &Access<'_>, suites: &[Suite], architecture: &Architecture) -> Result<Self, ArchiveError> {
        Self::read(access, fetch_releases(access, suites)?, architecture)
    }

    /// Gets and reads the Packages of these Releases.
    pub(crate) fn read(
        access: &Access<'_>,
        releases: Vec<(Suite, Verified<Release>)>,
        architecture: &Architecture,
    ) -> Result<Self, ArchiveError> {
        let mut texts = Vec::new();
        for (suite, release) in &releases {
            for component in &suite.components {
                let origin = Origin { suite: suite.name.clone(), component: component.clone() };
                texts.push((origin, fetch_packages(access, suite, release, component, architecture)?));
            }
        }
        let sources: Vec<_> = texts.iter().map(|(origin, text)| Source { origin: origin.clone(), text }).collect();
        let index = PackageIndex::parse(&sources, architecture)?;
        Ok(Self { releases, index, architecture: architecture.clone() })
    }

    /// Chooses the packages of a wish and locks them.
    pub fn lock(&self, wish: &Wish) -> Result<Lock, ArchiveError> {
        let suites = self.releases.iter().map(LockedSuite::of).collect();
        if wish.provided.is_empty() {
            let packages = resolve(&self.index, &wish.wanted, wish.base)?;
            return Ok(Lock::new(self.architecture.clone(), wish, suites, &packages)?);
        }
        let mut index = self.index.clone();
        index.add_placeholder(&wish.provided)?;
        // Wanted first of all, it is chosen before any alternative is looked at.
        let own = PLACEHOLDER.parse().ok().into_iter();
        let wanted: Vec<PackageName> = own.chain(wish.wanted.iter().cloned()).collect();
        let mut packages = resolve(&index, &wanted, wish.base)?;
        packages.retain(|package| package.name() != PLACEHOLDER);
        Ok(Lock::new(self.architecture.clone(), wish, suites, &packages)?)
    }
}

/// Gets and verifies the Releases of `suites`.
pub(crate) fn fetch_releases(
    access: &Access<'_>,
    suites: &[Suite],
) -> Result<Vec<(Suite, Verified<Release>)>, ListsError> {
    let lists = Lists::open(&access.cache.join("lists"))?;
    suites.iter().map(|suite| Ok((suite.clone(), lists.fetch_release(access, suite)?))).collect()
}

/// Gets one Packages file that `release` lists and gives its text.
pub fn fetch_packages(
    access: &Access<'_>,
    suite: &Suite,
    release: &Verified<Release>,
    component: &Component,
    architecture: &Architecture,
) -> Result<String, ArchiveError> {
    let directory = format!("{component}/binary-{architecture}");
    let listed = format!("{directory}/Packages.xz");
    let missing = || ArchiveError::NoIndex { suite: suite.name.to_string(), path: listed.clone() };
    let file = release.file(&listed).ok_or_else(missing)?;
    let name = if release.acquire_by_hash {
        // The name by digest stays when the mirror is updated between the Release and this request.
        format!("dists/{}/{directory}/by-hash/SHA256/{}", suite.name, file.sha256)
    } else {
        format!("dists/{}/{listed}", suite.name)
    };
    let download = Download {
        label: format!("{}/{listed}", suite.name),
        site: suite.site,
        path: name.parse().map_err(|_| missing())?,
        size: file.size,
        sha256: file.sha256,
    };
    let store = Store::open(&access.cache.join("lists"))?;
    let download = [download];
    // An index that was damaged in the cache is fetched anew.
    remove_damaged(&store, &download)?;
    let path = fetch_all(&store, &download, access.network, &Silent)?.into_iter().next().ok_or_else(missing)?;
    decompress(&path, file.sha256)
}

fn decompress(path: &Path, expected: formats::digest::Sha256Digest) -> Result<String, ArchiveError> {
    let fail = |reason: String| ArchiveError::Decompress { path: path.to_owned(), reason };
    let packed = fs::read(path).map_err(|error| fail(error.to_string()))?;
    // A file can rot in the cache after its digest was checked on the way in.
    if formats::digest::Sha256Digest::of(&packed) != expected {
        return Err(fail("its digest is wrong".into()));
    }
    let mut bytes = Vec::new();
    let mut reader = XzDecoder::new(packed.as_slice()).take(INDEX_LIMIT + 1);
    reader.read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
    if bytes.len() as u64 > INDEX_LIMIT {
        return Err(fail(format!("it is larger than {INDEX_LIMIT} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| fail("it is not UTF-8 text".into()))
}

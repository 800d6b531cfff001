//! The lock: the exact packages of an image, as text for review.
//!
//! It holds the packages of the root and those of the tools tree that builds it, so it covers everything that shapes the image.
//! A lock names each package by digest, so a build from it needs neither Release nor Packages. It holds no address: the mirror is
//! chosen by whoever builds. The same index and the same wishes give the same bytes. Pure; the caller reads and writes the file.

use formats::digest::Sha256Digest;
use serde::{Deserialize, Serialize};

use crate::{
    date::UnixTime,
    fetch::Download,
    keyring::Verified,
    lock_error::LockError,
    package::{Architecture, PackageName},
    packages::{Package, PackagesError},
    placeholder::Provided,
    pool_path::PoolPath,
    release::Release,
    resolve::Base,
    suite::{Component, Origin, Site, Suite, SuiteName},
    version::DebVersion,
    wish::Wish,
};

/// The version of the lock's format that this program writes.
pub const SCHEMA: u32 = 2;
/// The versions that it reads: 1 knew neither `[tools]` nor `[[provided]]`.
const READABLE: std::ops::RangeInclusive<u32> = 1..=SCHEMA;

const HEADING: &str =
    "# The exact packages of an image; written by `casemate lock`, taken by `casemate build --locked FILE`.\n";

/// The packages of an image and where they were chosen from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    schema: u32,
    /// The date of the newest Release: the time that a build from this lock takes for "now", in seconds since 1970.
    pub source_date_epoch: u64,
    /// The architecture of the image.
    pub architecture: Architecture,
    /// What the set holds besides the wanted packages.
    pub base: Base,
    /// The packages that were asked for, in that order.
    pub wanted: Vec<PackageName>,
    /// Names that are satisfied without a package, because the builder does the work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provided: Vec<Provided>,
    /// The suites, in the order of the search.
    #[serde(rename = "suite")]
    pub suites: Vec<LockedSuite>,
    /// The packages, by name.
    #[serde(rename = "package", default)]
    pub packages: Vec<LockedPackage>,
    /// The tools tree that the image is built with; none in a lock that stands for one tree alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tools: Option<LockedTools>,
}

/// The packages of a tools tree, in the lock of the image that they build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockedTools {
    wanted: Vec<PackageName>,
    #[serde(rename = "suite")]
    suites: Vec<LockedSuite>,
    #[serde(rename = "package", default)]
    packages: Vec<LockedPackage>,
}

/// A suite as it was when the packages were chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSuite {
    /// Its name.
    pub name: SuiteName,
    /// Who serves it.
    pub site: Site,
    /// The components taken from it.
    pub components: Vec<Component>,
    /// The date of its Release.
    pub date: UnixTime,
    /// The digest of its Release.
    pub release: Sha256Digest,
}

/// One package file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: DebVersion,
    /// Its architecture, or `all`.
    pub architecture: Architecture,
    /// The length of the file in bytes.
    pub size: u64,
    /// The digest of the file.
    pub sha256: Sha256Digest,
    /// The suite and component it was taken from.
    pub origin: Origin,
    /// Its path below the base address.
    pub file: PoolPath,
}

impl Lock {
    /// Makes a lock of resolved packages.
    pub fn new(
        architecture: Architecture,
        wish: &Wish,
        suites: Vec<LockedSuite>,
        packages: &[Package<'_>],
    ) -> Result<Self, LockError> {
        let mut locked = packages.iter().map(LockedPackage::of).collect::<Result<Vec<_>, _>>()?;
        locked.sort_by(|left, right| left.name.cmp(&right.name));
        let lock = Self::of_tree(architecture, wish.clone(), suites, locked);
        lock.check().map(|()| lock)
    }

    fn of_tree(architecture: Architecture, wish: Wish, suites: Vec<LockedSuite>, packages: Vec<LockedPackage>) -> Self {
        let Wish { wanted, base, provided } = wish;
        let source_date_epoch = suites.iter().map(|suite| suite.date.0).max().unwrap_or_default();
        Self { schema: SCHEMA, source_date_epoch, architecture, base, wanted, provided, suites, packages, tools: None }
    }

    /// Adds the tools tree that the image is built with.
    #[must_use]
    pub fn with_tools(self, tools: &Self) -> Self {
        let Self { wanted, suites, packages, .. } = tools.clone();
        Self { tools: Some(LockedTools { wanted, suites, packages }), ..self }
    }

    /// The tools tree that the image is built with, as a lock of its own.
    pub fn tools(&self) -> Option<Self> {
        let LockedTools { wanted, suites, packages } = self.tools.clone()?;
        let wish = Wish::new(wanted, Base::Empty, Vec::new());
        Some(Self::of_tree(self.architecture.clone(), wish, suites, packages))
    }

    /// The question that the packages of the root answer.
    pub fn wish(&self) -> Wish {
        Wish::new(self.wanted.clone(), self.base, self.provided.clone())
    }

    /// Reads a lock file.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let lock: Self = toml::from_str(text).map_err(|error| LockError::syntax(text, &error))?;
        lock.check()?;
        lock.tools().map_or(Ok(()), |tools| tools.check())?;
        Ok(Self { schema: SCHEMA, ..lock })
    }

    /// The text of the lock file.
    pub fn render(&self) -> Result<String, LockError> {
        let body = toml::to_string(self).map_err(|error| LockError::Render(error.to_string()))?;
        Ok(format!("{HEADING}{body}"))
    }

    fn check(&self) -> Result<(), LockError> {
        if !READABLE.contains(&self.schema) {
            return Err(LockError::Schema(self.schema));
        }
        for (before, after) in self.packages.iter().zip(self.packages.iter().skip(1)) {
            if before.name >= after.name {
                return Err(LockError::Order { before: before.name.clone(), after: after.name.clone() });
            }
        }
        for package in &self.packages {
            self.site_of(package)?;
            if !package.architecture.is_all() && package.architecture != self.architecture {
                return Err(LockError::Architecture {
                    package: package.name.clone(),
                    architecture: package.architecture.clone(),
                });
            }
        }
        Ok(())
    }

    fn site_of(&self, package: &LockedPackage) -> Result<Site, LockError> {
        let of_origin = |suite: &&LockedSuite| {
            suite.name == package.origin.suite && suite.components.contains(&package.origin.component)
        };
        let unknown = || LockError::Origin { package: package.name.clone(), origin: package.origin.clone() };
        self.suites.iter().find(of_origin).map(|suite| suite.site).ok_or_else(unknown)
    }

    /// What to fetch for a build.
    pub fn downloads(&self) -> Result<Vec<Download>, LockError> {
        let download = |package: &LockedPackage| {
            Ok(Download {
                label: format!("{} {}", package.name, package.version),
                site: self.site_of(package)?,
                path: package.file.clone(),
                size: package.size,
                sha256: package.sha256,
            })
        };
        self.packages.iter().map(download).collect()
    }
}

impl LockedSuite {
    /// A suite with the Release that was seen of it.
    pub(crate) fn of((suite, release): &(Suite, Verified<Release>)) -> Self {
        Self {
            name: suite.name.clone(),
            site: suite.site,
            components: suite.components.clone(),
            date: release.date,
            release: release.digest,
        }
    }
}

impl LockedPackage {
    fn of(package: &Package<'_>) -> Result<Self, LockError> {
        let lost = || LockError::Render(format!("`{}` has no origin", package.name()));
        let make = || -> Result<_, PackagesError> {
            Ok((package.package_name()?, package.version()?, package.architecture()?, package.file()?))
        };
        let (name, version, architecture, file) = make()?;
        let origin = package.origin().cloned().ok_or_else(lost)?;
        Ok(Self { name, version, architecture, size: package.size(), sha256: package.sha256(), origin, file })
    }
}

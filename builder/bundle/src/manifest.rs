//! The manifest: what an image is and which files make it, signed by a release key. Specified in `docs/formats/bundle.md`.
//!
//! A manifest that is acted upon comes from [`Manifest::parse`], which takes verified bytes only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::archive::{MANIFEST_FILE, SIGNATURE_FILE};
use crate::newest::{Clock, Freshness};
use crate::schema::{SchemaError, SchemaVersion, check_schema};
use crate::signature::Context;
use crate::verify::Verified;
use formats::digest::Sha256Digest;
use formats::names::{FileName, ImageName, ImageVersion, KernelVersion, LoaderVersion};
use formats::verity::RootHash;
use formats::version_order;

/// Largest part in bytes: what a ustar header can say (8 GiB less one byte).
pub(crate) const LARGEST_PART: u64 = 0o777_7777_7777;

/// Why a manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// The bytes were signed as something else.
    #[error("the document was signed as `{found}`, not as `casemate/manifest`: take the right file")]
    Context {
        /// The signed context.
        found: Context,
    },
    /// Not the JSON of a manifest.
    #[error("the manifest is malformed ({reason}): build the image again with this version of casemate")]
    Json {
        /// What the JSON parser says, with line and column.
        reason: String,
    },
    /// Another version of the format.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A part without which there is no image.
    #[error("the manifest names no `{part}` part: build the image again")]
    MissingPart {
        /// The part.
        part: PartName,
    },
    /// A boot loader of which nobody says how new it is, or a version of none.
    #[error("the manifest has a `loader` part or its version, and not both: build the image again")]
    Loader,
    /// A version that may not come before this one, and does not.
    #[error(
        "the manifest's `{field}` {found} is newer than its version {version}: nobody could install it; name {version} or an older one"
    )]
    Newer {
        /// `min_from_version` or `floor`.
        field: &'static str,
        /// The version that it names.
        found: ImageVersion,
        /// The version of the image.
        version: ImageVersion,
    },
    /// It ends before it begins.
    #[error(
        "the manifest ends at {expires}, which is not after its time {source_date_epoch}: give it more days, or build from a newer lock"
    )]
    Term {
        /// Seconds since 1970.
        expires: u64,
        /// Seconds since 1970.
        source_date_epoch: u64,
    },
    /// It has ended.
    #[error("version {version} has ended {seconds} s ago and must not be installed any more: take a newer one")]
    Expired {
        /// The version of the image.
        version: ImageVersion,
        /// How long ago, in seconds.
        seconds: u64,
    },
    /// Two parts in one file, or a part in a file that holds something else.
    #[error("the manifest uses the file name `{file}` twice or for a part where it is reserved: build the image again")]
    FileName {
        /// The name.
        file: FileName,
    },
    /// A part that is empty or larger than a bundle can hold.
    #[error("part `{part}` has {size} bytes; 1 to {LARGEST_PART} are possible: build the image again")]
    Size {
        /// The part.
        part: PartName,
        /// Size in bytes.
        size: u64,
    },
}

/// The parts of an image, in the order of the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartName {
    /// The root file system (erofs).
    Root,
    /// The dm-verity hash tree over the root.
    Verity,
    /// The signed unified kernel image.
    Uki,
    /// The signed boot loader.
    Loader,
    /// The kernel alone.
    Linux,
    /// The initrd alone.
    Initrd,
    /// The kernel command line alone.
    Cmdline,
}

impl PartName {
    /// All parts in their order.
    pub const ALL: [Self; 7] =
        [Self::Root, Self::Verity, Self::Uki, Self::Loader, Self::Linux, Self::Initrd, Self::Cmdline];

    /// The name as it stands in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Verity => "verity",
            Self::Uki => "uki",
            Self::Loader => "loader",
            Self::Linux => "linux",
            Self::Initrd => "initrd",
            Self::Cmdline => "cmdline",
        }
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name in the output directory and in the bundle.
    pub file: FileName,
    /// Size in bytes.
    pub size: u64,
    /// Digest of the whole file.
    pub sha256: Sha256Digest,
}

/// What an image is and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub schema: SchemaVersion<1>,
    /// Name of the image.
    pub image: ImageName,
    /// Version of the image.
    pub version: ImageVersion,
    /// Debian's name of the architecture, e.g. `amd64`.
    pub architecture: ImageName,
    /// Whether development keys were used: such an image is for trying only.
    pub development: bool,
    /// The time that the whole image carries, in seconds since 1970.
    pub source_date_epoch: u64,
    /// The dm-verity root hash.
    pub root_hash: RootHash,
    /// The kernel's release.
    pub kernel: KernelVersion,
    /// The version of systemd-boot in the part `loader`; absent: there is no such part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<LoaderVersion>,
    /// The oldest version that may be updated to this one; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_from_version: Option<ImageVersion>,
    /// Once this version was proven good on a host, no version older than this one may be installed there; absent: it
    /// changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<ImageVersion>,
    /// When it ends, in seconds since 1970: from then on it is not installed any more. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// The flashable disk; it stands beside the bundle, not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Part>,
    /// The parts of the bundle.
    pub parts: BTreeMap<PartName, Part>,
}

impl Manifest {
    /// Parses signed bytes.
    pub fn parse(document: &Verified<Vec<u8>>) -> Result<Verified<Self>, ManifestError> {
        if document.context() != Context::Manifest {
            return Err(ManifestError::Context { found: document.context() });
        }
        document.parse_with(|bytes| Self::parse_unverified(bytes))
    }

    /// Parses bytes that nobody vouches for: for `inspect` and for the builder's own output, never to act upon on a host.
    pub fn parse_unverified(bytes: &[u8]) -> Result<Self, ManifestError> {
        check_schema::<1>(bytes, "the manifest")?;
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| ManifestError::Json { reason: error.to_string() })?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The bytes of `manifest.json`: indented JSON in a fixed order, with a line end.
    pub fn to_json(&self) -> Result<String, ManifestError> {
        self.check()?;
        Ok(to_json(self))
    }

    /// Says whether it may still be installed. A host that runs it goes on running it.
    pub fn freshness(&self, clock: Clock) -> Result<Freshness, ManifestError> {
        match (self.expires, clock) {
            (Some(expires), Clock::Synchronised(now)) if now >= expires => {
                Err(ManifestError::Expired { version: self.version.clone(), seconds: now - expires })
            }
            (Some(_), Clock::Unproven) => Ok(Freshness::Unproven),
            _ => Ok(Freshness::Proven),
        }
    }

    fn check(&self) -> Result<(), ManifestError> {
        self.check_versions()?;
        self.check_files()
    }

    fn check_versions(&self) -> Result<(), ManifestError> {
        for (field, named) in [("min_from_version", &self.min_from_version), ("floor", &self.floor)] {
            if let Some(found) = named.as_ref().filter(|named| version_order::compare(named, &self.version).is_gt()) {
                return Err(ManifestError::Newer { field, found: found.clone(), version: self.version.clone() });
            }
        }
        match self.expires {
            Some(expires) if expires <= self.source_date_epoch => {
                Err(ManifestError::Term { expires, source_date_epoch: self.source_date_epoch })
            }
            _ => Ok(()),
        }
    }

    fn check_files(&self) -> Result<(), ManifestError> {
        for part in [PartName::Root, PartName::Verity, PartName::Uki] {
            if !self.parts.contains_key(&part) {
                return Err(ManifestError::MissingPart { part });
            }
        }
        if self.loader.is_some() != self.parts.contains_key(&PartName::Loader) {
            return Err(ManifestError::Loader);
        }
        let mut files: BTreeSet<&str> = BTreeSet::from([MANIFEST_FILE, SIGNATURE_FILE]);
        for part in self.parts.values().chain(&self.disk) {
            if !files.insert(part.file.as_str()) {
                return Err(ManifestError::FileName { file: part.file.clone() });
            }
        }
        for (&part, Part { size, .. }) in &self.parts {
            if *size == 0 || *size > LARGEST_PART {
                return Err(ManifestError::Size { part, size: *size });
            }
        }
        Ok(())
    }
}

/// Indented JSON with a line end. Our documents hold text keys, numbers and lists only, which always serialise.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("text keys, numbers and lists serialise");
    text.push('\n');
    text
}

//! What the builder signs and a host believes: keys, the signature envelope, the manifest, the test report, the update
//! bundle, and what updates are trusted by.
//!
//! The formats are written down in `docs/formats/signature.md`, `docs/formats/bundle.md` and `docs/formats/trust.md`. This crate works on bytes and
//! streams that the caller hands in: it opens no file, asks no clock and makes no random number. Trust is a type: only
//! [`verify`] can make a [`Verified`] value, and the parsers of signed documents take nothing else.

mod archive;
mod key;
mod limited;
mod manifest;
mod newest;
mod report;
mod schema;
mod signature;
#[cfg(feature = "sign")]
mod signing;
mod trust_root;
mod ustar;
mod verify;

pub use archive::{
    ArchiveError, BundleReader, MANIFEST_FILE, NEWEST_FILE, NEWEST_SIGNATURE, SIGNATURE_FILE, read_newest,
    write_bundle, write_head, write_newest,
};
pub use formats::digest::{DigestError, Sha256Digest};
pub use formats::names::{FileName, ImageName, ImageVersion, KernelVersion, LoaderVersion, NameError};
pub use formats::verity::RootHash;
pub use key::{KeyError, KeyId, PublicKey};
pub use limited::{Limit, ReadError, read_limited};
pub use manifest::{Manifest, ManifestError, Part, PartName};
pub use newest::{Accepted, Clock, Freshness, Judge, LONGEST_TERM, Newest, NewestError, Seen};
pub use report::{ReportError, ScenarioResult, TestReport};
pub use schema::{SchemaError, SchemaVersion};
pub use signature::{Context, Entry, Envelope, EnvelopeError};
#[cfg(feature = "sign")]
pub use signing::{SigningKey, SigningKeyError, countersign, sign};
pub use trust_root::{KeySet, KeySetError, Standing, TrustRoot, TrustRootError};
pub use verify::{TrustedKeys, Verified, VerifyError, verify};

//! Why an update was not applied; what to do about each is in `remedy.rs`.

use std::io;
use std::path::PathBuf;

use bundle::ArchiveError;
use bundle::ImageName;
use bundle::ImageVersion;
use bundle::ManifestError;
use bundle::NewestError;
use bundle::PartName;
use bundle::Sha256Digest;
use bundle::TrustRootError;
use formats::gpt::GptError;
use formats::slots::SlotsError;
use formats::uki::UkiError;
use formats::verity::VerityError;
use thiserror::Error;

use super::moment::moment;
use crate::disk::DiskError;
use crate::files::FileError;
use crate::image::ImageError;
use crate::secure_boot::SecureBootError;

/// Why an update was not applied. In no case was the running slot touched.
#[derive(Debug, Error)]
pub enum UpdateError {
    /// What the image says of itself cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The kernel was not told a root hash.
    #[error("the kernel's command line `{path}` does not say which root hash runs: {reason}")]
    RunningRoot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What is remembered of the formats of state cannot be understood.
    #[error("`{path}`: {reason}")]
    Kept {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Going back means that data goes back as well.
    #[error("{version} cannot read what the running version wrote to {}; they would hold what they held at {}", .paths.join(", "), moment(*.at))]
    DataGoesBack {
        /// The version in the other slot.
        version: ImageVersion,
        /// The directories.
        paths: Vec<String>,
        /// When the data was kept, in seconds since 1970.
        at: u64,
    },
    /// The disk of this host was not found.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file, the disk or the ESP cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// What was read.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file, the disk or the ESP cannot be changed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel gives no random bytes.
    #[error("no random bytes from the kernel: {0}")]
    Random(io::Error),
    /// No copy of the partition table can be used, or it does not fit the disk.
    #[error("partition table of `{path}`: {source}")]
    Table {
        /// The disk.
        path: PathBuf,
        /// What is wrong with it.
        source: GptError,
    },
    /// The slots are not those of this host, or the new version cannot stand in one.
    #[error(transparent)]
    Slots(#[from] SlotsError),
    /// What is remembered of updates cannot be understood.
    #[error("`{path}` is damaged: {reason}")]
    State {
        /// The file.
        path: PathBuf,
        /// What the JSON parser says.
        reason: String,
    },
    /// A trust root is not good.
    #[error("trust root `{path}`: {source}")]
    TrustRoot {
        /// The file.
        path: PathBuf,
        /// Why it does not count.
        source: TrustRootError,
    },
    /// The bundle is not signed by the release keys, damaged, cut off, or no bundle.
    #[error("the bundle: {0}")]
    Bundle(#[from] ArchiveError),
    /// A bundle of another image.
    #[error("the bundle is of the image `{found}`, this host runs `{running}`")]
    OtherImage {
        /// The host's image.
        running: ImageName,
        /// The bundle's.
        found: ImageName,
    },
    /// A bundle for other processors.
    #[error("the bundle is for `{found}`, this host is `{running}`")]
    OtherArchitecture {
        /// The host's.
        running: &'static str,
        /// The bundle's.
        found: ImageName,
    },
    /// Built with keys that anybody may have.
    #[error("version {found} was built with development keys, the running one was not")]
    Development {
        /// The version.
        found: ImageVersion,
    },
    /// The same version, or an equal one under another name.
    #[error("version {found} runs already, as {running}")]
    SameVersion {
        /// The running version.
        running: ImageVersion,
        /// The bundle's.
        found: ImageVersion,
    },
    /// An older version, and nobody asked for one.
    #[error("version {found} is older than {running}, which runs")]
    Older {
        /// The running version.
        running: ImageVersion,
        /// The bundle's.
        found: ImageVersion,
    },
    /// Older than what may be installed on this host at all.
    #[error("version {found} is older than {floor}: nothing older than that may be installed on this host any more")]
    BelowFloor {
        /// The oldest version that may be installed.
        floor: ImageVersion,
        /// The bundle's.
        found: ImageVersion,
    },
    /// The running version is too old for a step that large.
    #[error("version {found} can be applied from {least} on, and {running} runs")]
    TooFarAhead {
        /// The running version.
        running: ImageVersion,
        /// The oldest from which the bundle's may be reached.
        least: ImageVersion,
        /// The bundle's.
        found: ImageVersion,
    },
    /// The version has ended.
    #[error(transparent)]
    Expired(ManifestError),
    /// It was started on this host as often as it may be, and never became healthy.
    #[error("version {found} was tried on this host and did not become healthy")]
    FailedHere {
        /// The version.
        found: ImageVersion,
    },
    /// A part is larger than its place.
    #[error("part `{part}` has {size} bytes, its place on this host has {room}")]
    TooLarge {
        /// The part.
        part: PartName,
        /// Size in bytes.
        size: u64,
        /// Bytes that there are for it.
        room: u64,
    },
    /// The ESP has no entry of the running version.
    #[error(
        "the ESP has no kernel image of the running version {running}: if the new one failed, nothing could be started"
    )]
    NoWayBack {
        /// The running version.
        running: ImageVersion,
    },
    /// The running version is itself on trial: the spare slot holds the last good one.
    #[error("the running version is not known to be good yet (`{entry}`), and the spare slot holds the one before it")]
    OnTrial {
        /// Its entry on the ESP.
        entry: String,
    },
    /// The other slot holds nothing that could be started.
    #[error("there is no other version on this host that could be started")]
    NothingBehind,
    /// A kernel image leads somewhere else than to the spare slot.
    #[error("the kernel image `{entry}` does not lead to what is in the other slot")]
    OtherSlot {
        /// Its name on the ESP.
        entry: String,
    },
    /// The document names no repository.
    #[error("the document names no repository, so there is nothing to look at")]
    NoRepository,
    /// What the document says of updates cannot be read.
    #[error("`{path}` is not what the agent renders: {reason}")]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the repository could not be had.
    #[error("cannot fetch `{name}` from the repository: {source}")]
    Fetch {
        /// Its name below the folder of the image.
        name: String,
        /// The fetcher's or the system's reason.
        source: io::Error,
    },
    /// What the repository calls its newest statement is none.
    #[error("`newest.tar` of the repository: {0}")]
    NewestFile(ArchiveError),
    /// What the repository says is newest is not believed.
    #[error(transparent)]
    Newest(#[from] NewestError),
    /// A trust root of the repository is not believed.
    #[error("`{name}` of the repository: {source}")]
    NextTrustRoot {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: TrustRootError,
    },
    /// More trust roots than anybody makes.
    #[error("the repository has more than {0} trust roots that this host does not know")]
    EndlessTrustRoots(u32),
    /// The bundle is another than the statement names.
    #[error("the bundle's manifest has the digest {found}, the statement of what is newest names {expected}")]
    OtherManifest {
        /// What the statement says.
        expected: Sha256Digest,
        /// What came.
        found: Sha256Digest,
    },
    /// The disk gives back other bytes than were written.
    #[error("`{path}` gave back other bytes of part `{part}` than were written: digest {found} instead of {expected}")]
    ReadBack {
        /// The disk, or the file on the ESP.
        path: PathBuf,
        /// The part.
        part: PartName,
        /// Digest in the manifest.
        expected: Sha256Digest,
        /// Digest of what was read.
        found: Sha256Digest,
    },
    /// Root and hash tree do not belong to the root hash.
    #[error("what was written is no root that could start: {0}")]
    Verity(VerityError),
    /// The kernel image cannot be understood.
    #[error("what was written is no kernel image that could start: {0}")]
    Uki(UkiError),
    /// The firmware of this machine would not start it.
    #[error("Secure Boot would refuse the new kernel image: {0}")]
    Firmware(#[from] SecureBootError),
    /// The kernel image is that of another version or root.
    #[error("the kernel image says {field} is `{found}`, the manifest says `{expected}`")]
    OtherKernel {
        /// What differs.
        field: &'static str,
        /// In the manifest.
        expected: String,
        /// In the kernel image.
        found: String,
    },
}

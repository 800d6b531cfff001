//! Why an update was not applied, and what to do about each.

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
use tools::ExitKind;
use tools::Remedy;

use crate::disk::DiskError;
use crate::files::FileError;
use crate::image::ImageError;

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

/// Who built the bundle has to look.
const BUILD_AGAIN: &str = "build the version again, or take another bundle";
/// The medium that it came on, or the way here, is to blame.
const FETCH_AGAIN: &str = "take the bundle from where it was made once more, and apply it again";
/// Nothing but the spare slot was touched.
const TRY_AGAIN: &str =
    "the running version is untouched: apply again; if it goes on, look for the disk in `journalctl -k`";
/// The disk is not what `casemate flash` makes.
const NOT_OUR_DISK: &str =
    "only a disk with two slots, as `casemate flash` and the first start make it, can be updated";

impl Remedy for UpdateError {
    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Image(_) => "the image is damaged: start the machine again, or write it anew".to_owned(),
            Self::RunningRoot { .. } => {
                "updates work on a machine that was started from an image's own disk".to_owned()
            }
            Self::Slots(SlotsError::SameAsRunning(_)) | Self::SameVersion { .. } => {
                "there is nothing to do; other content needs a newer version".to_owned()
            }
            Self::Slots(SlotsError::Name(_)) | Self::Verity(_) | Self::Uki(_) | Self::OtherKernel { .. } => {
                BUILD_AGAIN.to_owned()
            }
            Self::Disk(_) | Self::Table { .. } | Self::Slots(_) => NOT_OUR_DISK.to_owned(),
            Self::Read { .. } | Self::File(_) | Self::Random(_) | Self::ReadBack { .. } => TRY_AGAIN.to_owned(),
            Self::State { path, .. } => format!(
                "look at it; without it the host forgets its version floor and which versions failed: `rm {}`",
                path.display()
            ),
            Self::TrustRoot { path, .. } => {
                format!(
                    "a later one that was kept can be removed and comes again with the repository: `{}`",
                    path.display()
                )
            }
            Self::Bundle(ArchiveError::Verify(_)) => {
                "take a bundle that the release keys of this image signed: `casemate verify` shows who did".to_owned()
            }
            Self::Bundle(_) => FETCH_AGAIN.to_owned(),
            Self::OtherImage { running, .. } => format!("take a bundle of `{running}`"),
            Self::OtherArchitecture { running, .. } => format!("take a bundle for `{running}`"),
            Self::Development { .. } => "build it with `--keys`".to_owned(),
            Self::Older { .. } => "take a newer one, or say `--allow-older`".to_owned(),
            Self::BelowFloor { .. } => {
                "take a newer one: the floor was raised because older ones must not run".to_owned()
            }
            Self::TooFarAhead { least, .. } => format!("apply {least} first"),
            Self::Expired(_) => "take a newer version".to_owned(),
            Self::FailedHere { .. } => "take a newer version, or try this one again with `--again`".to_owned(),
            Self::TooLarge { part: PartName::Uki, .. } => {
                "look for files on the ESP that are not casemate's, or build a smaller kernel image".to_owned()
            }
            Self::TooLarge { .. } => "name fewer packages, or flash an image with larger slots".to_owned(),
            Self::NoRepository
            | Self::Settings { .. }
            | Self::Fetch { .. }
            | Self::NewestFile(_)
            | Self::Newest(_)
            | Self::NextTrustRoot { .. }
            | Self::EndlessTrustRoots(_)
            | Self::OtherManifest { .. } => self.repository_remedy().to_owned(),
            Self::NothingBehind => "apply the version that is wanted: `casemate-agent update apply`".to_owned(),
            Self::OtherSlot { .. } => "apply the version again, with `--again`: others changed its slot".to_owned(),
            Self::NoWayBack { .. } => {
                "put the kernel image of the running version back into `EFI/Linux` of the ESP".to_owned()
            }
            Self::OnTrial { .. } => {
                "wait until the host is healthy, or start it again until the old version runs: `casemate-agent health`"
                    .to_owned()
            }
        })
    }

    fn exit_kind(&self) -> ExitKind {
        match self {
            Self::Image(_)
            | Self::RunningRoot { .. }
            | Self::Disk(_)
            | Self::Read { .. }
            | Self::File(_)
            | Self::Random(_)
            | Self::Table { .. }
            | Self::State { .. }
            | Self::Settings { .. }
            | Self::Fetch { .. }
            | Self::ReadBack { .. } => ExitKind::Environment,
            _ => ExitKind::Refused,
        }
    }
}

impl UpdateError {
    /// What to do about a repository.
    fn repository_remedy(&self) -> &'static str {
        match self {
            Self::NoRepository => {
                "name one in `host.toml`, `[update]`, or name a bundle: `casemate-agent update apply FILE`"
            }
            Self::Settings { .. } => "give the host its document again: `systemctl restart casemate-personalise`",
            Self::Fetch { .. } => "look at the address in `host.toml`, and at `journalctl -u 'casemate-fetch@*'`",
            Self::Newest(NewestError::Expired { .. }) => {
                "whoever publishes must refresh the repository: `casemate repo refresh`"
            }
            Self::OtherManifest { .. } => {
                "the repository, or somebody on the way, mixes versions up: `casemate repo check`"
            }
            _ => "ask whoever publishes to run `casemate repo check`; until then nothing of it is believed",
        }
    }
}

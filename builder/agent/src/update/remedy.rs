//! What to do about each reason for which an update was not applied.

use std::path::Path;

use bundle::ArchiveError;
use bundle::NewestError;
use bundle::PartName;
use formats::slots::SlotsError;
use tools::ExitKind;
use tools::Remedy;

use super::UpdateError;

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

/// Of a file that a person may remove.
fn without(path: &Path, loss: &str) -> String {
    format!("look at it; without it {loss}: `rm {}`", path.display())
}

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
            Self::Firmware(reason) => reason.hint().to_owned(),
            Self::Disk(_) | Self::Table { .. } | Self::Slots(_) => NOT_OUR_DISK.to_owned(),
            Self::Read { .. } | Self::File(_) | Self::Random(_) | Self::ReadBack { .. } => TRY_AGAIN.to_owned(),
            Self::State { path, .. } => without(path, "the host forgets its version floor and which versions failed"),
            Self::Kept { path, .. } => without(path, "no data is put back after a version that failed"),
            Self::DataGoesBack { .. } => {
                "say `--with-data`; what was written since is set aside and not lost".to_owned()
            }
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
            Self::TooLarge { part: PartName::Uki | PartName::Loader, .. } => {
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
            Self::NothingBehind | Self::OtherSlot { .. } | Self::NoWayBack { .. } | Self::OnTrial { .. } => {
                self.way_back_remedy().to_owned()
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
    /// What to do where the slot behind the running one is in question.
    fn way_back_remedy(&self) -> &'static str {
        match self {
            Self::OtherSlot { .. } => "apply the version again, with `--again`: others changed its slot",
            Self::NoWayBack { .. } => "put the kernel image of the running version back into `EFI/Linux` of the ESP",
            Self::OnTrial { .. } => {
                "wait until the host is healthy, or start it again until the old version runs: `casemate-agent health`"
            }
            _ => "apply the version that is wanted: `casemate-agent update apply`",
        }
    }

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

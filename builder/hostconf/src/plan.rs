//! The plan of a host: everything the agent makes, renders, checks, runs and probes, as plain values in the order of the work.
//!
//! It is a pure function of `host.toml`, the assigned accounts and the image, so a laptop and the host come to the same bytes.

use std::collections::BTreeMap;
use std::fmt;

use crate::assignments::{Assignments, PoolFull};
use crate::domain_name::DomainName;
use crate::host::HostConfig;
use crate::mistake::Mistakes;
use crate::names::{AbsolutePath, AccountName, Line, OverlayName, UnitName, VariableName, Word};
use crate::overlay_rows::{Mode, StateClass};
use crate::overlay_set::OverlaySet;
use crate::planner::Planner;
use crate::probe::ProbeKind;
use crate::sealed::SealedImage;

/// What a host does at each boot, in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RenderPlan {
    /// State directories of the sites. Those of the host are made by tmpfiles.
    pub state: Vec<StateDirectory>,
    /// Secrets to make where they are missing.
    pub secrets: Vec<Secret>,
    /// Directories below `/run/casemate` that links of the image point to; they must exist even when empty. Mode 0755, root.
    pub directories: Vec<AbsolutePath>,
    /// Files to write, sorted by path.
    pub files: Vec<RenderedFile>,
    /// Programs that must succeed.
    pub checks: Vec<Check>,
    /// Steps of setting up.
    pub setups: Vec<SetupStep>,
    /// Probes of the health gate.
    pub probes: Vec<Probe>,
}

/// A state directory of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDirectory {
    /// Which overlay wants it.
    pub overlay: OverlayName,
    /// The directory, below `/var`.
    pub path: AbsolutePath,
    /// Owner.
    pub owner: AccountName,
    /// Group.
    pub group: AccountName,
    /// Permission bits.
    pub mode: Mode,
    /// What it holds.
    pub class: StateClass,
    /// Whether copy-on-write is off.
    pub nocow: bool,
    /// A subvolume with this limit on what its files may take together; nothing for a plain directory.
    pub subvolume: Option<DiskLimit>,
}

/// How much the files of a subvolume may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskLimit {
    /// As much as there is.
    None,
    /// This much.
    Bytes(u64),
}

/// A secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Which overlay wants it.
    pub overlay: OverlayName,
    /// What it is.
    pub material: SecretMaterial,
    /// Where it is kept, below `/var/lib/casemate`.
    pub path: AbsolutePath,
    /// Owner.
    pub owner: AccountName,
    /// Group.
    pub group: AccountName,
    /// Permission bits.
    pub mode: Mode,
}

/// What a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretMaterial {
    /// 64 hex digits and a newline.
    RandomHex,
    /// An ed25519 key in OpenSSH format; the public half goes to `<path>.pub`.
    SshHostKey,
    /// A P-256 key (PKCS#8 PEM) and a certificate.
    TlsSelfSigned {
        /// Where the certificate goes, mode 0644.
        certificate: AbsolutePath,
        /// Names in the certificate, the first one is the subject.
        names: Vec<DomainName>,
    },
}

/// A file that is written at each boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedFile {
    /// Which overlay it is from.
    pub overlay: OverlayName,
    /// The file, below `/run/casemate/etc`.
    pub path: AbsolutePath,
    /// Owner.
    pub owner: AccountName,
    /// Group.
    pub group: AccountName,
    /// Permission bits.
    pub mode: Mode,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A program that must succeed before services are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which overlay it is from.
    pub overlay: OverlayName,
    /// The program and its arguments.
    pub exec: Vec<Word>,
}

/// A step of setting up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupStep {
    /// Which overlay it is from.
    pub overlay: OverlayName,
    /// Shown in the log and on the status screen.
    pub name: Line,
    /// For which site; `None` for the host.
    pub site: Option<DomainName>,
    /// The program and its arguments.
    pub exec: Vec<Word>,
    /// Who runs it.
    pub user: AccountName,
    /// Its environment, besides `PATH` and `LANG`.
    pub env: BTreeMap<VariableName, Word>,
    /// Units that must run before.
    pub after: Vec<UnitName>,
    /// When it is stopped, in seconds.
    pub timeout_seconds: u64,
}

/// A probe of the health gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Which overlay it is from.
    pub overlay: OverlayName,
    /// Shown on the status screen.
    pub name: Line,
    /// For which site; `None` for the host.
    pub site: Option<DomainName>,
    /// What is tried.
    pub probe: ProbeKind,
}

/// Why a part of the plan could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    /// The overlay.
    pub overlay: OverlayName,
    /// Which entry, e.g. ``template `sshd_config.j2` for site `www.example.org` ``.
    pub place: String,
    /// What is wrong, with the template's line where there is one.
    pub reason: String,
}

/// Everything that is wrong with a plan. Prints one line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanErrors(pub Vec<PlanError>);

impl fmt::Display for PlanErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |error: &PlanError| format!("overlay `{}`, {}: {}", error.overlay, error.place, error.reason);
        out.write_str(&self.0.iter().map(line).collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for PlanErrors {}

/// Makes the plan of a host. Every site of `host` must have an account in `assignments` ([`Assignments::assign`]).
pub fn plan(
    host: &HostConfig,
    assignments: &Assignments,
    overlays: &OverlaySet,
    image: &SealedImage,
) -> Result<RenderPlan, PlanErrors> {
    Planner::new(host, assignments, overlays, image).plan()
}

/// Why the overlays could not be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// The built-in sample does not parse.
    #[error(transparent)]
    Sample(#[from] Mistakes),
    /// The sample has more sites than its pool.
    #[error(transparent)]
    Pool(#[from] PoolFull),
    /// The overlays do not give a plan.
    #[error(transparent)]
    Plan(#[from] PlanErrors),
}

/// Makes the plan of a sample host with each kind of site: the builder finds wrong names in templates before anybody boots them.
pub fn trial(overlays: &OverlaySet) -> Result<RenderPlan, TrialError> {
    let (mut host, image) = crate::sample::sample_host()?;
    if !overlays.has("tls") {
        host.tls = crate::tls::TlsSettings::SelfSigned;
    }
    let assignments = Assignments::default().assign(host.sites().map(|site| &site.name), image.sites)?;
    Ok(plan(&host, &assignments, overlays, &image)?)
}

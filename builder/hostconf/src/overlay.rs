//! What a service needs: the validated form of `overlay.toml` (`docs/formats/overlay-toml.md`).
//!
//! The builder and the agent read the same file with this type, so nothing about a service is said twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::domain_name::DomainName;
use crate::host::SiteKind;
use crate::mistake::Mistakes;
use crate::names::{
    AbsolutePath, AccountName, DebconfQuestion, FileName, Glob, JailName, JournalMatch, Line, OverlayName, PackageName,
    UnitName, VariableName, Word,
};
use crate::overlay_rows::{AnswerKind, EgressZone, Mode, PortZone, Protocol, StateClass};
use crate::pattern::Pattern;
use crate::probe::ProbeKind;
use crate::state_formats::FormatRule;

/// The definition of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayDef {
    /// What it is, in one line.
    pub summary: Line,
    /// Other overlays that must be in the image.
    pub needs: Vec<OverlayName>,
    /// Debian packages, without Recommends.
    pub packages: Vec<PackageName>,
    /// Package names that are satisfied without a package, because the builder does the work.
    pub provided: Vec<ProvidedRow>,
    /// Units that run once the host is personalised.
    pub units: Vec<UnitName>,
    /// Units that run at every boot.
    pub early: Vec<UnitName>,
    /// Answers that are set before packages are configured.
    pub debconf: BTreeMap<DebconfQuestion, DebconfAnswer>,
    /// Users with fixed numbers; each has a group of the same name and number.
    pub users: BTreeMap<AccountName, UserDef>,
    /// Further groups with fixed numbers (300-899).
    pub groups: BTreeMap<AccountName, u32>,
    /// Sockets that are open to somebody outside.
    pub listen: Vec<Listen>,
    /// Who may talk to the outside.
    pub egress: Vec<Egress>,
    /// Who may talk to this host itself.
    pub local: Vec<Local>,
    /// What outlives a slot.
    pub state: Vec<StateRow>,
    /// What packages ship below `/var` and the image leaves out.
    pub dropped: Vec<Dropped>,
    /// The only set-id files of the image.
    pub setuid: Vec<SetUid>,
    /// Files that the agent renders.
    pub render: Vec<RenderRow>,
    /// Secrets that the agent makes.
    pub secrets: Vec<SecretRow>,
    /// Programs that must succeed before services are started.
    pub checks: Vec<CheckRow>,
    /// Steps between the checks and the services.
    pub setups: Vec<SetupRow>,
    /// Probes of the health gate.
    pub health: Vec<HealthRow>,
    /// Paths that are never unpacked.
    pub trim: Vec<Glob>,
    /// Roots for jailed services.
    pub skeletons: Vec<SkeletonRow>,
    /// Who is banned.
    pub jails: Vec<JailRow>,
}

/// An answer for debconf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebconfAnswer {
    /// Type of the question.
    pub kind: AnswerKind,
    /// The answer; may be empty.
    pub value: Word,
}

/// A user with a number that is fixed for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDef {
    /// Uid and gid, 300-899.
    pub uid: u32,
    /// Supplementary groups.
    pub groups: Vec<AccountName>,
    /// Home directory.
    pub home: AbsolutePath,
    /// Login shell.
    pub shell: AbsolutePath,
}

/// A socket that is open to somebody outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Open to whom.
    pub zone: PortZone,
    /// Which unit listens.
    pub unit: UnitName,
}

/// A permission to talk to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Who.
    pub user: AccountName,
    /// Protocol.
    pub protocol: Protocol,
    /// To which port.
    pub port: u16,
    /// To where.
    pub zone: EgressZone,
}

/// A permission to talk to this host itself, by `lo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Who.
    pub user: LocalUser,
    /// Protocol.
    pub protocol: Protocol,
    /// To which port.
    pub port: u16,
}

/// Who talks to this host itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalUser {
    /// Every site's owner and PHP.
    Sites,
    /// One account of the image.
    Account(AccountName),
}

impl LocalUser {
    /// The word for all sites; no account has this name.
    pub const SITES: &str = "sites";
}

impl fmt::Display for LocalUser {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sites => out.write_str(Self::SITES),
            Self::Account(name) => name.fmt(out),
        }
    }
}

/// Whether an entry stands for the host or for each site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Once.
    Host,
    /// Once for each site of these kinds.
    Sites(BTreeSet<SiteKind>),
}

/// A directory that outlives a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// Path below `/var`.
    pub path: Pattern<AbsolutePath>,
    /// Owner.
    pub owner: Pattern<AccountName>,
    /// Group.
    pub group: Pattern<AccountName>,
    /// Permission bits.
    pub mode: Mode,
    /// What it holds.
    pub class: StateClass,
    /// For files of a database server: by what another version knows whether it can read them.
    pub format: Option<FormatRule>,
    /// Whether copy-on-write is off, as databases need it.
    pub nocow: bool,
    /// Whether it is a subvolume, which is copied in a moment and kept to the site's `limits.disk`; for sites only.
    pub subvolume: bool,
    /// Host: a line of tmpfiles; sites: made by the agent.
    pub scope: Scope,
}

/// A path below `/var` that the image leaves out, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The path.
    pub path: AbsolutePath,
    /// Why nobody needs it.
    pub reason: Line,
}

/// A root for jailed services: a few paths of packages with the libraries that they need, put together by Jailkit when the image is built.
///
/// Sealed with the image, so nobody can add to it; what a service needs besides is mounted into it by the service's unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkeletonRow {
    /// The root's place, below `/usr/lib/casemate/jail`.
    pub path: AbsolutePath,
    /// Files and directories of packages, at the same places inside.
    pub copy: Vec<AbsolutePath>,
    /// Directories that are empty inside, to be mounted on.
    pub mount_points: Vec<AbsolutePath>,
}

/// What `Fail2Ban` looks for in the journal, and for how long it bans whoever does it too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailRow {
    /// Its name.
    pub name: JailName,
    /// The filter (`filter.d/`), with options in brackets.
    pub filter: Word,
    /// Which lines of the journal it reads.
    pub journal: JournalMatch,
    /// So many times
    pub retry: u32,
    /// in so many minutes
    pub find_minutes: u32,
    /// are a ban for so many minutes; for whoever comes again it is longer.
    pub ban_minutes: u32,
}

/// A package name that other packages depend on and that the builder itself stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvidedRow {
    /// The name, usually of a virtual package.
    pub package: PackageName,
    /// Why no package is needed for it.
    pub reason: Line,
}

/// A file that may have a set-id bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUid {
    /// The file.
    pub path: AbsolutePath,
    /// Why.
    pub reason: Line,
}

/// A file that the agent renders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderRow {
    /// The template beside `overlay.toml`.
    pub template: FileName,
    /// Its usual name below `/etc`.
    pub to: Pattern<AbsolutePath>,
    /// Permission bits.
    pub mode: Mode,
    /// Owner.
    pub owner: Pattern<AccountName>,
    /// Group.
    pub group: Pattern<AccountName>,
    /// Once or for each site.
    pub scope: Scope,
}

/// A secret that is made once on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// What is made.
    pub kind: SecretKind,
    /// Where it is kept.
    pub path: Pattern<AbsolutePath>,
    /// Owner.
    pub owner: Pattern<AccountName>,
    /// Group.
    pub group: Pattern<AccountName>,
    /// Permission bits.
    pub mode: Mode,
    /// Once or for each site.
    pub scope: Scope,
}

/// The kinds of secret that the agent can make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretKind {
    /// 64 hex digits and a newline.
    RandomHex,
    /// An ed25519 key in OpenSSH format, with its public half beside it.
    SshHostKey,
    /// A P-256 key with a certificate of its own.
    TlsSelfSigned {
        /// Where the certificate is kept.
        certificate: Pattern<AbsolutePath>,
        /// Names in the certificate; for a site that gives none, its name and aliases.
        names: Vec<Pattern<DomainName>>,
    },
}

/// A program that must succeed before services are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRow {
    /// The program, an absolute path, and its arguments.
    pub exec: Vec<Word>,
}

/// A step of setting up, repeated at every boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupRow {
    /// Shown in the log and on the status screen.
    pub name: Line,
    /// The program, an absolute path, and its arguments.
    pub exec: Vec<Pattern<Word>>,
    /// Who runs it.
    pub user: Pattern<AccountName>,
    /// Its environment, besides `PATH` and `LANG`.
    pub env: BTreeMap<VariableName, Pattern<Word>>,
    /// Units that must run before.
    pub after: Vec<UnitName>,
    /// When it is stopped, in seconds.
    pub timeout_seconds: u64,
    /// Once or for each site.
    pub scope: Scope,
}

/// A probe of the health gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthRow {
    /// Shown on the status screen.
    pub name: Line,
    /// What is tried.
    pub probe: ProbeKind,
    /// For `https`: each site of these kinds. For other probes: the host.
    pub scope: Scope,
}

impl OverlayDef {
    /// Reads an `overlay.toml` and reports every mistake at once. `name` is how messages call the document.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistakes> {
        crate::overlay_reader::read_overlay(name, text)
    }
}

impl Scope {
    /// Whether the entry stands for a site of this kind.
    pub fn fits(&self, kind: SiteKind) -> bool {
        matches!(self, Self::Sites(kinds) if kinds.contains(&kind))
    }

    /// Whether the entry stands for the host.
    pub fn is_host(&self) -> bool {
        *self == Self::Host
    }
}

//! From documents to decisions: `host.toml`, `overlay.toml`, `image.toml` and the site pool are parsed into types, and together
//! they make the plan of what a host renders, makes, checks and runs.
//!
//! The same code runs in the builder, on an operator's laptop and in the agent, so all three come to the same result. Everything here is a
//! pure function of its arguments: no file, no socket, no clock, no program. Formats: `docs/formats/{host,overlay,image}-toml.md`.

mod accounts;
mod address;
mod allowed_name;
mod asset;
mod assignments;
mod context;
mod derived;
mod document;
mod domain_name;
mod email;
mod firewall;
mod host;
mod host_reader;
mod https_address;
mod image;
mod limits;
mod mistake;
mod names;
mod overlay;
mod overlay_reader;
mod overlay_rows;
mod overlay_set;
mod overlay_work_reader;
mod pattern;
mod plan;
mod planner;
mod ports;
mod probe;
mod redirect;
mod relay;
mod sample;
mod sealed;
mod size;
mod ssh_key;
mod state_formats;
mod suggest;
mod tls;
mod update;
mod waf;

pub use accounts::{AccountTables, Membership, SiteAccount, account_tables};
pub use address::{AddressError, InterfaceAddress, Network};
pub use allowed_name::AllowedName;
pub use asset::{Asset, AssetSource, Unpack};
pub use assignments::{Assignments, PoolFull};
pub use derived::{Link, jails, links, state_tmpfiles};
pub use domain_name::DomainName;
pub use email::EmailAddress;
pub use firewall::{Family, UnknownAccount, firewall_rules};
pub use formats::names::{ImageName, ImageVersion};
pub use host::{
    Admin, CodeSource, Domain, HostConfig, HostTarget, NetworkSettings, Serial, Site, SiteContent, SiteKind, WordPress,
};
pub use https_address::HttpsAddress;
pub use image::{ImageDef, ImageSizes, UpdateRules};
pub use mistake::{Mistake, Mistakes};
pub use names::{
    AbsolutePath, AccountName, AdminUser, AssetName, AssetUrl, ComponentName, DebconfQuestion, FileName, Glob, HostId,
    InterfaceMatch, JailName, JournalMatch, LicenceExpression, Line, Locale, MirrorUrl, OverlayName, PackageName,
    RequestPath, SuiteName, Title, UnitName, ValueError, VariableName, Word,
};
pub use overlay::{
    CheckRow, DebconfAnswer, Dropped, Egress, HealthRow, JailRow, Listen, Local, LocalUser, OverlayDef, ProvidedRow,
    RenderRow, Scope, SecretKind, SecretRow, SetUid, SetupRow, SkeletonRow, StateRow, UserDef,
};
pub use overlay_rows::{AnswerKind, EgressZone, Mode, PortZone, Protocol, StateClass};
pub use overlay_set::{Conflict, Conflicts, LoadedOverlay, OverlaySet};
pub use pattern::Pattern;
pub use plan::{
    Check, DiskLimit, PlanError, PlanErrors, Probe, RenderPlan, RenderedFile, Secret, SecretMaterial, SetupStep,
    StateDirectory, TrialError, plan, trial,
};
pub use ports::PortTable;
pub use probe::ProbeKind;
pub use redirect::{Redirect, RedirectPath, RedirectTarget};
pub use relay::{Relay, RelayTls};
#[cfg(feature = "sample")]
pub use sample::SMALL_HOST;
pub use sealed::SealedImage;
pub use size::ByteSize;
pub use ssh_key::{SshKeyError, SshPublicKey};
pub use state_formats::{FormatRule, FormattedState, NoFormat, StateFormats};
pub use tls::{Authority, RootCertificates, TlsMode, TlsSettings};
pub use update::{UpdateSettings, Window};
pub use waf::{Waf, WafArgument, WafExclusion, WafMode, WafPath, WafRule};

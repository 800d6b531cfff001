//! What a host is: the validated form of `host.toml` (`docs/formats/host-toml.md`). Templates see it as `host`.
//!
//! A value of these types is already checked in itself and against its neighbours; the reader is in `host_reader.rs`.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::address::{InterfaceAddress, Network};
use crate::allowed_name::AllowedName;
use crate::domain_name::DomainName;
use crate::email::EmailAddress;
use crate::limits::Limits;
use crate::mistake::Mistakes;
use crate::names::{AdminUser, HostId, InterfaceMatch, Locale, Title, ValueError};
use crate::overlay_rows::words;
use crate::redirect::Redirect;
use crate::relay::Relay;
use crate::ssh_key::SshPublicKey;
use crate::tls::TlsSettings;
use crate::update::UpdateSettings;
use crate::waf::Waf;

/// The number of a document; it grows with each change and the highest one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Serial(pub NonZeroU64);

impl fmt::Display for Serial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Which host a document is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostTarget {
    /// Any host that trusts the key.
    Any,
    /// The host with this id only.
    Only(HostId),
}

impl FromStr for HostTarget {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "any" { Ok(Self::Any) } else { text.parse().map(Self::Only) }
    }
}

impl fmt::Display for HostTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => out.write_str("any"),
            Self::Only(id) => id.fmt(out),
        }
    }
}

impl Serialize for HostTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A host, as its signed document describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostConfig {
    /// Number of the document.
    pub serial: Serial,
    /// For which host.
    pub host: HostTarget,
    /// The host's own name.
    pub hostname: DomainName,
    /// Who administrates it, and from where.
    pub admin: Admin,
    /// Fixed addresses, or none for DHCP and router advertisements; and who stands before the host.
    pub network: NetworkSettings,
    /// How it gets certificates.
    pub tls: TlsSettings,
    /// Who takes the mail that sites send; absent: nobody, and sites are told so.
    pub relay: Option<Relay>,
    /// Where new versions come from, and when they may; absent: it looks for none.
    pub update: Option<UpdateSettings>,
    /// The domains it serves.
    pub domains: Vec<Domain>,
}

/// The administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Admin {
    /// Where alerts go.
    pub email: EmailAddress,
    /// At least one key.
    pub ssh_keys: Vec<SshPublicKey>,
    /// At least one network; ssh is closed to everybody else.
    pub networks: Vec<Network>,
}

/// The network of the host. No address means DHCP and router advertisements.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NetworkSettings {
    /// Fixed addresses.
    pub address: Vec<InterfaceAddress>,
    /// Routers, each of a family that has an address.
    pub gateway: Vec<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Which device; absent: the first Ethernet device.
    pub interface: Option<InterfaceMatch>,
    /// Who is believed when he names the visitor that he asks for; never all addresses of a family.
    pub trusted_proxies: Vec<Network>,
}

/// A domain and its sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Domain {
    /// The domain.
    pub name: DomainName,
    /// Its sites.
    pub sites: Vec<Site>,
}

/// One site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Site {
    /// Server name, used once in the whole document.
    pub name: DomainName,
    /// Other server names, each used once.
    pub aliases: Vec<DomainName>,
    /// What runs there.
    pub content: SiteContent,
    /// What it may use of the host.
    pub limits: Limits,
    /// Where its PHP may connect to, besides itself and what its kind needs.
    pub allow: Vec<AllowedName>,
    /// A name under which the site can be seen before its own names lead to this host.
    pub preview: Option<DomainName>,
    /// Paths that have moved.
    pub redirects: Vec<Redirect>,
    /// Keys with which the site's owner may come for its files; none: nobody may.
    pub ssh_keys: Vec<SshPublicKey>,
    /// What is done with requests that look like attacks.
    pub waf: Waf,
}

/// What a site is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SiteContent {
    /// A `WordPress` installed by the agent.
    WordPress(WordPress),
    /// PHP programs that the owner puts there.
    Php,
    /// Files only.
    Static,
}

impl SiteContent {
    /// The kind without its settings.
    pub fn kind(&self) -> SiteKind {
        match self {
            Self::WordPress(_) => SiteKind::Wordpress,
            Self::Php => SiteKind::Php,
            Self::Static => SiteKind::Static,
        }
    }
}

/// How a new `WordPress` is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WordPress {
    /// Title of the site.
    pub title: Title,
    /// Name of its first account.
    pub admin_user: AdminUser,
    /// Address of its first account.
    pub admin_email: EmailAddress,
    /// Language.
    pub locale: Locale,
    /// Where plugins and themes come from.
    pub code: CodeSource,
    /// Whether pages are kept for visitors without a name.
    pub page_cache: bool,
}

words!(
    /// Where plugins and themes of a `WordPress` come from.
    CodeSource, "a source of plugins and themes", /// The image and the owner's SFTP; nothing in `WordPress` itself changes code.
    Locked = "locked", /// Also `WordPress`'s own directory, by a unit of the host: with a snapshot before and a look at the site after.
    Managed = "managed"
);

/// The kinds of site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SiteKind {
    /// `wordpress`
    Wordpress,
    /// `php`
    Php,
    /// `static`
    Static,
}

impl SiteKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Wordpress, Self::Php, Self::Static];

    /// The kind as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wordpress => "wordpress",
            Self::Php => "php",
            Self::Static => "static",
        }
    }
}

impl fmt::Display for SiteKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for SiteKind {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| ValueError::new(text, "a kind of site: `wordpress`, `php` or `static`"))
    }
}

impl HostConfig {
    /// Reads a `host.toml` and reports every mistake at once. `name` is how messages call the document.
    ///
    /// On a host the text must come from verified bytes; this function cannot know.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistakes> {
        crate::host_reader::read_host(name, text)
    }

    /// All sites in the order of the document.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.domains.iter().flat_map(|domain| &domain.sites)
    }
}

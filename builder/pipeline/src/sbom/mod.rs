//! The bill of materials: every Debian package, asset and crate in an image, as SPDX 2.3 and `CycloneDX` 1.6.
//!
//! Both documents are pure functions of [`Materials`]: no clock and no random number, the ids follow from what they name. See
//! `docs/formats/sbom.md`.

mod copyright;
mod crates;
mod cyclonedx;
mod licence;
mod licence_names;
mod spdx;
#[cfg(test)]
mod tests;

use anyhow::{Context as _, Result};
use debian::date::UnixTime;
use debian::lock::Lock;
use fs_err as fs;
use hostconf::SealedImage;
use sha2::{Digest as _, Sha256};

pub use self::licence::{Licence, OwnText};
use crate::assets::StoredAsset;
use crate::root_tree::RootTree;

/// File names beside the image.
pub const FILES: [&str; 2] = ["sbom.spdx.json", "sbom.cdx.json"];
/// Where the image itself has its SPDX document.
pub const IN_IMAGE: &str = "/usr/share/casemate/sbom.spdx.json";

/// What kind of thing a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A package of Debian.
    Package,
    /// A file from elsewhere, named in `image.toml`.
    Asset,
    /// A crate that the agent is made of.
    Crate,
}

/// One thing in the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version; for an asset the first digits of its digest.
    pub version: String,
    /// Debian's architecture.
    pub architecture: Option<String>,
    /// Source package and its version.
    pub source: Option<(String, String)>,
    /// SHA-256 of the file it came in, hex. Our own crates have none.
    pub sha256: Option<String>,
    /// Where an asset was fetched from.
    pub address: Option<String>,
    /// Its licence, or why none is stated.
    pub licence: Licence,
}

/// Everything that a bill is made from.
#[derive(Debug)]
pub struct Materials {
    /// Name of the image.
    pub image: String,
    /// Its version.
    pub version: String,
    /// Debian's suite.
    pub suite: String,
    /// The time of the lock.
    pub time: UnixTime,
    /// The things in it, sorted, each once.
    pub components: Vec<Component>,
}

/// Both documents.
#[derive(Debug)]
pub struct Bill {
    /// SPDX 2.3, JSON.
    pub spdx: String,
    /// `CycloneDX` 1.6, JSON.
    pub cyclonedx: String,
}

impl Materials {
    /// Gathers what a finished tree holds; `cargo_lock` is the lock of the agent's crates.
    pub fn gather(
        tree: &RootTree,
        image: &SealedImage,
        lock: &Lock,
        assets: &[StoredAsset],
        cargo_lock: &str,
    ) -> Result<Self> {
        let status = tree.read_text("/usr/lib/sysimage/dpkg/status")?;
        let sources = sources(&status)?;
        let mut components: Vec<Component> = lock
            .packages
            .iter()
            .map(|package| {
                let (name, version) = (package.name.to_string(), package.version.to_string());
                let source = sources.iter().find(|(known, _)| *known == name).map(|(_, source)| source.clone());
                Component {
                    kind: Kind::Package,
                    licence: Licence::of_package(tree, &name),
                    source: Some(source.unwrap_or_else(|| (name.clone(), version.clone()))),
                    architecture: Some(package.architecture.to_string()),
                    sha256: Some(package.sha256.to_string()),
                    address: None,
                    name,
                    version,
                }
            })
            .collect();
        components.extend(assets.iter().map(of_asset));
        components.extend(crates::of(cargo_lock, "agent")?);
        components.sort();
        components.dedup();
        let suite = lock.suites.first().map(|suite| suite.name.to_string()).unwrap_or_default();
        let (image, version) = (image.name.to_string(), image.version.to_string());
        Ok(Self { image, version, suite, time: UnixTime(lock.source_date_epoch), components })
    }

    /// Writes both documents.
    pub fn to_bill(&self) -> Result<Bill> {
        Ok(Bill { spdx: spdx::write(self)?, cyclonedx: cyclonedx::write(self)? })
    }

    /// A UUID (version 8, RFC 9562) that stands for everything in the bill.
    fn uuid(&self) -> String {
        let digest = Sha256::digest(format!("{self:?}"));
        let mut bytes: [u8; 16] = std::array::from_fn(|at| digest[at]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = hex::encode(bytes);
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }
}

impl Component {
    /// An id of letters, digits, `.` and `-`, different for different components.
    fn id(&self) -> String {
        let kind = match self.kind {
            Kind::Package => "deb",
            Kind::Asset => "asset",
            Kind::Crate => "crate",
        };
        let plain = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
        };
        // The plain form of two names may be the same (`g++`, `g--`): a piece of a digest keeps them apart.
        let whole = format!("{kind} {} {} {:?}", self.name, self.version, self.architecture);
        let mark = &hex::encode(Sha256::digest(whole))[..8];
        format!("{kind}-{}-{}-{mark}", plain(&self.name), plain(&self.version))
    }

    /// Package URL (ECMA-427); assets have none but their address.
    fn purl(&self, suite: &str) -> Option<String> {
        match self.kind {
            Kind::Package => {
                let architecture = self.architecture.as_deref().unwrap_or("all");
                Some(deb_purl(&self.name, &self.version, architecture, suite))
            }
            Kind::Asset => None,
            Kind::Crate => Some(crate_purl(&self.name, &self.version)),
        }
    }

    /// Source package and version in one text.
    fn source_text(&self) -> Option<String> {
        self.source.as_ref().map(|(name, version)| format!("{name} {version}"))
    }
}

/// All but letters, digits, `.`, `-`, `_` and `~` is written as `%XX` in a package URL.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Binary package to source package and version (Debian policy 5.6.1: `Source: NAME (VERSION)`).
fn sources(status: &str) -> Result<Vec<(String, (String, String))>> {
    let mut sources = Vec::new();
    for paragraph in status.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let name = field("Package:").context("the dpkg database has a paragraph without a name")?;
        let version = field("Version:").unwrap_or_default();
        let (source, given) = match field("Source:").map(|text| text.split_once(' ').unwrap_or((text, ""))) {
            Some((source, given)) => (source, given.trim_matches(['(', ')'])),
            None => (name, ""),
        };
        let version = if given.is_empty() { version } else { given };
        sources.push((name.to_owned(), (source.to_owned(), version.to_owned())));
    }
    Ok(sources)
}

fn of_asset(stored: &StoredAsset) -> Component {
    let digest = stored.sha256.to_string();
    Component {
        kind: Kind::Asset,
        name: stored.asset.name.to_string(),
        version: digest[..12].to_owned(),
        architecture: None,
        source: None,
        address: matches!(stored.asset.source, hostconf::AssetSource::Url(_)).then(|| stored.asset.source.to_string()),
        licence: Licence::declared(
            stored.asset.licence.as_ref().map(ToString::to_string).as_deref(),
            "`licence` is not set in image.toml",
        ),
        sha256: Some(digest),
    }
}

/// Name, version and SHA-256 of each crate that the agent takes from a registry.
pub(crate) fn registry_crates(cargo_lock: &str) -> Result<Vec<(String, String, String)>> {
    let all = crates::of(cargo_lock, "agent")?.into_iter();
    Ok(all.filter_map(|row| Some((row.name, row.version, row.sha256?))).collect())
}

/// Package URL of a Debian package (ECMA-427).
pub(crate) fn deb_purl(name: &str, version: &str, architecture: &str, suite: &str) -> String {
    let (name, version, suite) = (escape(name), escape(version), escape(suite));
    format!("pkg:deb/debian/{name}@{version}?arch={architecture}&distro={suite}")
}

/// Package URL of a crate.
pub(crate) fn crate_purl(name: &str, version: &str) -> String {
    format!("pkg:cargo/{}@{}", escape(name), escape(version))
}

/// Writes the files that stand beside the image.
pub(crate) fn write_beside(bill: &Bill, dir: &std::path::Path) -> Result<()> {
    for (name, text) in FILES.into_iter().zip([&bill.spdx, &bill.cyclonedx]) {
        fs::write(dir.join(name), text)?;
    }
    Ok(())
}

//! Assets: files that belong to no Debian package, each pinned by its digest (`[[asset]]` in `image.toml`).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::document::Section;
use crate::names::{AbsolutePath, AssetName, AssetUrl, Glob, LicenceExpression, ValueError};
use crate::overlay_rows::words;
use crate::size::ByteSize;

/// Largest limit that an asset may ask for: it is a plugin, a theme or a set of rules, not a system.
const LARGEST: u64 = 1 << 30;

/// Where assets may be put: `/var` is state, the rest of the root belongs to Debian or to the build.
const PLACES: [&str; 3] = ["/usr/share", "/usr/lib", "/etc"];

/// What the build itself writes there, whole.
const TAKEN: [&str; 2] = ["/usr/lib/casemate", "/usr/lib/sysimage"];

/// Where the build writes files of its own; folders in it are those of overlays, which say what belongs there.
const SHARED: &str = "/usr/share/casemate";

words!(
    /// How an asset becomes files of the root.
    Unpack, "an unpack rule", /// A ZIP archive.
    Zip = "zip", /// A tar archive, plain or compressed by gzip, xz or zstd.
    Tar = "tar", /// The file itself.
    None = "none"
);

/// Where an asset comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssetSource {
    /// A file below the image's folder.
    File(String),
    /// An address that serves it.
    Url(AssetUrl),
}

/// One asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// What messages, the lint and the bill of materials call it.
    pub name: AssetName,
    /// Where it comes from.
    pub source: AssetSource,
    /// Its SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Most bytes that the file may have.
    pub size: ByteSize,
    /// How it becomes files.
    pub unpack: Unpack,
    /// The directory that it is unpacked into; with [`Unpack::None`] the file's own path.
    pub into: AbsolutePath,
    /// How many leading components of each name in the archive are taken off.
    pub strip: usize,
    /// The licence as an SPDX expression.
    pub licence: Option<LicenceExpression>,
}

impl fmt::Display for AssetSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => out.write_str(path),
            Self::Url(url) => url.fmt(out),
        }
    }
}

/// Reads `[[asset]]`, each name once.
pub(crate) fn read_assets(root: &Section<'_, '_>) -> Vec<Asset> {
    let mut seen = BTreeSet::new();
    let mut assets = Vec::new();
    for section in root.sections("asset") {
        let Some(asset) = read_asset(&section) else { continue };
        if !seen.insert(asset.name.clone()) {
            section.note(section.spot_of("name"), format!("asset `{}` stands twice: name it once", asset.name));
        }
        assets.push(asset);
    }
    assets
}

fn read_asset(section: &Section<'_, '_>) -> Option<Asset> {
    section.allow(&["name", "file", "url", "sha256", "size", "unpack", "into", "strip", "licence"]);
    let name = section.text("name");
    let source = read_source(section);
    let sha256 = section.text::<Digest>("sha256");
    let size = section.text::<ByteSize>("size");
    if let Some(size) = size.filter(|size| size.bytes() > LARGEST) {
        section.note(section.spot_of("size"), format!("`size` is {size}: an asset has at most {}M", LARGEST >> 20));
    }
    let unpack = section.text("unpack");
    let strip = section.optional_integer("strip", 0..=8).and_then(|strip| usize::try_from(strip).ok()).unwrap_or(0);
    if strip > 0 && unpack == Some(Unpack::None) {
        section.note(section.spot_of("strip"), "`strip` is for archives: leave it out with `unpack = \"none\"`".into());
    }
    Some(Asset {
        into: read_into(section)?,
        licence: section.optional_text("licence"),
        name: name?,
        source: source?,
        sha256: sha256?.0,
        size: size?,
        unpack: unpack?,
        strip,
    })
}

fn read_source(section: &Section<'_, '_>) -> Option<AssetSource> {
    if section.has("file") == section.has("url") {
        section.note(section.spot(), "an asset has either `file` or `url`".into());
        return None;
    }
    if section.has("file") {
        return section.optional_text::<InsideFile>("file").map(|file| AssetSource::File(file.0));
    }
    section.optional_text("url").map(AssetSource::Url)
}

fn read_into(section: &Section<'_, '_>) -> Option<AbsolutePath> {
    let into: AbsolutePath = section.text("into")?;
    let own = TAKEN.iter().chain([&SHARED]).any(|dir| into.as_str() == *dir)
        || TAKEN.iter().any(|dir| into.is_below(dir))
        || into.is_below(SHARED) && into.as_str().matches('/').count() == SHARED.matches('/').count() + 1;
    if own || !PLACES.iter().any(|dir| into.is_below(dir)) {
        let places = PLACES.map(|dir| format!("`{dir}`")).join(", ");
        let message = format!("`into` is `{into}`: assets go below {places}, and not where the build itself writes");
        section.note(section.spot_of("into"), message);
    }
    Some(into)
}

/// 64 lower-case hexadecimal digits.
struct Digest(String);

impl FromStr for Digest {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let good = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let refused = || ValueError::new(text, "a SHA-256 digest: 64 lower-case hexadecimal digits (`sha256sum FILE`)");
        if good { Ok(Self(text.to_owned())) } else { Err(refused()) }
    }
}

/// A relative path without wild cards; checked as if it stood below `/`.
struct InsideFile(String);

impl FromStr for InsideFile {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let plain = !text.starts_with('/') && !text.contains(['*', '?']) && !text.split('/').any(str::is_empty);
        let inside = plain && format!("/{text}").parse::<Glob>().is_ok();
        let refused = || ValueError::new(text, "a path inside the image's folder, e.g. `assets/theme.zip`");
        if inside { Ok(Self(text.to_owned())) } else { Err(refused()) }
    }
}

//! What an image is made of: the validated form of `image.toml` (`docs/formats/image-toml.md`). Only the builder reads it.

use std::collections::BTreeSet;

use formats::names::{ImageName, ImageVersion};
use formats::version_order;

use crate::accounts::LARGEST_POOL;
use crate::asset::{Asset, read_assets};
use crate::document::{Section, read};
use crate::mistake::Mistakes;
use crate::names::{AbsolutePath, ComponentName, Glob, MirrorUrl, OverlayName, PackageName, SuiteName};
use crate::size::ByteSize;

/// Smallest ESP: three unified kernel images of 32 MiB, boot loader, room for one more.
const SMALLEST_ESP: u64 = 128 << 20;

/// Smallest slot: an image with ssh alone needs about 200 MiB.
const SMALLEST_SLOT: u64 = 256 << 20;

/// Most days for which a version may be installed: ten years.
const LONGEST_LIFE: u64 = 3650;

/// The definition of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDef {
    /// Name.
    pub name: ImageName,
    /// Version.
    pub version: ImageVersion,
    /// Debian suite; `-updates` and `-security` come with it.
    pub suite: SuiteName,
    /// Components of the archive; default `main`.
    pub components: Vec<ComponentName>,
    /// Overlays in the order they are laid, each once.
    pub overlays: Vec<OverlayName>,
    /// Extra packages.
    pub packages: Vec<PackageName>,
    /// The kernel's package.
    pub kernel: PackageName,
    /// Where packages come from, when neither the command line nor the environment say so.
    pub mirror: Option<MirrorUrl>,
    /// Files with public keys that may sign `host.toml`: globs, relative to the image's folder.
    pub operator_keys: Vec<String>,
    /// Sizes.
    pub size: ImageSizes,
    /// Files that belong to no package, in the order they are laid.
    pub assets: Vec<Asset>,
    /// What holds for updates.
    pub update: UpdateRules,
}

/// What a version says of updates to it and from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateRules {
    /// The file with the trust root, relative to the image's folder; its signatures lie beside it.
    pub trust_root: Option<String>,
    /// The oldest version that may be updated to this one.
    pub min_from_version: Option<ImageVersion>,
    /// The oldest version that may be installed once this one was proven good.
    pub floor: Option<ImageVersion>,
    /// Days from the time of the lock after which this version is not installed any more.
    pub expires_after_days: Option<u32>,
}

/// Sizes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSizes {
    /// EFI system partition.
    pub esp: ByteSize,
    /// Root and its verity tree together.
    pub slot: ByteSize,
    /// Number of site accounts in the pool.
    pub sites: u16,
}

impl ImageDef {
    /// Reads an `image.toml` and reports every mistake at once. `name` is how messages call the document.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistakes> {
        read(name, text, read_image)
    }
}

fn read_image(root: &Section<'_, '_>) -> Option<ImageDef> {
    root.allow(&[
        "schema",
        "name",
        "version",
        "suite",
        "components",
        "overlays",
        "packages",
        "kernel",
        "mirror",
        "operator_keys",
        "size",
        "asset",
        "update",
    ]);
    root.schema(1);
    let name = root.text("name");
    let version = root.text("version");
    let suite = root.text("suite");
    let components =
        if root.has("components") { root.plain_texts("components") } else { "main".parse().into_iter().collect() };
    let overlays = read_overlays(root);
    let packages = root.plain_texts("packages");
    let kernel = root.text("kernel");
    let mirror = root.optional_text::<OptionalMirror>("mirror").and_then(|mirror| mirror.0);
    let operator_keys = root.plain_texts::<KeyGlob>("operator_keys").into_iter().map(|glob| glob.0).collect();
    let size = root.section("size").and_then(|section| read_sizes(&section));
    let assets = read_assets(root);
    let update = root.optional_section("update").map(|section| read_update(&section, version.as_ref()));
    Some(ImageDef {
        name: name?,
        version: version?,
        suite: suite?,
        components,
        overlays,
        packages,
        kernel: kernel?,
        mirror,
        operator_keys,
        size: size?,
        assets,
        update: update.unwrap_or_default(),
    })
}

fn read_update(section: &Section<'_, '_>, version: Option<&ImageVersion>) -> UpdateRules {
    section.allow(&["trust_root", "min_from_version", "floor", "expires_after_days"]);
    let days = section.optional_integer("expires_after_days", 1..=LONGEST_LIFE);
    UpdateRules {
        trust_root: section.optional_text::<InsideFile>("trust_root").map(|file| file.0),
        min_from_version: read_older(section, "min_from_version", version),
        floor: read_older(section, "floor", version),
        expires_after_days: days.and_then(|days| u32::try_from(days).ok()),
    }
}

/// A version that may not be newer than the image's own: nobody could install it.
fn read_older(section: &Section<'_, '_>, key: &str, version: Option<&ImageVersion>) -> Option<ImageVersion> {
    let named: ImageVersion = section.optional_text(key)?;
    if let Some(version) = version.filter(|version| version_order::compare(&named, version).is_gt()) {
        let message =
            format!("`{key}` is {named}, newer than the image's version {version}: name {version} or an older one");
        section.note(section.spot_of(key), message);
    }
    Some(named)
}

fn read_overlays(root: &Section<'_, '_>) -> Vec<OverlayName> {
    let mut seen = BTreeSet::new();
    let overlays = root.some_texts::<OverlayName>("overlays");
    for placed in &overlays {
        if !seen.insert(placed.value.clone()) {
            root.note(placed.spot, format!("overlay `{}` stands twice: name it once", placed.value));
        }
    }
    overlays.into_iter().map(|placed| placed.value).collect()
}

fn read_sizes(section: &Section<'_, '_>) -> Option<ImageSizes> {
    section.allow(&["esp", "slot", "sites"]);
    let esp = read_size(section, "esp", SMALLEST_ESP);
    let slot = read_size(section, "slot", SMALLEST_SLOT);
    let sites = section.integer("sites", 0..=u64::from(LARGEST_POOL)).and_then(|sites| u16::try_from(sites).ok());
    Some(ImageSizes { esp: esp?, slot: slot?, sites: sites? })
}

fn read_size(section: &Section<'_, '_>, key: &str, smallest: u64) -> Option<ByteSize> {
    let size: ByteSize = section.text(key)?;
    if size.bytes() < smallest || !size.bytes().is_multiple_of(1 << 20) {
        let wanted = smallest >> 20;
        section.note(
            section.spot_of(key),
            format!("`{key}` is {size}: at least {wanted}M are needed, in whole megabytes"),
        );
    }
    Some(size)
}

/// A mirror, where the empty text means none.
struct OptionalMirror(Option<MirrorUrl>);

impl std::str::FromStr for OptionalMirror {
    type Err = crate::names::ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|mirror| Self(Some(mirror))) }
    }
}

/// A relative glob; checked as if it stood below `/`.
struct KeyGlob(String);

impl std::str::FromStr for KeyGlob {
    type Err = crate::names::ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "a path or glob inside the image's folder, e.g. `keys/*.pub`";
        let inside = !text.starts_with('/') && format!("/{text}").parse::<Glob>().is_ok();
        if inside { Ok(Self(text.to_owned())) } else { Err(crate::names::ValueError::new(text, expected)) }
    }
}

/// A relative path; checked as if it stood below `/`.
struct InsideFile(String);

impl std::str::FromStr for InsideFile {
    type Err = crate::names::ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "a file inside the image's folder, e.g. `keys/trust-root-1.json`";
        let inside = !text.starts_with('/') && format!("/{text}").parse::<AbsolutePath>().is_ok();
        if inside { Ok(Self(text.to_owned())) } else { Err(crate::names::ValueError::new(text, expected)) }
    }
}

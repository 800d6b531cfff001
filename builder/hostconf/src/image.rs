//! What an image is made of: the validated form of `image.toml` (`docs/formats/image-toml.md`). Only the builder reads it.

use std::collections::BTreeSet;

use formats::names::{ImageName, ImageVersion};

use crate::accounts::LARGEST_POOL;
use crate::asset::{Asset, read_assets};
use crate::document::{Section, read};
use crate::mistake::Mistakes;
use crate::names::{ComponentName, Glob, MirrorUrl, OverlayName, PackageName, SuiteName};
use crate::size::ByteSize;

/// Smallest ESP: three unified kernel images of 32 MiB, boot loader, room for one more.
const SMALLEST_ESP: u64 = 128 << 20;

/// Smallest slot: an image with ssh alone needs about 200 MiB.
const SMALLEST_SLOT: u64 = 256 << 20;

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
    })
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

//! What an image says of itself to the agent: `/usr/lib/casemate/image.toml` (`docs/formats/artifacts.md`).
//!
//! The builder writes it, the agent reads it; both with this type.

use std::fmt::Write as _;

use formats::names::{ImageName, ImageVersion};
use serde::Serialize;

use crate::accounts::LARGEST_POOL;
use crate::document::{quoted_list, read};
use crate::mistake::Mistakes;
use crate::names::OverlayName;

/// A sealed image's own description. Templates see it as `image`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SealedImage {
    /// Name of the image.
    pub name: ImageName,
    /// Version of the image.
    pub version: ImageVersion,
    /// Its overlays in the order they were laid.
    pub overlays: Vec<OverlayName>,
    /// Size of the site pool.
    pub sites: u16,
    /// Whether development keys were used.
    pub development: bool,
}

impl SealedImage {
    /// Reads the file. `name` is how messages call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistakes> {
        read(name, text, |root| {
            root.allow(&["schema", "name", "version", "overlays", "sites", "development"]);
            root.schema(1);
            let name = root.text("name");
            let version = root.text("version");
            let overlays = root.plain_texts("overlays");
            let sites = root.integer("sites", 0..=u64::from(LARGEST_POOL));
            let development = root.flag("development");
            Some(Self { name: name?, version: version?, overlays, sites: u16::try_from(sites?).ok()?, development })
        })
    }

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        let Self { name, version, overlays, sites, development } = self;
        let overlays: Vec<&str> = overlays.iter().map(OverlayName::as_str).collect();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "schema = 1\nname = \"{name}\"\nversion = \"{version}\"");
        let _ = writeln!(text, "overlays = [{}]", quoted_list(&overlays).replace('`', "\""));
        let _ = writeln!(text, "sites = {sites}\ndevelopment = {development}");
        text
    }
}

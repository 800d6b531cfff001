//! What the sealed image brings along: its own description, the overlays with their templates, who may sign, and the user table.
//!
//! All of it lies below the verified root; a mistake in it is a mistake of the build and is reported as such.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use bundle::PublicKey;
use bundle::TrustedKeys;
use hostconf::FileName;
use hostconf::LoadedOverlay;
use hostconf::OverlayDef;
use hostconf::OverlayName;
use hostconf::OverlaySet;
use hostconf::SealedImage;
use thiserror::Error;

use crate::accounts::Accounts;
use crate::paths::Paths;

/// The image's part of the plan.
#[derive(Debug)]
pub struct Image {
    /// What the image says of itself.
    pub sealed: SealedImage,
    /// Its overlays.
    pub overlays: OverlaySet,
    /// Who may sign `host.toml`.
    pub operators: TrustedKeys,
    /// Its users and groups.
    pub accounts: Accounts,
}

/// Why an image cannot be used.
#[derive(Debug, Error)]
pub enum ImageError {
    /// A file cannot be read.
    #[error("cannot read `{path}`: {source}; the image is damaged: build it again")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file has mistakes.
    #[error("`{path}`: {reason}; the image is wrong: build it again")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody can sign for this image.
    #[error("no operator key in `{0}`: name one in `operator_keys` of image.toml and build again")]
    NoKeys(PathBuf),
}

impl Image {
    /// Reads everything below `/usr/lib/casemate`.
    pub fn load(paths: &Paths) -> Result<Self, ImageError> {
        let sealed = load_description(paths)?;
        let overlays = sealed.overlays.iter().map(|name| load_overlay(paths, name)).collect::<Result<_, _>>()?;
        let overlays = OverlaySet::new(overlays).map_err(|error| content(&paths.overlays(), &error))?;
        let accounts = Accounts::parse(&read(&paths.passwd())?, &read(&paths.group())?);
        Ok(Self { sealed, overlays, operators: load_keys(&paths.operator_keys())?, accounts })
    }
}

/// Reads only the name and version; the screen needs them even when the rest is broken.
pub fn load_description(paths: &Paths) -> Result<SealedImage, ImageError> {
    let path = paths.image_definition();
    SealedImage::parse("image.toml", &read(&path)?).map_err(|error| content(&path, &error))
}

fn load_overlay(paths: &Paths, name: &OverlayName) -> Result<LoadedOverlay, ImageError> {
    let folder = paths.overlays().join(name.as_str());
    let path = folder.join("overlay.toml");
    let def = OverlayDef::parse("overlay.toml", &read(&path)?).map_err(|error| content(&path, &error))?;
    let mut templates = BTreeMap::new();
    for row in &def.render {
        templates.insert(row.template.clone(), load_template(&folder, &row.template)?);
    }
    Ok(LoadedOverlay { name: name.clone(), def, templates })
}

fn load_template(folder: &Path, name: &FileName) -> Result<String, ImageError> {
    read(&folder.join(name.as_str()))
}

fn load_keys(folder: &Path) -> Result<TrustedKeys, ImageError> {
    let entries = fs::read_dir(folder).map_err(|source| ImageError::Read { path: folder.to_owned(), source })?;
    let mut keys = Vec::new();
    for path in
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "pub"))
    {
        let key: PublicKey = read(&path)?.parse().map_err(|error| content(&path, &error))?;
        keys.push(key);
    }
    if keys.is_empty() { Err(ImageError::NoKeys(folder.to_owned())) } else { Ok(TrustedKeys::new(keys)) }
}

fn read(path: &Path) -> Result<String, ImageError> {
    fs::read_to_string(path).map_err(|source| ImageError::Read { path: path.to_owned(), source })
}

fn content(path: &Path, reason: &impl ToString) -> ImageError {
    ImageError::Content { path: path.to_owned(), reason: reason.to_string() }
}

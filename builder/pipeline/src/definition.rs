//! An image definition as it stands in a repository: `image.toml` and the overlays it names, read and validated together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use debian::placeholder::Provided;
use debian::trim::COPYRIGHT_STAYS;
use fs_err as fs;
use hostconf::{ImageDef, LoadedOverlay, OverlayDef, OverlayName, OverlaySet, SkeletonRow};
use tools::Failure;
use tools::failure::HintExt as _;

use crate::overlay_folders::OverlayFolders;

/// A definition and where it came from.
#[derive(Debug)]
pub struct Definition {
    /// The repository: the folder that holds `overlays/` and `units/`.
    pub repo: PathBuf,
    /// The image's own folder.
    pub image_dir: PathBuf,
    /// `image.toml`.
    pub image: ImageDef,
    /// The overlays, in the order of `image.toml`.
    pub overlays: OverlaySet,
}

impl Definition {
    /// Reads the definition in `image_dir`, e.g. `images/webhost`.
    pub fn load(image_dir: &Path) -> Result<Self> {
        let file = image_dir.join("image.toml");
        let text = fs::read_to_string(&file).or_refuse("name the folder of an image, e.g. `images/webhost`")?;
        let image = ImageDef::parse(&file.display().to_string(), &text)
            .or_refuse("mend image.toml; its format is in docs/formats/image-toml.md")?;
        let image_dir = fs::canonicalize(image_dir)?;
        let repo = find_repo(&image_dir)?;
        let folders = OverlayFolders::new(&image_dir, &repo);
        let overlays = image.overlays.iter().map(|name| load_overlay(&folders, name)).collect::<Result<Vec<_>>>()?;
        let overlays = OverlaySet::new(overlays)
            .or_refuse("mend the overlays; their format is in docs/formats/overlay-toml.md")?;
        Ok(Self { repo, image_dir, image, overlays })
    }

    /// Where the overlays lie.
    pub fn overlay_folders(&self) -> OverlayFolders {
        OverlayFolders::new(&self.image_dir, &self.repo)
    }

    /// The folder with our own units.
    pub fn units_dir(&self) -> PathBuf {
        self.repo.join("units")
    }

    /// Every Debian package that is asked for, sorted, each once.
    pub fn packages(&self) -> Vec<String> {
        let of_overlays = self.overlays.iter().flat_map(|overlay| &overlay.def.packages);
        let mut names: Vec<String> = of_overlays.chain(&self.image.packages).map(ToString::to_string).collect();
        names.push(self.image.kernel.to_string());
        names.sort();
        names.dedup();
        names
    }

    /// Package names that are satisfied without a package, of all overlays.
    pub fn provided(&self) -> Result<Vec<Provided>> {
        let rows = self.overlays.iter().flat_map(|overlay| &overlay.def.provided);
        rows.map(|row| Ok(Provided { package: row.package.as_str().parse()?, reason: row.reason.to_string() }))
            .collect()
    }

    /// debconf answers of all overlays, in the form of debconf-set-selections(1).
    pub fn debconf_answers(&self) -> String {
        let mut lines = String::new();
        for (question, answer) in self.overlays.iter().flat_map(|overlay| &overlay.def.debconf) {
            let question = question.to_string();
            let owner = question.split('/').next().unwrap_or_default();
            lines.push_str(&format!("{owner} {question} {} {}\n", answer.kind.as_str(), answer.value));
        }
        lines
    }

    /// Roots for jailed services, of all overlays.
    pub fn skeletons(&self) -> Vec<&SkeletonRow> {
        self.overlays.iter().flat_map(|overlay| &overlay.def.skeletons).collect()
    }

    /// Globs of paths that are never unpacked, of all overlays, and behind them those of what always stays.
    pub fn trim(&self) -> Vec<String> {
        let of_overlays = self.overlays.iter().flat_map(|overlay| &overlay.def.trim).map(ToString::to_string);
        of_overlays.chain(COPYRIGHT_STAYS.map(str::to_owned)).collect()
    }

    /// The operator keys that `image.toml` names; each glob is a file or `DIR/*.pub`.
    pub fn operator_keys(&self) -> Result<Vec<PathBuf>> {
        let mut keys = Vec::new();
        for pattern in &self.image.operator_keys {
            let path = self.image_dir.join(pattern);
            let Some(suffix) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix('*'))
            else {
                keys.push(path);
                continue;
            };
            let dir = path.parent().unwrap_or(&self.image_dir);
            if dir.is_dir() {
                for entry in fs::read_dir(dir)? {
                    let entry = entry?.path();
                    if entry.to_string_lossy().ends_with(suffix) {
                        keys.push(entry);
                    }
                }
            }
        }
        keys.sort();
        Ok(keys)
    }
}

/// `images/NAME` lies two folders below the repository; an image elsewhere names its repository by a folder above it.
fn find_repo(image_dir: &Path) -> Result<PathBuf> {
    let found = image_dir.ancestors().skip(1).find(|dir| dir.join("overlays").is_dir() && dir.join("units").is_dir());
    found.map(Path::to_owned).ok_or_else(|| {
        Failure::refused(format!("no folder above `{}` holds `overlays` and `units`", image_dir.display()))
            .hint("keep the image below the repository, e.g. in `images/`")
            .into()
    })
}

fn load_overlay(folders: &OverlayFolders, name: &OverlayName) -> Result<LoadedOverlay> {
    let dir = folders.of(name);
    let file = dir.join("overlay.toml");
    let text = fs::read_to_string(&file)
        .or_refuse(format!("image.toml names the overlay `{name}`: make it, or take the name out"))?;
    // Messages name the file as a person in the repository would.
    let shown = format!("overlays/{name}/overlay.toml");
    let def = OverlayDef::parse(&shown, &text)
        .or_refuse("mend overlay.toml; its format is in docs/formats/overlay-toml.md")?;
    let mut templates = BTreeMap::new();
    for entry in fs::read_dir(&dir)? {
        let entry = entry?;
        let file_name = entry.file_name().to_string_lossy().into_owned();
        if Path::new(&file_name).extension().is_some_and(|extension| extension == "j2") {
            let parsed =
                file_name.parse().with_context(|| format!("cannot use the template `{file_name}` of `{name}`"))?;
            templates.insert(parsed, fs::read_to_string(entry.path())?);
        }
    }
    Ok(LoadedOverlay { name: name.clone(), def, templates })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images")
    }

    #[test]
    fn both_images_of_the_repository_are_valid() {
        for name in ["webhost", "minimal"] {
            let definition = Definition::load(&images().join(name)).unwrap();
            assert_eq!(definition.image.name.as_str(), name);
            assert!(definition.packages().contains(&"systemd".to_owned()));
        }
    }

    #[test]
    fn no_overlay_can_leave_out_the_texts_of_licences() {
        let trim = Definition::load(&images().join("webhost")).unwrap().trim();
        let rules = debian::trim::TrimRules::parse(trim.iter().map(String::as_str)).unwrap();
        let excludes = |path: &str| rules.excludes(&path.parse().unwrap());
        assert!(excludes("usr/share/doc/bash/README") && excludes("usr/share/doc/bash/examples/copyright"));
        assert!(!excludes("usr/share/doc/bash/copyright") && !excludes("usr/share/doc/libc6"));
    }

    #[test]
    fn a_folder_without_a_definition_says_what_to_name() {
        let error = Definition::load(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(tools::failure::render(&error).contains("images/webhost"));
    }
}

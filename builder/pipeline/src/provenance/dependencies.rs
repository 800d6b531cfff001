//! Everything that a build reads, as rows with digests: packages, definition, overlays, units, agent, assets, public keys.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::Sha256Digest;
use debian::lock::Lock;
use fs_err as fs;
use walkdir::WalkDir;

use super::{LOCK, Resource, Use};
use crate::assets::StoredAsset;
use crate::definition::Definition;
use crate::packages::LockedPackages;
use crate::sbom;
use crate::stages::agent;

/// What a build reads.
#[derive(Debug)]
pub(crate) struct Materials<'a> {
    /// The image, its overlays and where they are.
    pub(crate) definition: &'a Definition,
    /// The packages of the root and of the tools tree.
    pub(crate) packages: &'a LockedPackages,
    /// The assets.
    pub(crate) assets: &'a [StoredAsset],
    /// Public keys and certificates, with the names that they have here.
    pub(crate) keys: Vec<(String, PathBuf)>,
}

impl Materials<'_> {
    /// All of it, in no order.
    pub(crate) fn resources(&self) -> Result<Vec<Resource>> {
        let definition = self.definition;
        let lock = self.packages.to_toml()?;
        let mut all = vec![Resource::used(Use::Definition, LOCK, Sha256Digest::of(lock.as_bytes()))];
        for name in ["image.toml", "host.example.toml"] {
            let path = definition.image_dir.join(name);
            if path.is_file() {
                all.push(file(Use::Definition, name, &path)?);
            }
        }
        all.extend(packages(Use::Root, &self.packages.root));
        all.extend(packages(Use::Tools, &self.packages.tools));
        all.extend(self.assets.iter().map(asset));
        for overlay in &definition.overlays {
            let dir = definition.overlay_folders().of(&overlay.name);
            all.extend(tree(Use::Overlay, &format!("overlays/{}", overlay.name), &dir)?);
        }
        all.extend(tree(Use::Units, "units", &definition.units_dir())?);
        all.extend(self.agent()?);
        for (name, path) in &self.keys {
            all.push(file(Use::Key, name, path)?);
        }
        Ok(all)
    }

    fn agent(&self) -> Result<Vec<Resource>> {
        let repo = &self.definition.repo;
        let mut all = Vec::new();
        for name in agent::FILES {
            all.push(file(Use::Agent, name, &repo.join(name))?);
        }
        for name in agent::CRATES {
            let name = format!("builder/{name}");
            let sources = tree(Use::Agent, &name, &repo.join(&name))?;
            all.extend(sources.into_iter().filter(|row| !row.name.starts_with(&format!("{name}/tests/"))));
        }
        for (name, version, digest) in sbom::registry_crates(&fs::read_to_string(repo.join("Cargo.lock"))?)? {
            let mut row = Resource::used(Use::Crate, &name, digest.parse()?);
            row.uri = Some(sbom::crate_purl(&name, &version));
            all.push(row.with_version(version));
        }
        Ok(all)
    }
}

fn packages(purpose: Use, lock: &Lock) -> impl Iterator<Item = Resource> {
    let suite = lock.suites.first().map(|suite| suite.name.to_string()).unwrap_or_default();
    lock.packages.iter().map(move |package| {
        let (name, version) = (package.name.to_string(), package.version.to_string());
        let mut row = Resource::used(purpose, &name, package.sha256);
        row.uri = Some(sbom::deb_purl(&name, &version, &package.architecture.to_string(), &suite));
        row.with_version(version)
    })
}

fn asset(stored: &StoredAsset) -> Resource {
    let mut row = Resource::used(Use::Asset, stored.asset.name.as_str(), stored.sha256);
    if let Some(annotations) = &mut row.annotations {
        annotations.into = Some(stored.asset.into.to_string());
    }
    row.uri = matches!(stored.asset.source, hostconf::AssetSource::Url(_)).then(|| stored.asset.source.to_string());
    row
}

/// Every file and link below `dir`. A directory that holds nothing shapes nothing but itself and is not listed.
fn tree(purpose: Use, name: &str, dir: &Path) -> Result<Vec<Resource>> {
    let mut rows = Vec::new();
    for entry in WalkDir::new(dir).min_depth(1).sort_by_file_name() {
        let entry = entry.with_context(|| format!("cannot read `{}`", dir.display()))?;
        if !entry.file_type().is_dir() {
            let below = entry.path().strip_prefix(dir)?.to_string_lossy();
            rows.push(file(purpose, &format!("{name}/{below}"), entry.path())?);
        }
    }
    Ok(rows)
}

fn file(purpose: Use, name: &str, path: &Path) -> Result<Resource> {
    let metadata = fs::symlink_metadata(path)?;
    let link = metadata.is_symlink();
    let digest = if link {
        Sha256Digest::of(fs::read_link(path)?.as_os_str().as_bytes())
    } else {
        Sha256Digest::of(&fs::read(path)?)
    };
    let mut row = Resource::used(purpose, name, digest);
    if let Some(annotations) = &mut row.annotations {
        annotations.link = link;
        // Of a mode the build takes this bit alone: a checkout keeps no other.
        annotations.executable = !link && metadata.permissions().mode() & 0o100 != 0;
    }
    Ok(row)
}

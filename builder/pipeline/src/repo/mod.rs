//! `casemate repo`: an update repository, which is plain files that any web server or object store hands out.
//!
//! `docs/formats/trust.md` has the layout. A reader sees a consistent repository at every moment: what a file names is
//! there before the file is, every file appears whole, and the one that changes (`newest.tar`) is one file, so that
//! nothing can be read half old and half new.

mod bundles;
mod check;
mod prune;
mod publish;
mod refresh;
mod statement;
mod term;
mod trust_chain;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::{ImageName, SigningKey};
use fs_err as fs;
use tools::{Failure, failure::HintExt as _};

use crate::build::Builder;
use crate::keys::{load_public_key, load_signing_key};

pub use check::{CheckRequest, Checked, CheckedChannel, check};
pub use prune::{Pruned, prune};
pub use publish::{PublishRequest, Published, publish};
pub use refresh::{RefreshRequest, refresh};
pub use term::Term;
pub use trust_chain::trust;

/// The statement of what is newest in a channel, and its signature.
pub(crate) const NEWEST: &str = "newest.tar";
/// The folder that the bundles of all channels are in; no channel has this name.
const BUNDLES: &str = "bundles";
/// Held while something is written.
const LOCK: &str = ".lock";

/// What image of a repository is in use here: its own folder.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    dir: PathBuf,
    image: ImageName,
}

impl Repository {
    pub(crate) fn new(repo: &Path, image: ImageName) -> Self {
        Self { dir: repo.join(image.as_str()), image }
    }

    /// Every image of a repository, sorted; at least one.
    pub(crate) fn all(repo: &Path, only: Option<&ImageName>) -> Result<Vec<Self>> {
        let names = folders(repo).or_refuse("name the folder of a repository; `casemate repo trust` begins one")?;
        let names = names.into_iter().filter(|name| only.is_none_or(|only| only == name));
        let found: Vec<Self> = names.map(|name| Self::new(repo, name)).filter(Self::is_there).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let what = only.map_or_else(|| "an image".to_owned(), |image| format!("the image `{image}`"));
        Err(Failure::refused(format!("`{}` holds no trust root of {what}", repo.display()))
            .hint("begin with `casemate repo trust trust-root-1.json --repo DIR`, or name the right folder")
            .into())
    }

    /// Also one whose trust roots were lost: what is wrong with it must be said.
    fn is_there(&self) -> bool {
        self.has_trust_root() || self.bundles().is_dir()
    }

    /// The channels of this image, sorted.
    pub(crate) fn channels(&self) -> Result<Vec<ImageName>> {
        let names = folders(&self.dir)?.into_iter();
        Ok(names.filter(|name| self.newest(name).is_file()).collect())
    }

    pub(crate) fn newest(&self, channel: &ImageName) -> PathBuf {
        self.dir.join(channel.as_str()).join(NEWEST)
    }

    pub(crate) fn bundles(&self) -> PathBuf {
        self.dir.join(BUNDLES)
    }

    /// Waits until nobody else writes. Two writers at once would make two statements with one number, and hosts would
    /// refuse both.
    pub(crate) fn lock(&self) -> Result<std::fs::File> {
        make_folder(&self.dir)?;
        let path = self.dir.join(LOCK);
        let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("cannot open `{}`", path.display()))?;
        file.lock().with_context(|| format!("cannot lock `{}`", path.display()))?;
        Ok(file)
    }
}

/// Makes a folder that outlives a power cut, before anything is in it.
fn make_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(fs::File::open(parent)?.sync_all()?)
}

/// The folders below `dir` whose names are ones that images and channels can have, sorted.
fn folders(dir: &Path) -> Result<Vec<ImageName>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok())
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The keys that sign, and whether anybody with this cache has them.
#[derive(Debug)]
pub struct Signers {
    /// The keys.
    pub keys: Vec<SigningKey>,
    /// Whether they are the development keys.
    pub development: bool,
}

impl Builder {
    /// Reads the release keys that were named; without one the development key of this cache, where that is allowed.
    pub fn release_signers(&self, paths: &[PathBuf], development: bool) -> Result<Signers> {
        if !paths.is_empty() {
            let keys = paths.iter().map(|path| load_signing_key(path)).collect::<Result<_>>();
            let keys = keys.or_refuse("name private release keys, e.g. `--key keys/release.key`")?;
            return Ok(Signers { keys, development: false });
        }
        let dir = self.cache_dir().join("development-keys");
        if !development {
            return Err(Failure::refused("no release key was given to sign with")
                .hint("name it with `--key FILE`; only for trying out: `--development` takes the development key")
                .into());
        }
        let key = load_signing_key(&dir.join("release.key"))
            .or_refuse("name a key with `--key FILE`; a build without `--keys` makes development keys")?;
        self.progress().note("no key was given: signed with the DEVELOPMENT release key of this cache");
        Ok(Signers { keys: vec![key], development: true })
    }

    /// Publishes an output. With development keys the repository gets the trust root that a build with them seals, if
    /// it has none.
    pub fn publish(&self, request: &PublishRequest<'_>) -> Result<Published> {
        if request.signers.development {
            let public = load_public_key(&self.cache_dir().join("development-keys/release.pub"))?;
            trust_chain::begin_development(request, public)?;
        }
        let stage = self.progress().stage("publish");
        let published = publish(request, self.settings.now)?;
        stage.done();
        Ok(published)
    }

    /// Signs the statements of a repository again.
    pub fn refresh(&self, request: &RefreshRequest<'_>) -> Result<Vec<Published>> {
        refresh(request, self.settings.now)
    }

    /// Reads a repository as a host would.
    pub fn check_repo(&self, request: &CheckRequest<'_>) -> Result<Vec<Checked>> {
        let stage = self.progress().stage("check");
        let checked = check(request, self.settings.now)?;
        stage.done();
        Ok(checked)
    }
}

#[cfg(test)]
mod tests;

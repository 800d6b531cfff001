//! `casemate repo check`: everything read back as a host would, and every problem named at once.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bundle::{Clock, Context, ImageName, Limit, Manifest, Newest, Sha256Digest, TrustRoot};
use tools::{Failure, failure::HintExt as _};

use super::Repository;
use super::bundles::Measured;
use crate::host_document::signature_path;
use crate::verify_output::signed_file;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct CheckRequest<'a> {
    /// The folder of the repository.
    pub repo: &'a Path,
    /// The image; absent: all.
    pub image: Option<&'a ImageName>,
    /// The trust root that hosts begin with; absent: version 1 of the repository, which is believed as it is.
    pub trust_root: Option<&'a Path>,
}

/// An image of a good repository.
#[derive(Debug)]
pub struct Checked {
    /// The last trust root.
    pub root: TrustRoot,
    /// The channels, sorted.
    pub channels: Vec<CheckedChannel>,
}

/// A good channel.
#[derive(Debug)]
pub struct CheckedChannel {
    /// Its statement.
    pub newest: Newest,
    /// Seconds until the statement ends.
    pub seconds_left: u64,
    /// The manifest of the version.
    pub manifest: Manifest,
}

/// Reads a repository as a host would. `now` is in seconds since 1970.
pub fn check(request: &CheckRequest<'_>, now: u64) -> Result<Vec<Checked>> {
    let (mut problems, mut good) = (Vec::new(), Vec::new());
    for repository in Repository::all(request.repo, request.image)? {
        match check_trust(&repository, request.trust_root) {
            Ok(root) => good.push(check_channels(&repository, root, now, &mut problems)),
            Err(error) => problems.push(format!("{}: {error:#}", repository.image)),
        }
    }
    if problems.is_empty() {
        return Ok(good);
    }
    let message = format!("`{}` is not good:\n  {}", request.repo.display(), problems.join("\n  "));
    Err(Failure::refused(message)
        .hint("what has ended: `casemate repo refresh`; what is damaged: fetch it from where it was published, or publish a new version")
        .into())
}

fn check_channels(repository: &Repository, root: TrustRoot, now: u64, problems: &mut Vec<String>) -> Checked {
    let mut channels = Vec::new();
    match repository.channels() {
        Ok(names) if names.is_empty() => problems.push(format!("{}: there is no channel yet", repository.image)),
        Ok(names) => {
            for name in names {
                match check_channel(repository, &name, &root, now) {
                    Ok(channel) => channels.push(channel),
                    Err(error) => problems.push(format!("{} {name}: {error:#}", repository.image)),
                }
            }
        }
        Err(error) => problems.push(format!("{}: {error:#}", repository.image)),
    }
    Checked { root, channels }
}

/// The last trust root, as a host finds it from the one that it begins with.
fn check_trust(repository: &Repository, begin: Option<&Path>) -> Result<TrustRoot> {
    let (roots, last) = repository.some_trust_roots()?;
    let Some(path) = begin else {
        return Ok(last);
    };
    let document = signed_file::read(path, Limit::Document(Context::TrustRoot))?;
    let envelope = signed_file::read(&signature_path(path), Limit::Signature)?;
    let begin = TrustRoot::sealed(&document, &envelope)
        .with_context(|| format!("cannot begin with `{}`", path.display()))
        .or_refuse("name the trust root of the image, `/usr/share/casemate/trust-root.json`")?;
    let there = roots.iter().find(|root| root.version == begin.version);
    ensure!(
        there == Some(&*begin),
        "the repository has another trust root {} than `{}`",
        begin.version,
        path.display()
    );
    Ok(last)
}

fn check_channel(repository: &Repository, channel: &ImageName, root: &TrustRoot, now: u64) -> Result<CheckedChannel> {
    let clock = Clock::Synchronised(now);
    let newest = repository.judge(channel, root, clock)?.newest.into_inner();
    let bundle = repository.measure(&newest.bundle.file, root)?;
    check_bundle(&newest, &bundle)?;
    bundle.manifest.freshness(clock)?;
    let beside: PathBuf = repository.beside(&newest.bundle.file, "manifest.json");
    let found = Sha256Digest::of(&signed_file::read(&beside, Limit::Document(Context::Manifest))?);
    ensure!(found == bundle.digest, "`{}` is not the manifest of its bundle", beside.display());
    Ok(CheckedChannel { seconds_left: newest.expires.saturating_sub(now), manifest: bundle.manifest, newest })
}

fn check_bundle(newest: &Newest, bundle: &Measured) -> Result<()> {
    let (said, found) = (&newest.bundle, &bundle.part);
    ensure!(
        (said.size, said.sha256) == (found.size, found.sha256),
        "`{}` has {} bytes and SHA-256 {}, the statement says {} and {}",
        said.file,
        found.size,
        found.sha256,
        said.size,
        said.sha256
    );
    ensure!(newest.manifest == bundle.digest, "`{}` holds another manifest than the statement names", said.file);
    let (version, manifest) = (&newest.version, &bundle.manifest);
    ensure!(*version == manifest.version, "the statement is about {version}, the bundle holds {}", manifest.version);
    Ok(())
}

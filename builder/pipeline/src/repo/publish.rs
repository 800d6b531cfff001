//! `casemate repo publish`: an output becomes the newest version of a channel.
//!
//! The order is what keeps readers safe: the bundle is there, whole and read back, before the statement that names it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::{
    Clock, Context, Envelope, ImageName, ImageVersion, Limit, MANIFEST_FILE, Manifest, Newest, SIGNATURE_FILE,
    SchemaVersion, TrustRoot, countersign,
};
use formats::version_order;
use tools::{Failure, failure::HintExt as _};

use super::bundles::{Measured, Release};
use super::{BUNDLES, Repository, Signers, Term};
use crate::proof::Proof;
use crate::verify_output::{signed_file, signed_manifest};

const NAME_OUTPUT: &str = "name the output directory of a build, e.g. out/webhost";

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct PublishRequest<'a> {
    /// The image's output directory.
    pub output: &'a Path,
    /// The folder of the repository.
    pub repo: &'a Path,
    /// The channel.
    pub channel: &'a ImageName,
    /// Oldest version that may still be installed; absent: as before.
    pub floor: Option<&'a ImageVersion>,
    /// How long the statement holds; absent: as long as the last, or 30 days.
    pub term: Option<Term>,
    /// The number of the statement; absent: one more than that of the last.
    pub sequence: Option<u64>,
    /// The release keys.
    pub signers: &'a Signers,
    /// What must vouch for the image.
    pub proof: Proof,
    /// Whether an image of development keys may be published.
    pub development: bool,
}

/// What a channel says now.
#[derive(Debug)]
pub struct Published {
    /// The statement.
    pub newest: Newest,
    /// Whether it was written; not so where nothing changed.
    pub written: bool,
}

/// Publishes an output. `now` is in seconds since 1970.
pub fn publish(request: &PublishRequest<'_>, now: u64) -> Result<Published> {
    if request.channel.as_str() == BUNDLES {
        return Err(Failure::refused(format!("no channel can be called `{BUNDLES}`"))
            .hint("choose another name")
            .into());
    }
    let repository = Repository::new(request.repo, image_of(request.output)?);
    let _lock = repository.lock_existing()?;
    let (roots, root) = repository.some_trust_roots()?;
    check_signers(request.signers, &root)?;
    let manifest = check_output(request, &root, now)?;
    let last = repository.last_statement(request.channel, &roots)?;
    let order = compare_with_last(&manifest, last.as_ref())?;
    let floor = choose_floor(request, &manifest, last.as_ref())?;
    let bundle = put_bundle(&repository, request, &manifest, &root)?;
    if order.is_eq()
        && let Some(last) = &last
    {
        check_same(&bundle, last)?;
        if last.floor == floor && last.bundle == bundle.part && request.sequence.is_none() {
            return Ok(Published { newest: last.clone(), written: false });
        }
    }
    let term = request.term.unwrap_or_else(|| last_term(last.as_ref()));
    let newest = Newest {
        schema: SchemaVersion,
        image: manifest.image.clone(),
        channel: request.channel.clone(),
        sequence: choose_sequence(request.sequence, last.as_ref())?,
        issued: now,
        expires: now.saturating_add(term.seconds()),
        version: manifest.version.clone(),
        manifest: bundle.digest,
        bundle: bundle.part,
        floor,
    };
    repository.write_statement(&newest, &root, &request.signers.keys)?;
    Ok(Published { newest, written: true })
}

impl Repository {
    /// Nothing is made where nothing is published: a mistyped `--repo` leaves no folder behind.
    pub(super) fn lock_existing(&self) -> Result<std::fs::File> {
        self.some_trust_roots()?;
        self.lock()
    }
}

/// The image of an output directory, by its own word: it says which trust root has to vouch for it.
pub(super) fn image_of(output: &Path) -> Result<ImageName> {
    let bytes =
        signed_file::read(&output.join(MANIFEST_FILE), Limit::Document(Context::Manifest)).or_refuse(NAME_OUTPUT)?;
    Ok(Manifest::parse_unverified(&bytes).or_refuse(NAME_OUTPUT)?.image)
}

/// Before anything is written: keys that cannot sign the statement are no reason to leave a bundle behind.
pub(super) fn check_signers(signers: &Signers, root: &TrustRoot) -> Result<()> {
    let ids: BTreeSet<_> = signers.keys.iter().map(|key| key.public().id()).collect();
    let good = ids.iter().filter(|id| root.release.holds(**id)).count();
    if good >= root.release.threshold().get() {
        return Ok(());
    }
    let needed = root.release.threshold();
    let message = format!(
        "{good} of {needed} needed release keys of trust root {} were given: no host would believe it",
        root.version
    );
    Err(Failure::refused(message)
        .hint("sign with the release keys of the last trust root: `--key FILE`, once for each")
        .into())
}

fn check_output(request: &PublishRequest<'_>, root: &TrustRoot, now: u64) -> Result<Manifest> {
    let trusted = root.release.trusted();
    let (manifest, digest) = signed_manifest(request.output, &trusted)
        .with_context(|| format!("`{}` is not to be published", request.output.display()))
        .or_refuse("build with a release key of the repository's last trust root: `casemate build --keys DIR`")?;
    if manifest.development && !request.development {
        return Err(Failure::refused("this image was made with development keys: it is for trying out only")
            .hint("build it with `--keys DIR`; for a repository to try things out give `--development`")
            .into());
    }
    manifest
        .freshness(Clock::Synchronised(now))
        .or_refuse("build a new version, or give it more days in image.toml")?;
    request
        .proof
        .check(request.output, &trusted, digest)
        .context("this image is not proven")
        .or_refuse("run `casemate test` on this output, or take the risk with `--untested`")?;
    Ok(manifest)
}

/// A channel never goes back. Versions that differ as text and are equal in order are no news either.
fn compare_with_last(manifest: &Manifest, last: Option<&Newest>) -> Result<std::cmp::Ordering> {
    let Some(last) = last else {
        return Ok(std::cmp::Ordering::Greater);
    };
    let order = version_order::compare(&manifest.version, &last.version);
    if order.is_gt() || manifest.version == last.version {
        return Ok(order);
    }
    let message =
        format!("version {} is not newer than {}, which `{}` has", manifest.version, last.version, last.channel);
    Err(Failure::refused(message)
        .hint("give the build a newer version in image.toml; to take a bad version back, publish the good one under a newer version")
        .into())
}

fn check_same(bundle: &Measured, last: &Newest) -> Result<()> {
    if bundle.digest == last.manifest {
        return Ok(());
    }
    let message = format!("`{}` names another build of version {}", last.channel, last.version);
    Err(Failure::refused(message).hint("give the build a new version in image.toml").into())
}

/// The floor rises with what the manifest and the command line say, and never sinks: hosts have risen with it.
fn choose_floor(
    request: &PublishRequest<'_>,
    manifest: &Manifest,
    last: Option<&Newest>,
) -> Result<Option<ImageVersion>> {
    let before = last.and_then(|last| last.floor.as_ref());
    if let (Some(asked), Some(before)) = (request.floor, before)
        && version_order::compare(asked, before).is_lt()
    {
        return Err(Failure::refused(format!("the floor {asked} is older than {before}, which was published already"))
            .hint(format!("name {before} or a newer one with `--floor`, or leave it out"))
            .into());
    }
    let named = [request.floor, manifest.floor.as_ref(), before];
    let floor = named.into_iter().flatten().max_by(|left, right| version_order::compare(left, right));
    if let Some(floor) = floor.filter(|floor| version_order::compare(floor, &manifest.version).is_gt()) {
        let message = format!("the floor {floor} is newer than version {}: nobody could install it", manifest.version);
        return Err(Failure::refused(message).hint("name a floor that is not newer than the version").into());
    }
    Ok(floor.cloned())
}

/// The manifest gets the signatures of all keys that are here: a trust root may ask for more than the one of the build.
fn put_bundle(
    repository: &Repository,
    request: &PublishRequest<'_>,
    manifest: &Manifest,
    root: &TrustRoot,
) -> Result<Measured> {
    let document = signed_file::read(&request.output.join(MANIFEST_FILE), Limit::Document(Context::Manifest))?;
    let envelope = signed_file::read(&request.output.join(SIGNATURE_FILE), Limit::Signature)?;
    let mut envelope = Envelope::parse(&envelope)?;
    for key in request.signers.keys.iter().filter(|key| root.release.holds(key.public().id())) {
        envelope = countersign(&document, Context::Manifest, Some(envelope), key)?;
    }
    let envelope = envelope.to_json();
    let release = Release { output: request.output, manifest, document: &document, envelope: envelope.as_bytes() };
    repository.put_bundle(&release, root)
}

fn choose_sequence(asked: Option<u64>, last: Option<&Newest>) -> Result<u64> {
    let next = next_sequence(last)?;
    match asked {
        Some(asked) if asked < next => Err(Failure::refused(format!("number {asked} was given already"))
            .hint(format!("name {next} or a higher one with `--sequence`, or leave it out"))
            .into()),
        asked => Ok(asked.unwrap_or(next)),
    }
}

/// One more than the last.
pub(super) fn next_sequence(last: Option<&Newest>) -> Result<u64> {
    last.map_or(Some(1), |last| last.sequence.checked_add(1))
        .context("there is no number after that of the last statement")
        .or_refuse("exchange the release keys with the next trust root, then remove `newest.tar` and publish again")
}

/// As long as the last statement held.
pub(super) fn last_term(last: Option<&Newest>) -> Term {
    const DAY: u64 = 24 * 60 * 60;
    last.map_or(Term::between(0, 30 * DAY), |last| Term::between(last.issued, last.expires))
}

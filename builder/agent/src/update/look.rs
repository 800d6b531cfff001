//! What a repository says is newest: asked, judged, and remembered before anything is done with it
//! (`docs/formats/trust.md`).

use bundle::Clock;
use bundle::Context;
use bundle::Freshness;
use bundle::ImageName;
use bundle::ImageVersion;
use bundle::Judge;
use bundle::Limit;
use bundle::Newest;
use bundle::Sha256Digest;
use bundle::TrustRoot;
use bundle::Verified;
use bundle::read_newest;
use formats::version_order;

use super::Repository;
use super::Running;
use super::State;
use super::Target;
use super::UpdateError;
use super::preflight;
use super::repository::read_small;
use super::state::AcceptedStatement;
use super::state::Offered;
use super::trust;
use crate::host::Host;

/// Trust roots that are followed at one time. Keys are exchanged once a year or so.
const MOST_ROOTS: u32 = 1000;
/// Largest `newest.tar`, in bytes: a statement, its envelope, and the archive around them.
const LARGEST_NEWEST: usize = 256 * 1024;

/// What is newest, as far as this host believes it.
#[derive(Debug)]
pub struct Offer {
    /// The statement.
    pub newest: Verified<Newest>,
    /// Whether it is known that it still holds.
    pub freshness: Freshness,
    /// What that version is to this host.
    pub standing: Standing,
    /// Since when it is offered, in seconds since 1970; nothing where the clock is not proven.
    pub since: Option<u64>,
}

/// What the newest version is to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It runs.
    Runs,
    /// A newer one runs.
    Older,
    /// It was tried here and is bad.
    Failed,
    /// It lies in the spare slot and is started next.
    Waits,
    /// It is to be had.
    New,
}

/// Asks the repository: first who may speak, then what is newest.
pub fn look(
    host: Host<'_>,
    target: &Target,
    repository: &dyn Repository,
    channel: &ImageName,
) -> Result<Offer, UpdateError> {
    let root = follow_trust_roots(host, repository)?;
    let state = State::read(host.paths)?;
    let name = format!("{channel}/newest.tar");
    let bytes = read_small(repository, &name, Limit::Bytes(LARGEST_NEWEST))?
        .ok_or_else(|| UpdateError::Fetch { name, source: std::io::ErrorKind::NotFound.into() })?;
    let (statement, signatures) = read_newest(&*bytes).map_err(UpdateError::NewestFile)?;
    let keys = digest_of_keys(&root);
    // Whoever had other release keys could have counted up to the end of all numbers.
    let seen = state.accepted.get(channel).filter(|accepted| accepted.keys == keys).map(|accepted| &accepted.seen);
    let clock = preflight::clock(host.paths);
    let accepted = Judge { root: &root, channel, seen, clock }.accept(&statement, &signatures)?;
    let before = state.clone();
    let mut state = state;
    state.accepted.insert(channel.clone(), AcceptedStatement { seen: accepted.seen, keys });
    state.offered = offered(state.offered, &accepted.newest.version, clock);
    if state != before {
        state.write(host)?;
    }
    let standing = standing(host, target, &state, &accepted.newest.version)?;
    let since = state.offered.filter(|offered| offered.version == accepted.newest.version).map(|offered| offered.since);
    Ok(Offer { newest: accepted.newest, freshness: accepted.freshness, standing, since })
}

/// Goes from the current trust root to the last one, and keeps those between.
fn follow_trust_roots(host: Host<'_>, repository: &dyn Repository) -> Result<Verified<TrustRoot>, UpdateError> {
    let mut root = trust::current(host.paths)?;
    for _ in 0..MOST_ROOTS {
        let name = format!("trust-root-{}.json", root.version.get().saturating_add(1));
        let Some(document) = read_small(repository, &name, Limit::Document(Context::TrustRoot))? else {
            return Ok(root);
        };
        let signatures = read_small(repository, &format!("{name}.sig"), Limit::Signature)?.unwrap_or_default();
        let next =
            root.successor(&document, &signatures).map_err(|source| UpdateError::NextTrustRoot { name, source })?;
        trust::keep(host, next.version, &document, &signatures)?;
        root = next;
    }
    Err(UpdateError::EndlessTrustRoots(MOST_ROOTS))
}

/// By which a host knows the release keys again.
fn digest_of_keys(root: &TrustRoot) -> Sha256Digest {
    let mut ids: Vec<String> = root.release.keys().iter().map(|key| key.id().to_string()).collect();
    ids.sort();
    Sha256Digest::of(ids.join("\n").as_bytes())
}

/// A version is offered since the statement that named it first, as long as those that follow name it too.
fn offered(before: Option<Offered>, version: &ImageVersion, clock: Clock) -> Option<Offered> {
    match (before, clock) {
        (Some(before), _) if before.version == *version => Some(before),
        (_, Clock::Synchronised(since)) => Some(Offered { version: version.clone(), since }),
        (_, Clock::Unproven) => None,
    }
}

fn standing(host: Host<'_>, target: &Target, state: &State, version: &ImageVersion) -> Result<Standing, UpdateError> {
    let running = Running::read(host.paths)?;
    if *version == running.version {
        return Ok(Standing::Runs);
    }
    if version_order::compare(version, &running.version).is_lt() {
        return Ok(Standing::Older);
    }
    let entries = target.esp.entries()?;
    let mut own = entries.iter().filter(|each| each.entry.image == running.image && each.entry.version == *version);
    Ok(match own.next() {
        Some(found) if !found.entry.is_bad() => Standing::Waits,
        Some(_) => Standing::Failed,
        None if state.failed.contains_key(version) => Standing::Failed,
        None => Standing::New,
    })
}

//! `casemate repo refresh`: the same statements with a later end, for a timer.

use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::{Clock, ImageName, Newest, TrustRoot};
use tools::{Failure, failure::HintExt as _};

use super::publish::{check_signers, last_term, next_sequence};
use super::{Published, Repository, Signers, Term};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct RefreshRequest<'a> {
    /// The folder of the repository.
    pub repo: &'a Path,
    /// The image; absent: all.
    pub image: Option<&'a ImageName>,
    /// The channel; absent: all.
    pub channel: Option<&'a ImageName>,
    /// How long the statements hold; absent: as long as before.
    pub term: Option<Term>,
    /// The release keys.
    pub signers: &'a Signers,
}

/// Signs the statements of the channels again. `now` is in seconds since 1970.
pub fn refresh(request: &RefreshRequest<'_>, now: u64) -> Result<Vec<Published>> {
    let mut refreshed = Vec::new();
    for repository in Repository::all(request.repo, request.image)? {
        let _lock = repository.lock()?;
        let (roots, root) = repository.some_trust_roots()?;
        check_signers(request.signers, &root)?;
        for channel in repository.channels()? {
            if request.channel.is_none_or(|only| *only == channel) {
                let last = repository.last_statement(&channel, &roots)?.context("there is no statement")?;
                refreshed.push(refresh_one(&repository, last, request, &root, now)?);
            }
        }
    }
    if refreshed.is_empty() {
        return Err(Failure::refused("there is no such channel")
            .hint("`casemate repo check` lists the channels; `casemate repo publish` begins one")
            .into());
    }
    Ok(refreshed)
}

fn refresh_one(
    repository: &Repository,
    last: Newest,
    request: &RefreshRequest<'_>,
    root: &TrustRoot,
    now: u64,
) -> Result<Published> {
    let term = request.term.unwrap_or_else(|| last_term(Some(&last)));
    let sequence = next_sequence(Some(&last))?;
    let newest = Newest { sequence, issued: now, expires: now.saturating_add(term.seconds()), ..last };
    // A statement over a version that no host would install keeps an alarm from ringing.
    check_head(repository, &newest, root, now)
        .with_context(|| format!("`{}` names version {}", newest.channel, newest.version))
        .or_refuse("publish a version that is built with a release key of the last trust root")?;
    repository.write_statement(&newest, root, &request.signers.keys)?;
    Ok(Published { newest, written: true })
}

fn check_head(repository: &Repository, newest: &Newest, root: &TrustRoot, now: u64) -> Result<()> {
    let (manifest, digest) = repository.read_head(&newest.bundle.file, root)?;
    anyhow::ensure!(digest == newest.manifest, "the bundle holds another manifest than the statement names");
    manifest.freshness(Clock::Synchronised(now))?;
    Ok(())
}

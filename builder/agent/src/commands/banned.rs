//! `casemate-agent banned`: Apache asks it by `RewriteMap`, line by line, for as long as Apache runs.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::banned::Bans;
use crate::banned::answer;
use crate::host::Host;

/// Answers until standard input ends.
pub(super) fn run(host: Host<'_>) -> anyhow::Result<ExitCode> {
    let mut bans = Bans::new(host.paths.banned());
    answer(std::io::stdin().lock(), std::io::stdout().lock(), &mut bans).context("whoever asked is gone")?;
    Ok(ExitCode::SUCCESS)
}

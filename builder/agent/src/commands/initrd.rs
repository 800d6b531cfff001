//! `casemate-agent initrd`: run once by `casemate-state.service` in the initrd.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::host::Host;
use crate::initrd;

/// Mounts state and hands over the machine id.
pub(super) fn run(host: Host<'_>) -> anyhow::Result<ExitCode> {
    initrd::run(host).context("cannot prepare state")?;
    Ok(ExitCode::SUCCESS)
}

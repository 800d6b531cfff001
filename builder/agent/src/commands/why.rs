//! `casemate-agent why`: why versions that were tried on this host do not run.

use std::process::ExitCode;

use anyhow::Result;
use tools::ResultExt as _;

use super::print;
use crate::host::Host;
use crate::update::Kept;
use crate::update::State;

/// Prints every reason that is known; needs neither disk nor ESP.
pub(super) fn run(host: Host<'_>) -> Result<ExitCode> {
    let state = State::read(host.paths).remedied()?;
    if state.failed.is_empty() {
        print("no version has failed on this host\n")?;
    }
    for (version, failure) in &state.failed {
        print(&format!("{version}, started {} times:\n", failure.starts))?;
        for reason in &failure.reasons {
            print(&format!("  {reason}\n"))?;
        }
    }
    for aside in Kept::read(host.paths).remedied()?.aside.iter().filter(|aside| aside.now.exists()) {
        print(&format!("{}\n", aside.text()))?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `casemate-agent render`: the configuration of the accepted document, made again or compared.

use std::process::ExitCode;

use tools::Failure;

use super::lock;
use super::print;
use crate::host::Host;
use crate::personalise;
use crate::rendering;

/// What is done with the rendered files.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Write nothing; name the files that differ from those in use, and exit 1 if there are any
    #[arg(long)]
    check: bool,
}

/// Renders the document that was accepted last.
pub(super) fn run(host: Host<'_>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let _lock = lock(host)?;
    let work = personalise::accepted_work(host).map_err(|reasons| {
        Failure::refused(reasons.join("\n")).hint("`casemate-agent status` says what the host waits for")
    })?;
    if arguments.check {
        let differences = rendering::differences(host, &work.files);
        print(&differences.iter().fold(String::new(), |text, name| text + name + "\n"))?;
        return Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    rendering::render(host, &work)?;
    Ok(ExitCode::SUCCESS)
}

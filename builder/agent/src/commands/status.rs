//! `casemate-agent status`: the last status with the addresses and keys of this moment.

use std::fs;
use std::process::ExitCode;

use anyhow::Context as _;
use tools::failure::HintExt as _;

use super::print;
use crate::facts;
use crate::host::Host;
use crate::screen;
use crate::status::Status;

/// How the status is shown.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the status; exit 1 when something is wrong.
pub(super) fn run(host: Host<'_>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut status = read(host)?;
    facts::look(host.paths, &mut status);
    show(&status, arguments.json)?;
    Ok(if status.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads what the last verb has left.
pub(super) fn read(host: Host<'_>) -> anyhow::Result<Status> {
    let path = host.paths.status();
    let text = fs::read(&path)
        .with_context(|| format!("cannot read `{}`", path.display()))
        .or_refuse("the host is not personalised yet: `journalctl -u casemate-personalise`")?;
    serde_json::from_slice(&text).with_context(|| format!("cannot understand `{}`", path.display()))
}

/// Prints for a person or for a machine.
pub(super) fn show(status: &Status, json: bool) -> anyhow::Result<()> {
    if json {
        return print(&(serde_json::to_string_pretty(status)? + "\n"));
    }
    print(&screen::full(status))
}

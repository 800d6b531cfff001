//! `casemate-agent rollback`: the version in the other slot starts next.

use std::process::ExitCode;

use anyhow::Result;
use tools::ResultExt as _;

use super::update::lock;
use super::update::say;
use crate::host::Host;
use crate::update;
use crate::update::Target;

/// What is wished.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Also data that the other version could not read goes back to what it was; what was written since is set aside
    #[arg(long)]
    with_data: bool,
}

/// Goes back; what runs now is not tried again unless somebody asks for it.
pub(super) fn run(host: Host<'_>, arguments: &Arguments) -> Result<ExitCode> {
    let _locks = lock(host)?;
    let version = update::rollback(host, &Target::of(host).remedied()?, arguments.with_data, &say).remedied()?;
    say(&format!("{version} starts with the next restart: `systemctl reboot`"));
    Ok(ExitCode::SUCCESS)
}

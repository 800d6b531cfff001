//! `casemate-agent rollback`: the version in the other slot starts next.

use std::process::ExitCode;

use anyhow::Result;
use tools::ResultExt as _;

use super::update::lock;
use super::update::say;
use crate::host::Host;
use crate::update;
use crate::update::Target;

/// Goes back; what runs now is not tried again unless somebody asks for it.
pub(super) fn run(host: Host<'_>) -> Result<ExitCode> {
    let _locks = lock(host)?;
    let version = update::rollback(host, &Target::of(host).remedied()?, &say).remedied()?;
    say(&format!("{version} starts with the next restart: `systemctl reboot`"));
    Ok(ExitCode::SUCCESS)
}

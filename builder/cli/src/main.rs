//! `casemate`: from an image definition to a signed, read-only Debian host.

mod acceptance;
mod commands;
mod context;
mod guest;
mod options;
mod output;

use std::process::ExitCode;

use clap::Parser as _;
use tools::failure::HintExt as _;
use tools::user_namespace::Entered;

/// What helps wherever the disk was found full.
const MAKE_ROOM: &str = "make room there (`casemate cache prune --to SIZE` makes the cache smaller), or use another place with \
    `--cache DIR` or `--output DIR`; the same command then goes on from what is finished";

fn main() -> ExitCode {
    // First of all: the sandbox runs this same binary again to make itself.
    tools::enter_if_requested();
    // While there is one thread: what is mounted later is seen by nobody else and goes with this process.
    match tools::user_namespace::enter() {
        Ok(Entered::Inside) => {}
        Ok(Entered::Ended(code)) => return code,
        Err(error) => return tools::report(&error),
    }
    let options = options::Options::parse();
    // From here on there is something to clear away when somebody says stop. A machine of `run` is stopped in no other way.
    if !matches!(options.verb, commands::Verb::Run(_))
        && let Err(error) = tools::interrupt::watch()
    {
        return tools::report(&error.into());
    }
    match commands::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => tools::report(&advise_on_full_disk(error)),
    }
}

fn advise_on_full_disk(error: anyhow::Error) -> anyhow::Error {
    if !tools::full_disk::is_behind(&error) {
        return error;
    }
    let failure: anyhow::Result<()> = Err(error.context("the disk is full")).or_blame_environment(MAKE_ROOM);
    failure.err().unwrap_or_else(|| anyhow::anyhow!("the disk is full"))
}

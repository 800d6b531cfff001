//! `casemate`: from an image definition to a signed, read-only Debian host.

mod acceptance;
mod commands;
mod context;
mod guest;
mod options;
mod output;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // First of all: the sandbox runs this same binary again to make itself.
    tools::enter_if_requested();
    // While there is one thread: what is mounted later is seen by nobody else and goes with this process.
    if let Err(error) = tools::namespace::enter_private_mounts() {
        return tools::report(&anyhow::Error::from(error));
    }
    let options = options::Options::parse();
    match commands::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => tools::report(&error),
    }
}

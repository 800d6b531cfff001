//! `casemate`: from an image definition to a signed, read-only Debian host.

mod commands;
mod context;
mod options;
mod output;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // First of all: the sandbox runs this same binary again to make itself.
    tools::enter_if_requested();
    let options = options::Options::parse();
    match commands::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => tools::report(&error),
    }
}

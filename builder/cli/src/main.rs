//! `casemate`: from an image definition to a signed, read-only Debian host.

mod acceptance;
mod commands;
mod context;
mod guest;
mod options;
mod output;

use std::process::ExitCode;

use clap::Parser as _;
use tools::user_namespace::Entered;

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
    match commands::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => tools::report(&error),
    }
}

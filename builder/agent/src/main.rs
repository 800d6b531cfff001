//! `casemate-agent`: turns a signed document into a running host. See `docs/architecture.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::commands::run()
}

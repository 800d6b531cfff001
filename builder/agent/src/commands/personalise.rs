//! `casemate-agent personalise`: the service that turns a sealed image into this host.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tools::Failure;

use super::lock;
use crate::console;
use crate::host::Host;
use crate::paths::Paths;
use crate::personalise;
use crate::status::Phase;

/// A document may be put on the host at any time.
const PAUSE: Duration = Duration::from_secs(10);

/// How long it is tried.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Try once, and exit 1 when the host cannot be personalised
    #[arg(long)]
    once: bool,
}

/// Tries until it succeeds. Waiting is not a failure of the service, so it does not end and start again.
pub(super) fn run(host: Host<'_>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    refuse_another_root(host.paths)?;
    loop {
        let lock = lock(host)?;
        let mut status = personalise::attempt(host);
        console::publish(host.paths, host.files, &status)?;
        if status.phase == Phase::Personalised {
            personalise::start_services(host, &mut status);
        }
        if status.phase == Phase::Waiting {
            console::publish(host.paths, host.files, &status)?;
        }
        drop(lock);
        match status.phase {
            Phase::Waiting if arguments.once => return Ok(ExitCode::FAILURE),
            Phase::Waiting => std::thread::sleep(PAUSE),
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Setup steps are programs that change the machine they run on, whatever tree the files are in.
fn refuse_another_root(paths: &Paths) -> Result<(), Failure> {
    if paths.root() == Path::new("/") {
        return Ok(());
    }
    let message = format!("`personalise` works on `/` only, not on `{}`", paths.root().display());
    Err(Failure::refused(message).hint("it would run the image's programs on this machine; boot the image instead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_runs_setup_steps_for_another_tree() {
        assert!(refuse_another_root(&Paths::new(Path::new("/tmp"))).is_err());
        assert!(refuse_another_root(&Paths::default()).is_ok());
    }
}

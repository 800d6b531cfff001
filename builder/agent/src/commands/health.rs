//! `casemate-agent health`: asks every service whether it works, and whether the network is what the document says.

use std::fs;
use std::process::ExitCode;

use anyhow::Context as _;
use tools::failure::HintExt as _;

use super::status;
use crate::console;
use crate::facts;
use crate::health::gate;
use crate::host::Host;
use crate::sites::php;
use crate::status::CheckResult;
use crate::status::Phase;
use crate::status::Status;
use crate::work::Probe;

/// How health is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Ask again until everything works, for at most five minutes, and show the result on the consoles; after half a minute, what is still missing
    #[arg(long)]
    wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks, stores the result and prints it; exit 1 when a service does not work.
pub(super) fn run(host: Host<'_>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let probes = read_probes(host)?;
    let mut status = status::read(host)?;
    let running = php::running(host)?;
    status.health = if arguments.wait { wait(host, &probes, &status) } else { gate::ask(host, &probes) };
    let works = status.health.iter().all(CheckResult::passes);
    status.phase = if works { Phase::Healthy } else { Phase::Unhealthy };
    facts::look(host.paths, &mut status);
    if arguments.wait {
        console::publish(host.paths, host.files, &status)?;
    } else {
        status::show(&status, arguments.json)?;
    }
    // Last: whether a process has come to its end may take seconds to see, and nobody waits for it.
    php::rest(host, php::running(host)?.difference(&running))?;
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits; a host that is late says so, still as one whose services are starting.
fn wait(host: Host<'_>, probes: &[Probe], status: &Status) -> Vec<CheckResult> {
    gate::wait(host, probes, gate::Limits::BOOT, |missing| {
        let mut late = Status { phase: Phase::Personalised, health: missing.to_vec(), ..status.clone() };
        facts::look(host.paths, &mut late);
        // The wait is what counts; a console that cannot be written is told of at its end.
        let _ = console::publish(host.paths, host.files, &late);
    })
}

fn read_probes(host: Host<'_>) -> anyhow::Result<Vec<Probe>> {
    let path = host.paths.probes();
    let text = fs::read(&path)
        .with_context(|| format!("cannot read `{}`", path.display()))
        .or_refuse("the host is not personalised yet: `casemate-agent status` says why")?;
    serde_json::from_slice(&text).with_context(|| format!("cannot understand `{}`", path.display()))
}

//! `casemate-agent health`: asks every service whether it works.

use std::fs;
use std::process::ExitCode;

use anyhow::Context as _;
use tools::failure::HintExt as _;

use super::status;
use crate::console;
use crate::facts;
use crate::health::gate;
use crate::host::Host;
use crate::status::Phase;
use crate::work::Probe;

/// How health is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Ask again until everything works, for at most five minutes, and show the result on the consoles
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
    status.health = if arguments.wait { gate::wait(host, &probes, gate::PATIENCE) } else { gate::ask(host, &probes) };
    let works = status.health.iter().all(crate::status::CheckResult::passes);
    status.phase = if works { Phase::Healthy } else { Phase::Unhealthy };
    facts::look(host.paths, &mut status);
    if arguments.wait {
        console::publish(host.paths, host.files, &status)?;
    } else {
        status::show(&status, arguments.json)?;
    }
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_probes(host: Host<'_>) -> anyhow::Result<Vec<Probe>> {
    let path = host.paths.probes();
    let text = fs::read(&path)
        .with_context(|| format!("cannot read `{}`", path.display()))
        .or_refuse("the host is not personalised yet: `casemate-agent status` says why")?;
    serde_json::from_slice(&text).with_context(|| format!("cannot understand `{}`", path.display()))
}

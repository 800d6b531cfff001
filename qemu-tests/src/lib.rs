//! Scenarios that boot what the builder made: each a claim that a person could check by hand, with a negative twin where it can have one.
//!
//! They know of the builder only its command line and its output directory. A guest proves success with something that only success
//! can produce: a page it serves, a key it shows, a line that the agent prints last.

mod artifacts;
mod container_host;
mod flash;
mod host;
mod knock;
mod neighbour;
mod neighbour_acme;
mod neighbour_smtp;
mod neighbour_tls;
mod neighbour_updates;
mod nmap;
mod operator;
mod scan;
mod scenarios;
mod seed;
mod testssl;
mod watch;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use libtest_mimic::{Failed, Trial};

pub use artifacts::{Artifacts, Image};

/// A claim and the code that tries it.
pub(crate) struct Scenario {
    pub(crate) claim: &'static str,
    /// What it boots; built before it runs.
    pub(crate) images: &'static [Image],
    /// Name of its directory.
    pub(crate) scratch: &'static str,
    pub(crate) run: fn(&Artifacts, &Path) -> Result<()>,
}

/// All scenarios as trials.
pub struct Trials {
    /// One at a time, nothing beside them.
    pub alone: Vec<Trial>,
    /// Two at a time.
    pub in_pairs: Vec<Trial>,
}

impl Trials {
    /// `listing` leaves out the work of building images.
    pub fn new(listing: bool) -> Self {
        let artifacts = (!listing).then(artifacts::shared);
        let trials = |scenarios: &'static [Scenario]| -> Vec<Trial> {
            scenarios.iter().map(|each| trial(each, artifacts.clone())).collect()
        };
        let mut in_pairs = trials(scenarios::IN_PAIRS);
        if std::env::var_os("CASEMATE_FULL").is_some() {
            in_pairs.extend(trials(scenarios::FULL));
        }
        Self { alone: trials(scenarios::ALONE), in_pairs }
    }
}

/// The names of all scenarios, also of those of the full run.
pub fn claims() -> impl Iterator<Item = &'static str> {
    [scenarios::ALONE, scenarios::IN_PAIRS, scenarios::FULL].into_iter().flatten().map(|each| each.claim)
}

fn trial(scenario: &'static Scenario, artifacts: Option<Arc<artifacts::Lazy>>) -> Trial {
    Trial::test(scenario.claim, move || run(scenario, artifacts.as_deref()))
}

fn run(scenario: &Scenario, artifacts: Option<&artifacts::Lazy>) -> Result<(), Failed> {
    let artifacts =
        artifacts.ok_or("scenarios were only listed")?.get().map_err(|error| Failed::from(error.clone()))?;
    for &image in scenario.images {
        artifacts.build(image).map_err(Failed::from)?;
    }
    let started = Instant::now();
    let result = in_scratch(scenario, artifacts);
    let outcome = if result.is_ok() { "holds" } else { "FAILS" };
    artifacts::say(&format!("{} {outcome}, {:.0} s", scenario.claim, started.elapsed().as_secs_f64()));
    // A disk that is full looks like anything: a machine that stands still, a service that does not start.
    result
        .map_err(|error| Failed::from(format!("{error:?}\n\n{} MiB of the disk are free", artifacts.free_mebibytes())))
}

/// Runs a scenario in an empty directory, which is kept after a failure.
fn in_scratch(scenario: &Scenario, artifacts: &Artifacts) -> Result<()> {
    let dir = artifacts.scratch(scenario.scratch)?;
    (scenario.run)(artifacts, &dir)?;
    Ok(fs_err::remove_dir_all(dir)?)
}

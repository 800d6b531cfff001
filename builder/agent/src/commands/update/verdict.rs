//! Whether the version that runs is good: what the units tell of a start, step by step.

use std::process::ExitCode;

use anyhow::Result;
use tools::ResultExt as _;
use tools::Tool;

use super::super::status;
use super::say;
use super::wait_for_lock;
use crate::files::Access;
use crate::host::Host;
use crate::update;
use crate::update::Start;
use crate::update::Target;

/// Ends a trial that has not ended by itself.
const CLOCK: &str = "casemate-trial.timer";

/// Arms the clock of a trial. The restart that it ends in needs no agent.
pub(super) fn begin(host: Host<'_>) -> Result<ExitCode> {
    let _locks = wait_for_lock(host)?;
    begin_at(host, &Target::of(host).remedied()?)?;
    Ok(ExitCode::SUCCESS)
}

fn begin_at(host: Host<'_>, target: &Target) -> Result<()> {
    match update::begin(host, target).remedied()? {
        Start::OnTrial(trial) => {
            say(&format!("{} is on trial: start {}", trial.version, trial.start));
            host.files.write(&host.paths.on_trial(), b"", Access::PUBLIC)?;
            host.runner.run(&Tool::new("systemctl").args(["start", "--no-block", CLOCK]))?;
            match update::keep(host) {
                Ok(how) => how.into_iter().for_each(say),
                // No service of this version may touch what nobody can put back.
                Err(error) => leave(host, target, vec![format!("state could not be kept as it was: {error:#}")])?,
            }
        }
        Start::Usual(failed) => {
            for version in failed {
                say(&format!("{version} failed on this host: `casemate-agent why`"));
            }
            update::settle(host)?.iter().for_each(|line| say(line));
        }
    }
    Ok(())
}

/// Marks a version whose services all work as good.
pub(super) fn bless(host: Host<'_>) -> Result<ExitCode> {
    let _locks = wait_for_lock(host)?;
    if update::bless(host, &Target::of(host).remedied()?, &say).remedied()? {
        say("this version is good");
        host.files.remove(&host.paths.on_trial())?;
        host.runner.run(&Tool::new("systemctl").args(["stop", CLOCK]))?;
    }
    if let Err(error) = update::release(host) {
        // It is good all the same; room is all that this costs.
        say(&format!("what was kept of before this version is still there: {error:#}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the health gate has found; where it has not ended, that.
pub(super) fn give_up(host: Host<'_>) -> Result<ExitCode> {
    let _locks = wait_for_lock(host)?;
    leave(host, &Target::of(host).remedied()?, reasons(host))?;
    Ok(ExitCode::SUCCESS)
}

fn leave(host: Host<'_>, target: &Target, reasons: Vec<String>) -> Result<()> {
    if update::give_up(host, target, reasons).remedied()? {
        say("this version is bad: starting the one before it");
        host.runner.run(&Tool::new("systemctl").args(["reboot", "--no-block"]))?;
    }
    Ok(())
}

fn reasons(host: Host<'_>) -> Vec<String> {
    let status = status::read(host).unwrap_or_default();
    let failing = status.health.iter().filter_map(|check| Some(format!("{}: {}", check.name, check.failure.as_ref()?)));
    let reasons: Vec<String> = status.problems.iter().cloned().chain(failing).collect();
    if reasons.is_empty() { vec!["the host did not become healthy in time".to_owned()] } else { reasons }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::tests::bench::Bench;
    use crate::update::tests::trials::on_trial;

    /// The only directory whose format changes cannot be copied, or can.
    fn begins_to_keep(fails: bool) -> Bench {
        let (bench, _) = on_trial();
        bench.tree.put("/var/lib/ledger/rows", "old");
        bench
            .tree
            .put("/var/lib/casemate/update/kept.json", r#"{"schema":1,"formats":{"/var/lib/ledger":"ledger 1"}}"#);
        let formats = "schema = 1\n[[state]]\npath = \"/var/lib/ledger\"\nformat = \"ledger 2\"\n";
        bench.tree.put("/usr/lib/casemate/state-formats.toml", formats);
        bench.tree.put("/run/.there", "");
        if fails {
            bench.tree.programs.fail("cp --archive", "cp: No space left on device");
        }
        begin_at(bench.host(), &bench.target).unwrap();
        bench
    }

    #[test]
    fn a_version_whose_state_cannot_be_kept_is_left_before_it_touches_any() {
        let bench = begins_to_keep(true);
        assert_eq!(bench.starts().unwrap(), "0.1.0");
        assert_eq!(bench.tree.programs.count("systemctl reboot"), 1);
        let failed = bench.state().failed;
        let reasons = &failed.values().next().unwrap().reasons;
        assert!(reasons[0].contains("could not be kept") && reasons[0].contains("No space left"), "{reasons:?}");
    }

    #[test]
    fn a_version_whose_state_is_kept_goes_on() {
        let bench = begins_to_keep(false);
        assert_eq!(bench.starts().unwrap(), "0.2.0");
        assert_eq!(bench.tree.programs.count("systemctl reboot"), 0);
        assert!(bench.state().failed.is_empty());
    }
}

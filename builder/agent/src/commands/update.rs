//! `casemate-agent update`: applies a bundle to the spare slot, and shows what is in the slots.

use std::fs;
use std::io;
use std::io::Read;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use anyhow::Result;
use rustix::fs::FlockOperation;
use tools::Failure;
use tools::ResultExt as _;
use tools::Tool;
use tools::failure::HintExt as _;

use super::locked;
use super::print;
use super::try_locked;
use crate::files::Access;
use crate::host::Host;
use crate::update;
use crate::update::Outcome;
use crate::update::Start;
use crate::update::Target;
use crate::update::UpdateStatus;
use crate::update::Wishes;

/// Ends a trial that has not ended by itself.
const CLOCK: &str = "casemate-trial.timer";

/// What is done.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write a bundle to the slot that does not run; it is started next
    Apply {
        /// The bundle; `-` is standard input
        bundle: PathBuf,
        /// Also a version that waits already, or that failed on this host
        #[arg(long)]
        again: bool,
        /// Also a version older than the running one, down to the floor
        #[arg(long)]
        allow_older: bool,
    },
    /// Note that this version was started; one of the steps of the units (`casemate-trial.service`)
    #[command(hide = true)]
    Begin,
    /// Every service works: the running version is good (`casemate-bless.service`)
    #[command(hide = true)]
    Bless,
    /// The running version is not good: if it is on trial, start another one (`casemate-give-up.service`)
    #[command(hide = true)]
    GiveUp,
    /// Show what runs, what is in the other slot, and what is remembered
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(host: Host<'_>, arguments: Arguments) -> Result<ExitCode> {
    match arguments.verb {
        Verb::Apply { bundle, again, allow_older } => apply(host, &bundle, Wishes { again, allow_older }),
        Verb::Begin => begin(host),
        Verb::Bless => bless(host),
        Verb::GiveUp => give_up(host),
        Verb::Status { json } => status(host, json),
    }
}

/// Arms the clock of a trial. The restart that it ends in needs no agent.
fn begin(host: Host<'_>) -> Result<ExitCode> {
    let _locks = lock(host)?;
    match update::begin(host, &Target::of(host).remedied()?).remedied()? {
        Start::OnTrial(trial) => {
            say(&format!("{} is on trial: start {}", trial.version, trial.start));
            host.files.write(&host.paths.on_trial(), b"", Access::PUBLIC)?;
            host.runner.run(&Tool::new("systemctl").args(["start", "--no-block", CLOCK]))?;
        }
        Start::Usual(failed) => {
            for version in failed {
                say(&format!("{version} failed on this host: `casemate-agent why`"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn bless(host: Host<'_>) -> Result<ExitCode> {
    let _locks = lock(host)?;
    if update::bless(host, &Target::of(host).remedied()?).remedied()? {
        say("this version is good");
        host.files.remove(&host.paths.on_trial())?;
        host.runner.run(&Tool::new("systemctl").args(["stop", CLOCK]))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the health gate has found; where it has not ended, that.
fn give_up(host: Host<'_>) -> Result<ExitCode> {
    let _locks = lock(host)?;
    let target = Target::of(host).remedied()?;
    if update::give_up(host, &target, reasons(host)).remedied()? {
        say("this version is bad: starting the one before it");
        host.runner.run(&Tool::new("systemctl").args(["reboot", "--no-block"]))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn reasons(host: Host<'_>) -> Vec<String> {
    let status = super::status::read(host).unwrap_or_default();
    let failing = status.health.iter().filter_map(|check| Some(format!("{}: {}", check.name, check.failure.as_ref()?)));
    let reasons: Vec<String> = status.problems.iter().cloned().chain(failing).collect();
    if reasons.is_empty() { vec!["the host did not become healthy in time".to_owned()] } else { reasons }
}

fn apply(host: Host<'_>, bundle: &Path, wishes: Wishes) -> Result<ExitCode> {
    let source = open(bundle)?;
    let _locks = lock(host)?;
    let target = Target::of(host).remedied()?;
    say(&match update::apply(host, &target, source, wishes, &say).remedied()? {
        Outcome::Applied(version) if wishes.allow_older => {
            format!("{version} is in the spare slot; the boot loader starts the newest version that is not bad")
        }
        Outcome::Applied(version) => format!("{version} starts with the next restart, on trial"),
        Outcome::WaitedAlready(version) => format!("{version} is applied already: it starts with the next restart"),
    });
    Ok(ExitCode::SUCCESS)
}

fn status(host: Host<'_>, json: bool) -> Result<ExitCode> {
    let _locks = lock(host)?;
    let target = Target::of(host).remedied()?;
    let status = UpdateStatus::read(host.paths, &target).remedied()?;
    print(&if json { serde_json::to_string_pretty(&status)? + "\n" } else { status.text() })?;
    Ok(ExitCode::SUCCESS)
}

/// The update is what counts; with standard error closed there is nobody to tell.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "update: {line}");
}

fn open(bundle: &Path) -> Result<Box<dyn Read>> {
    if bundle == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = fs::File::open(bundle).with_context(|| format!("cannot open `{}`", bundle.display()));
    Ok(Box::new(opened.or_refuse("name a `bundle.tar`, or `-` for standard input")?))
}

/// One update at a time, and none while the whole host is changed; work on single sites goes on. Nobody waits for an
/// update: it may take as long as its source does.
pub(super) fn lock(host: Host<'_>) -> Result<[fs::File; 2]> {
    let whole = locked(&host.paths.lock(), FlockOperation::LockShared)?;
    match try_locked(&host.paths.update_lock(), FlockOperation::NonBlockingLockExclusive)? {
        Some(update) => Ok([whole, update]),
        None => Err(Failure::refused("another update is at work on this host").hint("wait until it has ended").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lock_sites;
    use super::*;
    use crate::sites::tests::sites;
    use crate::testing::Tree;

    #[test]
    fn a_second_update_is_refused_and_no_site_waits_for_the_first() {
        let (tree, sites) = (Tree::new(), sites());
        fs::create_dir_all(tree.paths.lock().parent().unwrap()).unwrap();
        let held = lock(tree.host()).unwrap();
        let error = lock(tree.host()).unwrap_err();
        assert!(tools::failure::render(&error).contains("hint: wait until it has ended"), "{error}");
        drop(lock_sites(tree.host(), &[sites.find("site001").unwrap()]).unwrap());
        drop(held);
        lock(tree.host()).unwrap();
    }

    #[test]
    fn a_bundle_that_is_not_there_is_refused_with_what_to_name() {
        let Err(error) = open(Path::new("/nonexistent/bundle.tar")) else { panic!("it is not there") };
        let text = tools::failure::render(&error);
        assert!(text.contains("/nonexistent/bundle.tar") && text.contains("hint: name a `bundle.tar`"), "{text}");
        assert_eq!(tools::failure::exit_kind(&error), tools::ExitKind::Refused);
    }
}

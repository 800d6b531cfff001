//! `casemate-agent update`: asks what is newest, applies it or a bundle to the spare slot, and shows what is in the slots.

mod repository;
mod verdict;

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
use tools::failure::HintExt as _;

use super::locked;
use super::print;
use super::try_locked;
use crate::host::Host;
use crate::update;
use crate::update::Outcome;
use crate::update::Target;
use crate::update::UpdateStatus;
use crate::update::Wishes;

/// What is done.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Ask the repository what is newest, and say what would be done about it
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a version to the slot that does not run; it is started next
    Apply {
        /// A bundle, `-` is standard input; without one what the repository says is newest
        bundle: Option<PathBuf>,
        /// Also a version that waits already, or that failed on this host
        #[arg(long)]
        again: bool,
        /// Also a version older than the running one, down to the floor
        #[arg(long)]
        allow_older: bool,
    },
    /// Take what is newest, if it is this host's turn (`casemate-update.service`)
    #[command(hide = true)]
    Follow,
    /// Hand over a file of the repository, without any rights (`casemate-fetch@.service`)
    #[command(hide = true)]
    Fetch,
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
        Verb::Check { json } => repository::check(host, json),
        Verb::Apply { bundle: Some(bundle), again, allow_older } => apply(host, &bundle, Wishes { again, allow_older }),
        Verb::Apply { bundle: None, again, allow_older } => repository::apply(host, Wishes { again, allow_older }),
        Verb::Follow => repository::follow(host),
        Verb::Fetch => repository::fetch(host),
        Verb::Begin => verdict::begin(host),
        Verb::Bless => verdict::bless(host),
        Verb::GiveUp => verdict::give_up(host),
        Verb::Status { json } => status(host, json),
    }
}

fn apply(host: Host<'_>, bundle: &Path, wishes: Wishes) -> Result<ExitCode> {
    let source = open(bundle)?;
    let _locks = lock(host)?;
    let target = Target::of(host).remedied()?;
    say_outcome(update::apply(host, &target, source, wishes, &say).remedied()?, wishes);
    Ok(ExitCode::SUCCESS)
}

fn say_outcome(outcome: Outcome, wishes: Wishes) {
    say(&match outcome {
        Outcome::Applied(version) if wishes.allow_older => {
            format!("{version} is in the spare slot; the boot loader starts the newest version that is not bad")
        }
        Outcome::Applied(version) => format!("{version} starts with the next restart, on trial"),
        Outcome::WaitedAlready(version) => format!("{version} is applied already: it starts with the next restart"),
    });
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

/// For a verdict, which is wanted whoever else is at work: an update that is applied on a host on trial is refused soon.
fn wait_for_lock(host: Host<'_>) -> Result<[fs::File; 2]> {
    let whole = locked(&host.paths.lock(), FlockOperation::LockShared)?;
    Ok([whole, locked(&host.paths.update_lock(), FlockOperation::LockExclusive)?])
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

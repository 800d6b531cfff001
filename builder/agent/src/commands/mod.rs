//! The verbs of `casemate-agent`: one file each, and what they share.

mod banned;
mod certificates;
mod health;
mod personalise;
mod render;
mod rollback;
mod site;
mod status;
mod update;
mod why;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use clap::Subcommand;
use rustix::fs::FlockOperation;
use tools::HostRunner;

use crate::files::Access;
use crate::files::Files;
use crate::files::Ownership;
use crate::host::Host;
use crate::host::kernel_random;
use crate::initrd;
use crate::paths::Paths;
use crate::sites::Site;

/// Turns a signed host.toml into a running host.
#[derive(Debug, Parser)]
#[command(name = "casemate-agent", version)]
struct Arguments {
    /// Work on this tree instead of `/`
    #[arg(long, global = true, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Find, verify and check host.toml, make keys, render, set up, start the services
    Personalise(personalise::Arguments),
    /// Show what is known of the host
    Status(status::Arguments),
    /// Ask every service whether it works
    Health(health::Arguments),
    /// Render the configuration of the accepted host.toml again
    Render(render::Arguments),
    /// Look after one site: log in, export, snapshot, clone
    Site(site::Arguments),
    /// Answer Apache, line by line, whether an address is banned
    Banned,
    /// Certificates of an authority: show them, or one of the steps of the unit that orders them
    Certificates(certificates::Arguments),
    /// Write a new version to the slot that does not run, or show what is in the slots
    Update(update::Arguments),
    /// Let the version in the other slot start next
    Rollback(rollback::Arguments),
    /// Say why versions that were tried here do not run
    Why,
    /// In the initrd: mount state and hand over the machine id
    Initrd,
}

/// Reads the arguments and does what they say. Exit 0: done, 1: refused, 2: the machine or a bug.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let paths = Paths::new(&arguments.root);
    let files = Files::new(if rustix::process::geteuid().is_root() { Ownership::Set } else { Ownership::Leave });
    let runner = HostRunner::new();
    let host = Host { paths: &paths, files: &files, runner: &runner, random: kernel_random };
    let done = match arguments.verb {
        Verb::Personalise(arguments) => personalise::run(host, &arguments),
        Verb::Status(arguments) => status::run(host, &arguments),
        Verb::Health(arguments) => health::run(host, &arguments),
        Verb::Render(arguments) => render::run(host, &arguments),
        Verb::Site(arguments) => site::run(host, arguments),
        Verb::Banned => banned::run(host),
        Verb::Certificates(arguments) => certificates::run(host, &arguments),
        Verb::Update(arguments) => update::run(host, arguments),
        Verb::Rollback(arguments) => rollback::run(host, &arguments),
        Verb::Why => why::run(host),
        Verb::Initrd => Ok(initrd::run_on(&paths, &files)),
    };
    done.unwrap_or_else(|error| tools::report(&error))
}

/// Lets one agent at a time change the host; a second one waits. The lock ends with the value, or with the process.
fn lock(host: Host<'_>) -> anyhow::Result<fs::File> {
    locked(&host.paths.lock(), FlockOperation::LockExclusive)
}

/// Lets one agent at a time change these sites, and none the whole host meanwhile: a site that hangs keeps no other waiting.
fn lock_sites(host: Host<'_>, sites: &[&Site]) -> anyhow::Result<Vec<fs::File>> {
    let mut ids: Vec<String> = sites.iter().map(|site| site.account.id()).collect();
    // Everybody takes them in the same order, so nobody waits in a circle.
    ids.sort();
    ids.dedup();
    host.files.ensure_directory(&host.paths.site_locks(), Access::SECRET_DIRECTORY)?;
    let whole = locked(&host.paths.lock(), FlockOperation::LockShared);
    let each = ids.iter().map(|id| locked(&host.paths.site_lock(id), FlockOperation::LockExclusive));
    std::iter::once(whole).chain(each).collect()
}

/// The same for one site, or nothing while another agent works on it or on the whole host.
fn try_lock_site(host: Host<'_>, site: &Site) -> anyhow::Result<Option<[fs::File; 2]>> {
    host.files.ensure_directory(&host.paths.site_locks(), Access::SECRET_DIRECTORY)?;
    let whole = try_locked(&host.paths.lock(), FlockOperation::NonBlockingLockShared)?;
    let site = try_locked(&host.paths.site_lock(&site.account.id()), FlockOperation::NonBlockingLockExclusive)?;
    Ok(whole.zip(site).map(|(whole, site)| [whole, site]))
}

fn locked(path: &Path, operation: FlockOperation) -> anyhow::Result<fs::File> {
    let file = lock_file(path)?;
    rustix::fs::flock(&file, operation).with_context(|| format!("cannot lock `{}`", path.display()))?;
    Ok(file)
}

fn try_locked(path: &Path, operation: FlockOperation) -> anyhow::Result<Option<fs::File>> {
    let file = lock_file(path)?;
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock `{}`", path.display())),
    }
}

fn lock_file(path: &Path) -> anyhow::Result<fs::File> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path);
    file.with_context(|| format!("cannot open `{}`", path.display()))
}

/// Text for a person or data for a machine.
fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::tests::sites;
    use crate::testing::Tree;

    fn is_free(path: &Path, operation: FlockOperation) -> bool {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        rustix::fs::flock(&file, operation).is_ok()
    }

    #[test]
    fn work_on_one_site_keeps_the_whole_host_and_no_other_site_waiting() {
        let (tree, sites) = (Tree::new(), sites());
        fs::create_dir_all(tree.paths.lock().parent().unwrap()).unwrap();
        let [one, other] = ["site001", "site002"].map(|id| sites.find(id).unwrap());
        let held = lock_sites(tree.host(), &[one, one]).unwrap();
        assert_eq!(held.len(), 2);
        assert!(!is_free(&tree.paths.lock(), FlockOperation::NonBlockingLockExclusive));
        assert!(!is_free(&tree.paths.site_lock("site001"), FlockOperation::NonBlockingLockExclusive));
        assert!(try_lock_site(tree.host(), one).unwrap().is_none());
        drop(try_lock_site(tree.host(), other).unwrap().unwrap());
        drop(lock_sites(tree.host(), &[other]).unwrap());
        drop(held);
        assert!(is_free(&tree.paths.lock(), FlockOperation::NonBlockingLockExclusive));
    }
}

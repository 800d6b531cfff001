//! The verbs of `casemate-agent`: one file each, and what they share.

mod health;
mod personalise;
mod render;
mod site;
mod status;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use clap::Subcommand;
use rustix::fs::FlockOperation;
use tools::HostRunner;

use crate::files::Files;
use crate::files::Ownership;
use crate::host::Host;
use crate::host::kernel_random;
use crate::initrd;
use crate::paths::Paths;

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
        Verb::Initrd => Ok(initrd::run_on(&paths, &files)),
    };
    done.unwrap_or_else(|error| tools::report(&error))
}

/// Lets one agent at a time change the host; a second one waits. The lock ends with the value, or with the process.
fn lock(host: Host<'_>) -> anyhow::Result<fs::File> {
    let path = host.paths.lock();
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("cannot open `{}`", path.display()))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)
        .with_context(|| format!("cannot lock `{}`", path.display()))?;
    Ok(file)
}

/// Text for a person or data for a machine.
fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

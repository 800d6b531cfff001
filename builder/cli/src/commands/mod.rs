//! One file per verb: its arguments, and what it does with them.

mod audit;
mod build;
mod cache;
mod diff;
mod flash;
mod host;
mod inspect;
mod keys;
mod lock;
mod personalise;
mod repo;
mod run;
mod test;
mod tools;
mod trust_root;
mod verify;

use anyhow::Result;
use clap::Subcommand;

use crate::context::Context;
use crate::options::Options;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the keys of a fleet: Secure Boot, release, operator
    #[command(subcommand)]
    Keys(keys::KeysVerb),
    /// Choose the packages of an image and write them down
    Lock(lock::LockArgs),
    /// Build an image
    Build(build::BuildArgs),
    /// Show what an image, bundle, kernel or partition table holds
    Inspect(inspect::InspectArgs),
    /// Say what differs between two built images
    Diff(diff::DiffArgs),
    /// Check every signature and digest of a built image
    Verify(verify::VerifyArgs),
    /// Say which packages of an image have vulnerabilities that Debian has fixed
    Audit(audit::AuditArgs),
    /// Check or render a host.toml as the host would
    #[command(subcommand)]
    Host(host::HostVerb),
    /// Put a signed host.toml on a disk or disk image
    Personalise(personalise::PersonaliseArgs),
    /// Start an image in a virtual machine
    Run(run::RunArgs),
    /// Prove an image in virtual machines and write a signed report
    Test(test::TestArgs),
    /// Write an image to a disk
    Flash(flash::FlashArgs),
    /// Make, sign and check trust roots: which keys decide about updates
    #[command(subcommand)]
    TrustRoot(trust_root::TrustRootVerb),
    /// Publish images for updates, in plain files that any web server hands out
    #[command(subcommand)]
    Repo(repo::RepoVerb),
    /// Show the cache, or make it smaller
    #[command(subcommand)]
    Cache(cache::CacheVerb),
    /// Bring in a tree of tools and say where it is
    Tools(tools::ToolsArgs),
}

/// Runs the verb that was asked for.
pub(crate) fn run(options: Options) -> Result<()> {
    let context = Context::new(&options.shared)?;
    match options.verb {
        Verb::Keys(verb) => verb.run(&context),
        Verb::Lock(args) => args.run(&context),
        Verb::Build(args) => args.run(&context),
        Verb::Inspect(args) => args.run(&context),
        Verb::Diff(args) => args.run(&context),
        Verb::Verify(args) => args.run(&context),
        Verb::Audit(args) => args.run(&context),
        Verb::Host(verb) => verb.run(&context),
        Verb::Personalise(args) => args.run(&context),
        Verb::Run(args) => args.run(&context),
        Verb::Test(args) => args.run(&context),
        Verb::Flash(args) => args.run(&context),
        Verb::TrustRoot(verb) => verb.run(&context),
        Verb::Repo(verb) => verb.run(&context),
        Verb::Cache(verb) => verb.run(&context),
        Verb::Tools(args) => args.run(&context),
    }
}

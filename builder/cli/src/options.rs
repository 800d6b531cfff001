//! The options that every verb shares.

use std::path::PathBuf;

use clap::{Args, Parser};
use hostconf::ByteSize;

use crate::commands::Verb;

/// Builds signed, read-only Debian 13 images for secure web hosting, and runs, tests, personalises and flashes them.
#[derive(Debug, Parser)]
#[command(name = "casemate", version, max_term_width = 100)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options before or after any verb.
#[derive(Debug, Args)]
pub(crate) struct Shared {
    /// Where packages, tools and finished stages are kept [default: the user's cache directory]
    #[arg(long, global = true, env = "CASEMATE_CACHE", value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// How large the cache may be after a build
    #[arg(long, global = true, env = "CASEMATE_CACHE_LIMIT", default_value = "20G", value_name = "SIZE")]
    pub(crate) cache_limit: ByteSize,
    /// The Debian mirror: `URL` or `ARCHIVE_URL,SECURITY_URL` [default: this machine's apt sources]
    #[arg(long, global = true, env = "CASEMATE_MIRROR", value_name = "URL")]
    pub(crate) mirror: Option<String>,
    /// Use what is in the cache and never the network
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// Seconds for which a mirror may send nothing before the connection counts as lost
    #[arg(long, global = true, env = "CASEMATE_TIMEOUT", default_value_t = 60, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// How progress is shown: auto, plain, json or quiet
    #[arg(long, global = true, default_value = "auto", value_name = "MODE")]
    pub(crate) progress: tools::ProgressMode,
    /// Print results as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

//! `casemate cache`.

use anyhow::Result;
use clap::Subcommand;
use hostconf::ByteSize;
use pipeline::cache::{CacheUse, Limit};
use tools::Failure;

use crate::context::Context;
use crate::output;

/// The cache of packages, tools and finished stages.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheVerb {
    /// Say how large the cache is
    Show,
    /// Make the cache smaller: what was not used for longest goes first
    Prune {
        /// How large it may be afterwards, e.g. 10G; default is the limit of builds
        #[arg(long, value_name = "SIZE")]
        to: Option<ByteSize>,
    },
}

impl CacheVerb {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Show => show(context),
            Self::Prune { to } => prune(context, to.map_or(context.cache_limit(), |size| Limit(size.bytes()))),
        }
    }
}

fn show(context: &Context) -> Result<()> {
    let used = CacheUse::of(context.cache());
    let text = format!(
        "{}\n  finished stages {}\n  packages        {}\n  other           {}\n  limit           {}",
        context.cache().display(),
        mib(used.stages),
        mib(used.packages),
        mib(used.other),
        mib(context.cache_limit().0),
    );
    output::print(context.json(), &serde_json::to_value(used)?, &text)
}

fn prune(context: &Context, limit: Limit) -> Result<()> {
    let Some(pruned) = context.builder().prune(limit)? else {
        return Err(Failure::refused("the cache is in use by another casemate").hint("wait until it is done").into());
    };
    let text = format!(
        "{} freed: {} finished stages and {} packages removed",
        mib(pruned.bytes),
        pruned.stages.len(),
        pruned.packages
    );
    output::print(context.json(), &serde_json::to_value(pruned)?, &text)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

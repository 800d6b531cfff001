//! `casemate lock`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::context::Context;
use crate::output;

/// Chooses the packages of an image from the archive as it is now.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// The image's folder, e.g. images/webhost
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Where to write the lock
    #[arg(long, short, default_value = "lock.toml", value_name = "FILE")]
    output: PathBuf,
}

impl LockArgs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let lock = context.builder().lock(&self.image)?;
        tools::write_atomic(&self.output, lock.render()?.as_bytes(), 0o644)?;
        let count = lock.packages.len();
        let bytes: u64 = lock.packages.iter().map(|package| package.size).sum();
        let value = serde_json::json!({ "lock": self.output, "packages": count, "bytes": bytes });
        let text = format!("{count} packages, {} MiB to fetch: {}", bytes >> 20, self.output.display());
        output::print(context.json(), &value, &text)
    }
}

//! `casemate inspect`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::context::Context;
use crate::output;

/// Shows what a built image, a disk, a kernel image or a bundle holds. Nothing is verified.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// An output directory, disk image, device, UKI or bundle
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

impl InspectArgs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let value = pipeline::inspect::inspect(&self.path)?;
        output::print(context.json(), &value, &pipeline::inspect::as_text(&value))
    }
}

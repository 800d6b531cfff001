//! `casemate diff`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use tools::Failure;

use crate::context::Context;
use crate::output;

/// Says which packages, files and parts differ between two built images; ends with 1 where something does. Nothing is verified.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// An output directory, e.g. of the version before
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The output directory to compare with it
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// Show every difference, not only the largest
    #[arg(long)]
    all: bool,
}

impl DiffArgs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let difference = context.builder().diff(&self.before, &self.after)?;
        let mut value = serde_json::to_value(&difference)?;
        value["equal"] = difference.is_equal().into();
        output::print(context.json(), &value, &difference.text(self.all))?;
        if difference.is_equal() {
            return Ok(());
        }
        let message = format!("`{}` and `{}` differ", self.before.display(), self.after.display());
        Err(Failure::refused(message).hint("see above; `casemate verify` says whether each is good in itself").into())
    }
}

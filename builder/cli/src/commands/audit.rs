//! `casemate audit`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use pipeline::audit::{audit, read_target};
use tools::Failure;

use crate::context::Context;
use crate::output;

/// Compares the packages of an image with Debian's security tracker; fails when newer versions mend vulnerabilities.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// The image's output directory, e.g. out/webhost, or a lock
    #[arg(value_name = "OUTPUT_OR_LOCK")]
    target: PathBuf,
    /// The tracker's data as JSON: a file, or an http or https address
    #[arg(long, value_name = "FILE_OR_URL")]
    tracker: String,
}

impl AuditArgs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let audited = read_target(&self.target)?;
        let report = audit(&audited, &context.builder().read_tracker(&self.tracker)?)?;
        output::print(context.json(), &serde_json::to_value(&report)?, &report.text())?;
        if report.fixed.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{} vulnerabilities of `{}` are fixed in newer packages",
            report.fixed.len(),
            self.target.display()
        );
        Err(Failure::refused(message).hint("choose current packages with `casemate lock IMAGE` and build again").into())
    }
}

//! `casemate build`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use pipeline::build::{BuildRequest, Compression};

use crate::context::Context;
use crate::output;

/// Builds an image: packages, services, seal, kernel image, disk, bundle.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The image's folder, e.g. images/webhost
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Where the artifacts go [default: out/IMAGE]
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The keys to sign with; without them the build uses development keys and says so
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Build exactly these packages
    #[arg(long, value_name = "FILE")]
    locked: Option<PathBuf>,
    /// Compress as small as possible (slower)
    #[arg(long)]
    small: bool,
    /// Say for each stage whether it ran, and which of its inputs changed
    #[arg(long)]
    explain: bool,
}

impl BuildArgs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let request = BuildRequest {
            image: self.image,
            output: self.output,
            keys: self.keys,
            locked: self.locked,
            compression: if self.small { Compression::Small } else { Compression::Quick },
        };
        let built = context.builder().build(&request)?;
        let mut value = serde_json::to_value(&built.summary)?;
        let mut text = built.text();
        if self.explain {
            value["explanation"] = serde_json::to_value(&built.reasons)?;
            text = format!("{}\n\n{text}", pipeline::explain::to_text(&built.reasons));
        }
        output::print(context.json(), &value, &text)
    }
}

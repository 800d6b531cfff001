//! `casemate tools`.

use anyhow::Result;
use clap::{Args, ValueEnum};
use pipeline::trees::ToolsKind;

use crate::context::Context;
use crate::output;

/// Brings in a tree of Debian tools and says where it is.
#[derive(Debug, Args)]
pub(crate) struct ToolsArgs {
    /// Which tree
    #[arg(value_enum)]
    kind: Kind,
    /// Compare the tree with the archive now; otherwise it is taken as it is for 7 days
    #[arg(long)]
    refresh: bool,
}

/// The trees by their names on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// What builds images
    Build,
    /// QEMU, firmware, containers and clients
    Run,
    /// Debian's own builders, to compare ours with
    Compare,
    /// What attackers use, to try hosts of one's own
    Attack,
}

impl ToolsArgs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let kind = match self.kind {
            Kind::Build => ToolsKind::Build,
            Kind::Run => ToolsKind::Run,
            Kind::Compare => ToolsKind::Compare,
            Kind::Attack => ToolsKind::Attack,
        };
        let builder = context.builder();
        let tree = if self.refresh { builder.fresh_tools_tree(kind)? } else { builder.tools_tree(kind)? };
        let value = serde_json::json!({ "path": tree.root(), "cache": context.builder().cache_dir() });
        output::print(context.json(), &value, &tree.root().display().to_string())
    }
}

//! `fsck.erofs` (erofs-utils): a sealed file system back to the tree that it was made of.

use std::path::Path;

use anyhow::Result;
use tools::Tool;

use super::{ToolsTree, Workplace};

/// The directory below the target that holds the tree.
pub const TREE: &str = "tree";

/// Unpacks `image` to [`TREE`] below `target`, with owners and modes.
pub fn extract(tools: &ToolsTree, image: &Path, target: &Path) -> Result<()> {
    let tool = Tool::new("fsck.erofs").args([
        "--preserve",
        "--xattrs",
        &format!("--extract=/run/target/{TREE}"),
        "/run/image",
    ]);
    tools.run(&tool, &[Workplace::Input(image, "/run/image"), Workplace::Output(target, "/run/target")])?;
    Ok(())
}

//! `mkfs.erofs` (erofs-utils): the finished tree to one read-only file system.

use std::path::Path;

use anyhow::Result;
use formats::guid::Guid;
use tools::Tool;

use super::{ToolsTree, Workplace};

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Quick to make: for trying things out.
    Quick,
    /// Small: for what is kept.
    Small,
}

impl Compression {
    /// The word for it in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Small => "small",
        }
    }

    fn arguments(self) -> [&'static str; 2] {
        match self {
            Self::Quick => ["-zlz4", "-C65536"],
            Self::Small => ["-zzstd,level=12", "-C131072"],
        }
    }
}

/// Makes `image` from the tree at `tree`, every time in it set to `epoch` (seconds since 1970).
pub fn make(
    tools: &ToolsTree,
    tree: &Path,
    image: &Path,
    uuid: Guid,
    epoch: u64,
    compression: Compression,
) -> Result<()> {
    fs_err::write(image, b"")?;
    tools.run(
        // On a full disk its threads wait for each other.
        &command(uuid, epoch, compression).killed_when_full(image.parent().unwrap_or(Path::new("."))),
        &[Workplace::Input(tree, "/run/tree"), Workplace::Output(image, "/run/image")],
    )?;
    Ok(())
}

fn command(uuid: Guid, epoch: u64, compression: Compression) -> Tool {
    Tool::new("mkfs.erofs")
        .args(["--quiet", "--all-time", "-T", &epoch.to_string(), "-U", &uuid.to_string()])
        .args(compression.arguments())
        .args(["-L", "root", "/run/image", "/run/tree"])
        .source_date_epoch(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_could_differ_between_builds_is_named() {
        let shown = command(Guid::derived_from("x"), 7, Compression::Small).to_string();
        assert!(shown.contains("-T 7") && shown.contains("--all-time") && shown.contains("-U "), "{shown}");
    }
}

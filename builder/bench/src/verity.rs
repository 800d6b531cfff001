//! The hash tree of a file: ours, and that of veritysetup.

use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, Result};
use formats::guid::Guid;
use formats::verity::{self, Salt};
use fs_err as fs;
use pipeline::programs::{ToolsTree, Workplace};
use tools::Tool;

use crate::measure::size;

/// Both use this salt, so that their root hashes can be compared.
const SALT: [u8; 32] = [7; 32];
const NAME: &str = "the benchmark's hash tree";

/// Hashes with our code; the tree goes to `hashes`. Returns the root hash.
pub fn hash_ours(data: &Path, hashes: &Path) -> Result<String> {
    let mut reader = BufReader::with_capacity(1 << 20, fs::File::open(data)?);
    let tree = verity::build(&mut reader, size(data)?, &Salt::new(&SALT)?, Guid::derived_from(NAME))?;
    fs::write(hashes, &tree.hash_image)?;
    Ok(tree.root_hash.to_string())
}

/// Hashes with veritysetup; the tree goes to `hashes`. Returns the root hash.
pub fn hash_theirs(tools: &ToolsTree, data: &Path, hashes: &Path) -> Result<String> {
    fs::write(hashes, b"")?;
    let tool = Tool::new("veritysetup")
        .arg("format")
        .arg(format!("--salt={}", hex::encode(SALT)))
        .arg(format!("--uuid={}", Guid::derived_from(NAME)))
        .args(["/run/data", "/run/hashes"]);
    let places = [Workplace::Input(data, "/run/data"), Workplace::Output(hashes, "/run/hashes")];
    let said = tools.run(&tool, &places)?.stdout_text();
    let row = said.lines().find_map(|line| line.strip_prefix("Root hash:"));
    Ok(row.context("veritysetup told no root hash")?.trim().to_owned())
}

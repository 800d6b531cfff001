//! Standard output: data only, for people or for machines.

use std::io::Write as _;

use anyhow::Result;

/// Prints text for people, or the value as JSON where `--json` was given.
pub(crate) fn print(json: bool, value: &serde_json::Value, text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{value:#}")?;
    } else {
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

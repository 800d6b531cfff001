//! `sbsign` and `sbverify` (sbsigntool): signatures for Secure Boot.

use std::path::Path;

use anyhow::Result;
use tools::Tool;

use super::{ToolsTree, Workplace, under_fixed_clock};

/// A Secure Boot key and its certificate, both PEM.
#[derive(Debug, Clone, Copy)]
pub struct KeyPair<'a> {
    /// The private key.
    pub key: &'a Path,
    /// The certificate.
    pub certificate: &'a Path,
}

/// Signs the EFI program `input` as `output`, at the time `epoch` (seconds since 1970): `sbsign` writes it into the signature.
pub fn sign(tools: &ToolsTree, pair: KeyPair<'_>, input: &Path, output: &Path, epoch: u64) -> Result<()> {
    fs_err::write(output, b"")?;
    let tool = under_fixed_clock(Tool::new("sbsign"), epoch).args([
        "--key",
        "/run/key",
        "--cert",
        "/run/certificate",
        "--output",
        "/run/signed",
        "/run/unsigned",
    ]);
    tools.run(
        &tool,
        &[
            Workplace::Input(pair.key, "/run/key"),
            Workplace::Input(pair.certificate, "/run/certificate"),
            Workplace::Input(input, "/run/unsigned"),
            Workplace::Output(output, "/run/signed"),
        ],
    )?;
    Ok(())
}

/// Checks that `program` carries a good signature by `certificate`.
pub fn verify(tools: &ToolsTree, certificate: &Path, program: &Path) -> Result<()> {
    let tool = Tool::new("sbverify").args(["--cert", "/run/certificate", "/run/program"]);
    tools
        .run(&tool, &[Workplace::Input(certificate, "/run/certificate"), Workplace::Input(program, "/run/program")])?;
    Ok(())
}

//! `openssl` and efitools: a set of Secure Boot keys, and the signed lists that firmware enrols.

use std::path::Path;

use anyhow::Result;
use tools::Tool;

use super::{ToolsTree, Workplace};

/// Makes PK, KEK and db in `dir`: `NAME.key`, `NAME.crt`, `NAME.esl` and `NAME.auth` each.
///
/// PK signs itself and KEK, KEK signs db (UEFI 2.10, §32.4). `owner` is the GUID that the lists carry.
pub fn make(tools: &ToolsTree, dir: &Path, owner: &str, subject: &str) -> Result<()> {
    for (name, signer) in [("PK", "PK"), ("KEK", "PK"), ("db", "KEK")] {
        let at = |suffix: &str| format!("/run/keys/{name}.{suffix}");
        let certificate = Tool::new("openssl")
            .args(["req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "7300"])
            .args(["-subj", &format!("/CN={subject} {name}/"), "-keyout", &at("key"), "-out", &at("crt")]);
        let list = Tool::new("cert-to-efi-sig-list").args(["-g", owner, &at("crt"), &at("esl")]);
        let signed = Tool::new("sign-efi-sig-list").args(["-g", owner]).args([
            "-k",
            &format!("/run/keys/{signer}.key"),
            "-c",
            &format!("/run/keys/{signer}.crt"),
            name,
            &at("esl"),
            &at("auth"),
        ]);
        for tool in [certificate, list, signed] {
            tools.run(&tool, &[Workplace::Output(dir, "/run/keys")])?;
        }
    }
    Ok(())
}

//! `casemate personalise`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::context::Context;
use crate::output;

/// Signs a host.toml and puts it on the EFI system partition of a disk or disk image.
#[derive(Debug, Args)]
pub(crate) struct PersonaliseArgs {
    /// The disk or disk image
    #[arg(value_name = "DISK")]
    disk: PathBuf,
    /// The host's document
    #[arg(value_name = "HOST_TOML")]
    document: PathBuf,
    /// The operator's private key [default: an existing signature beside the document; else the development key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The id that `host = "..."` in documents is compared with
    #[arg(long, value_name = "ID")]
    host_id: Option<String>,
}

impl PersonaliseArgs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let signed = context.builder().sign_host(&self.document, self.key.as_deref())?;
        context.builder().personalise(&self.disk, &signed, self.host_id.as_deref())?;
        let value = serde_json::json!({
            "disk": self.disk, "hostname": signed.config.hostname.to_string(), "serial": signed.config.serial.to_string(),
            "signed_by": signed.signed_by, "signature_checked": signed.checked,
        });
        let unchecked = if signed.checked { "" } else { " (not checked: the public key is not here)" };
        let text = format!(
            "{} is now {} (serial {}), signed by {}{unchecked}",
            self.disk.display(),
            signed.config.hostname,
            signed.config.serial,
            signed.signed_by.join(", ")
        );
        output::print(context.json(), &value, &text)
    }
}

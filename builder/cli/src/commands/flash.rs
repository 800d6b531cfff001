//! `casemate flash`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use pipeline::flash_image::FlashRequest;
use pipeline::host_document;
use pipeline::proof::Proof;
use tools::Failure;

use crate::context::Context;
use crate::output;

/// Writes an image to a disk, reads it back and compares. Everything on the disk is lost.
#[derive(Debug, Args)]
pub(crate) struct FlashArgs {
    /// The image's output directory, e.g. out/webhost
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,
    /// The whole disk, e.g. /dev/sdb
    #[arg(value_name = "DEVICE")]
    device: PathBuf,
    /// Write a host.toml onto it as well
    #[arg(long, value_name = "HOST_TOML")]
    host: Option<PathBuf>,
    /// The operator's private key for --host
    #[arg(long, value_name = "FILE", requires = "host")]
    key: Option<PathBuf>,
    /// The id that `host = "..."` in documents is compared with
    #[arg(long, value_name = "ID", requires = "host")]
    host_id: Option<String>,
    /// The public release key that must have signed image and test report, e.g. keys/release.pub [default: the development key]
    #[arg(long, value_name = "FILE")]
    release_key: Option<PathBuf>,
    /// Accept an image without a passed test report
    #[arg(long)]
    untested: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl FlashArgs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let builder = context.builder();
        let signed =
            self.host.as_deref().map(|document| builder.sign_host(document, self.key.as_deref())).transpose()?;
        if let Some(signed) = &signed {
            // Before the disk is overwritten, not after.
            host_document::check_target(&signed.config.host, self.host_id.as_deref())?;
        }
        let request = FlashRequest {
            output: &self.output,
            device: &self.device,
            release_key: self.release_key.as_deref(),
            proof: if self.untested { Proof::NotAsked } else { Proof::TestReport },
        };
        let checked = builder.check_flash(&request)?;
        if !self.yes {
            confirm(&format!(
                "everything on {} ({} MiB) will be lost",
                self.device.display(),
                checked.device_size() >> 20
            ))?;
        }
        let written = builder.flash(&checked)?;
        if let Some(signed) = &signed {
            builder.personalise(&self.device, signed, self.host_id.as_deref())?;
        }
        let manifest = checked.manifest();
        let value = serde_json::json!({
            "device": self.device, "image": manifest.image, "version": manifest.version, "development": manifest.development,
            "image_bytes": written.image, "written_bytes": written.written, "tested": !self.untested,
            "hostname": signed.as_ref().map(|signed| signed.config.hostname.to_string()),
        });
        let mark = if manifest.development { " (DEVELOPMENT image: never use it for a real host)" } else { "" };
        let text = format!(
            "{}: {} {}{mark}, wrote {} of {} MiB (the rest is zeros), read back and compared",
            self.device.display(),
            manifest.image,
            manifest.version,
            written.written >> 20,
            written.image >> 20
        );
        output::print(context.json(), &value, &text)
    }
}

fn confirm(question: &str) -> Result<()> {
    let refused = |hint: &str| Err(Failure::refused("nothing was written").hint(hint).into());
    if !std::io::stdin().is_terminal() {
        return refused("there is nobody to ask: give `--yes`");
    }
    write!(std::io::stderr(), "{question}. Type `yes` to go on: ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { refused("type `yes`, or give `--yes`") }
}

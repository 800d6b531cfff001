//! `casemate verify`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::context::Context;
use crate::output;

/// Checks signatures, digests, hash tree and bundle of a built image, reading every byte.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The image's output directory, e.g. out/webhost
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,
    /// The public release key that must have signed it, e.g. keys/release.pub [default: the development key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl VerifyArgs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let verified = context.builder().verify(&self.output, self.key.as_deref())?;
        let manifest = &verified.manifest;
        let value = serde_json::json!({
            "image": manifest.image, "version": manifest.version, "development": manifest.development,
            "root_hash": manifest.root_hash, "key": verified.key, "secure_boot": verified.secure_boot,
        });
        let mark = if manifest.development { " (DEVELOPMENT image: never use it for a real host)" } else { "" };
        let secure_boot = if verified.secure_boot { "Secure Boot signature, " } else { "" };
        let mut text = format!(
            "{} {}{mark}: signature, digests, hash tree, kernel image, {secure_boot}disk, provenance and bundle are good\nsigned by {}",
            manifest.image,
            manifest.version,
            verified.key.display()
        );
        if !verified.secure_boot {
            text.push_str("\nthe Secure Boot signature was not checked: there is no secureboot/db.crt beside that key");
        }
        output::print(context.json(), &value, &text)
    }
}

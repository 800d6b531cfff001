//! `casemate host`: what the agent would make of a document, on this machine.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use crate::context::Context;
use crate::output;

/// What to do with a host.toml.
#[derive(Debug, Subcommand)]
pub(crate) enum HostVerb {
    /// Report every mistake, with its line
    Check {
        /// The document
        #[arg(value_name = "HOST_TOML")]
        document: PathBuf,
    },
    /// Write the configuration that the host would render
    Render {
        /// The document
        #[arg(value_name = "HOST_TOML")]
        document: PathBuf,
        /// The image that the host runs, e.g. images/webhost
        #[arg(long, value_name = "IMAGE")]
        image: PathBuf,
        /// Where to write; without it the files are listed
        #[arg(long, short, value_name = "DIR")]
        output: Option<PathBuf>,
    },
}

impl HostVerb {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Check { document } => {
                let config = context.builder().read_host(&document)?;
                let sites: usize = config.domains.iter().map(|domain| domain.sites.len()).sum();
                let value = serde_json::json!({
                    "hostname": config.hostname.to_string(), "serial": config.serial.to_string(),
                    "domains": config.domains.len(), "sites": sites,
                });
                let text = format!(
                    "{} (serial {}): {} domains, {sites} sites, no mistakes",
                    config.hostname,
                    config.serial,
                    config.domains.len()
                );
                output::print(context.json(), &value, &text)
            }
            Self::Render { document, image, output: target } => {
                let plan = context.builder().render_host(&document, &image)?;
                let files: Vec<String> = plan.files.iter().map(|file| file.path.to_string()).collect();
                if let Some(dir) = &target {
                    for file in &plan.files {
                        let path = dir.join(file.path.to_string().trim_start_matches('/'));
                        fs_err::create_dir_all(path.parent().unwrap_or(dir))?;
                        fs_err::write(path, &file.bytes)?;
                    }
                }
                output::print(context.json(), &serde_json::json!({ "files": files }), &files.join("\n"))
            }
        }
    }
}

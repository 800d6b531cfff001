//! `casemate keys`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use pipeline::keys::KeyRing;
use pipeline::trees::ToolsKind;

use crate::context::Context;
use crate::output;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysVerb {
    /// Make a new set of keys; existing ones are never overwritten
    Init {
        /// Where to put them
        #[arg(default_value = "keys", value_name = "DIR")]
        dir: PathBuf,
    },
}

impl KeysVerb {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let Self::Init { dir } = self;
        let tools = context.builder().tools_tree(ToolsKind::Build)?;
        let keys = KeyRing::init(&dir, &tools)?;
        let release = keys.release()?.public().to_string();
        let operator = keys.operator()?.public().to_string();
        let value = serde_json::json!({ "dir": dir, "release": release, "operator": operator });
        let text = format!(
            "keys are in {dir}\n\
             \x20 release     {release}\n\
             \x20 operator    {operator}\n\
             \x20 Secure Boot {dir}/secureboot/{{PK,KEK,db}}.{{key,crt,auth}}\n\
             `build` reads release.key, release.pub, operator.pub, secureboot/db.key and db.crt, and puts secureboot/*.auth on the disk; `test` reads operator.key too\n\
             operator.key, PK.key and KEK.key can live elsewhere; make a copy of all: hosts trust these keys for as long as they live",
            dir = dir.display(),
        );
        output::print(context.json(), &value, &text)
    }
}

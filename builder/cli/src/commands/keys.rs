//! `casemate keys`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Subcommand;
use pipeline::keys::{KeyRing, make_pair};
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
    /// Make one key pair, NAME.key and NAME.pub, e.g. a root key on a machine without a network
    New {
        /// Path without an ending, e.g. anna
        #[arg(value_name = "NAME")]
        stem: PathBuf,
        /// What people will know the key by [default: the name]
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
    },
}

impl KeysVerb {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Init { dir } => Self::init(&dir, context),
            Self::New { stem, comment } => Self::pair(&stem, comment, context),
        }
    }

    fn pair(stem: &Path, comment: Option<String>, context: &Context) -> Result<()> {
        let name = stem.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let public = make_pair(stem, &comment.unwrap_or(name))?;
        let value = serde_json::json!({ "public": public.to_string(), "id": public.id() });
        let text = format!(
            "{public}\n\
             {stem}.key is the private half: keep it where only its owner is; {stem}.pub is for everybody\n\
             key id {id}",
            stem = stem.display(),
            id = public.id(),
        );
        output::print(context.json(), &value, &text)
    }

    fn init(dir: &Path, context: &Context) -> Result<()> {
        let tools = context.builder().tools_tree(ToolsKind::Build)?;
        let keys = KeyRing::init(dir, &tools)?;
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

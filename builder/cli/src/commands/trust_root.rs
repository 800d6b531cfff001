//! `casemate trust-root`.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Result;
use bundle::{ImageName, KeySet, Standing, TrustRoot};
use clap::{Args, Subcommand};
use pipeline::keys::load_signing_key;
use pipeline::trust_root::{self, Ceremony, RoleChange, key_text};
use tools::{Failure, failure::HintExt as _};

use crate::context::Context;
use crate::output;

/// What to do with a trust root.
#[derive(Debug, Subcommand)]
pub(crate) enum TrustRootVerb {
    /// Make version 1 for an image; nobody has signed it yet
    New {
        /// Name of the image, e.g. webhost
        #[arg(value_name = "IMAGE")]
        image: ImageName,
        #[command(flatten)]
        roles: Roles,
        /// Where to write it
        #[arg(long, short, default_value = "trust-root-1.json", value_name = "FILE")]
        output: PathBuf,
    },
    /// Make the version that follows one that is fully signed; keys that are not named stay
    Next {
        /// The trust root that it follows
        #[arg(value_name = "TRUST_ROOT")]
        before: PathBuf,
        #[command(flatten)]
        roles: Roles,
        /// Where to write it [default: trust-root-N.json beside the one before]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Add the signature of one root key, of this version or of the one before
    Sign {
        #[command(flatten)]
        subject: Subject,
        /// The private root key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Say who has signed and who is missing; exit code 1 while hosts would not believe it
    Check {
        #[command(flatten)]
        subject: Subject,
    },
}

/// The keys of both roles.
#[derive(Debug, Args)]
pub(crate) struct Roles {
    /// A public root key, kept offline; once for each
    #[arg(long = "root-key", value_name = "FILE")]
    root_keys: Vec<PathBuf>,
    /// How many root keys must sign
    #[arg(long, value_name = "N")]
    root_threshold: Option<usize>,
    /// A public release key, which signs images; once for each
    #[arg(long = "release-key", value_name = "FILE")]
    release_keys: Vec<PathBuf>,
    /// How many release keys must sign
    #[arg(long, value_name = "N")]
    release_threshold: Option<usize>,
}

impl Roles {
    fn changes(self) -> (RoleChange, RoleChange) {
        let root = RoleChange { keys: self.root_keys, threshold: self.root_threshold };
        (root, RoleChange { keys: self.release_keys, threshold: self.release_threshold })
    }
}

/// A trust root, and the one before it.
#[derive(Debug, Args)]
pub(crate) struct Subject {
    /// The trust root, e.g. trust-root-2.json
    #[arg(value_name = "TRUST_ROOT")]
    path: PathBuf,
    /// The one before [default: trust-root-N.json beside it]
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
}

impl TrustRootVerb {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::New { image, roles, output } => {
                let (root, release) = roles.changes();
                made(context, &trust_root::first(image, &root, &release)?, None, &output)
            }
            Self::Next { before, roles, output } => {
                let (root, release) = roles.changes();
                let (old, next) = trust_root::next(&before, &root, &release)?;
                let beside = before.with_file_name(trust_root::file_name(next.version));
                made(context, &next, Some(&old), &output.unwrap_or(beside))
            }
            Self::Sign { subject, key } => sign(context, &subject, &key),
            Self::Check { subject } => check(context, &subject),
        }
    }
}

fn made(context: &Context, root: &TrustRoot, before: Option<&TrustRoot>, path: &Path) -> Result<()> {
    trust_root::write_new(root, path)?;
    let value = serde_json::json!({ "image": root.image, "version": root.version, "file": path });
    let text = format!(
        "{}{path}: not signed yet; let its owners sign it: `casemate trust-root sign {path} --key FILE`",
        describe(root, before),
        path = path.display()
    );
    output::print(context.json(), &value, &text)
}

fn sign(context: &Context, subject: &Subject, key: &Path) -> Result<()> {
    let key = load_signing_key(key).or_refuse("name a private root key, e.g. `--key anna.key`")?;
    let (ceremony, added) = Ceremony::read(&subject.path, subject.previous.as_deref())?.sign(&key)?;
    let told = if added { "signed" } else { "this key had signed before: nothing changed" };
    let text = format!("{}{}\n{told}", describe(&ceremony.root, ceremony.before.as_ref()), standings(&ceremony));
    output::print(context.json(), &as_json(&ceremony, Some(added)), &text)
}

fn check(context: &Context, subject: &Subject) -> Result<()> {
    let ceremony = Ceremony::read(&subject.path, subject.previous.as_deref())?;
    let mut text = format!("{}{}", describe(&ceremony.root, ceremony.before.as_ref()), standings(&ceremony));
    if ceremony.verdict.is_ok() {
        let follows = ceremony.before.as_ref().map(|before| format!(" after version {}", before.version));
        text.push_str(&format!("\ncomplete: hosts believe it{}", follows.unwrap_or_default()));
    }
    output::print(context.json(), &as_json(&ceremony, None), &text)?;
    ceremony.verdict.map_err(|error| {
        let path = subject.path.display();
        Failure::refused(format!("`{path}` is not complete: {error}"))
            .hint(format!("let those sign who are missing: `casemate trust-root sign {path} --key FILE`"))
            .into()
    })
}

/// What people sign, in words: the keys of both roles, and how they differ from those of the version before.
fn describe(root: &TrustRoot, before: Option<&TrustRoot>) -> String {
    let mut text = format!("trust root {} of {}\n", root.version, root.image);
    let old = before.map(|before| [&before.root, &before.release]);
    for (index, (role, set)) in [("root", &root.root), ("release", &root.release)].into_iter().enumerate() {
        text.push_str(&role_text(role, set, old.map(|old| old[index])));
    }
    text
}

fn role_text(role: &str, set: &KeySet, before: Option<&KeySet>) -> String {
    let was = before.map(KeySet::threshold).filter(|was| *was != set.threshold());
    let was = was.map(|was| format!(" (was {was})")).unwrap_or_default();
    let mut text = format!("  {role}: {}{was} of {} keys must sign\n", set.threshold(), set.keys().len());
    for key in set.keys() {
        let mark = if before.is_some_and(|before| !before.holds(key.id())) { " (new)" } else { "" };
        text.push_str(&format!("    {}{mark}\n", key_text(key)));
    }
    for key in before.into_iter().flat_map(KeySet::keys).filter(|key| !set.holds(key.id())) {
        text.push_str(&format!("    {} (removed)\n", key_text(key)));
    }
    text
}

fn standings(ceremony: &Ceremony) -> String {
    let before = ceremony.before.as_ref().map(|root| root.version).zip(ceremony.of_before.as_ref());
    let rows = [(ceremony.root.version, &ceremony.own)].into_iter().chain(before);
    rows.map(|(version, standing)| standing_text(version, standing)).collect::<Vec<_>>().join("\n")
}

fn standing_text(version: NonZeroU32, standing: &Standing) -> String {
    let missing = match standing.missing() {
        0 => "enough".to_owned(),
        count => format!("{count} more needed"),
    };
    let mut text = format!(
        "signatures by root keys of version {version}: {} of {}, {missing}",
        standing.signed.len(),
        standing.threshold
    );
    for (mark, keys) in [("signed ", &standing.signed), ("not yet", &standing.open)] {
        for key in keys {
            text.push_str(&format!("\n    {mark} {}", key_text(key)));
        }
    }
    text
}

fn as_json(ceremony: &Ceremony, added: Option<bool>) -> serde_json::Value {
    let ids = |keys: &[bundle::PublicKey]| keys.iter().map(|key| key.id().to_string()).collect::<Vec<_>>();
    let standing = |standing: &Standing| {
        serde_json::json!({
            "signed": ids(&standing.signed), "open": ids(&standing.open), "needed": standing.threshold, "missing": standing.missing(),
        })
    };
    let mut value = serde_json::json!({
        "image": ceremony.root.image, "version": ceremony.root.version, "complete": ceremony.verdict.is_ok(),
        "root": standing(&ceremony.own),
    });
    if let Some(before) = &ceremony.of_before {
        value["root_of_version_before"] = standing(before);
    }
    if let Some(added) = added {
        value["added"] = serde_json::json!(added);
    }
    value
}

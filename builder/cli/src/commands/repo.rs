//! `casemate repo`.

use std::path::PathBuf;

use anyhow::Result;
use bundle::{ImageName, ImageVersion, Newest};
use clap::{Args, Subcommand};
use pipeline::proof::Proof;
use pipeline::repo::{self, CheckRequest, Checked, PublishRequest, Published, RefreshRequest, Term};

use crate::context::Context;
use crate::output;

/// What to do with an update repository.
#[derive(Debug, Subcommand)]
pub(crate) enum RepoVerb {
    /// Begin a repository with trust root 1 of an image, or add the next one
    Trust {
        /// The trust root, with its `.sig` beside it
        #[arg(value_name = "TRUST_ROOT")]
        trust_root: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Make a built image the newest version of a channel
    Publish(PublishArgs),
    /// Sign the statements again with a later end, also when there is nothing new: for a timer
    Refresh(RefreshArgs),
    /// Read everything back as a host would
    Check {
        #[command(flatten)]
        place: Place,
        /// The image [default: all]
        #[arg(long, value_name = "IMAGE")]
        image: Option<ImageName>,
        /// The trust root that hosts begin with [default: that of the repository, believed as it is]
        #[arg(long, value_name = "FILE")]
        trust_root: Option<PathBuf>,
    },
    /// Remove bundles that no channel names any more
    Prune {
        #[command(flatten)]
        place: Place,
        /// The image [default: all]
        #[arg(long, value_name = "IMAGE")]
        image: Option<ImageName>,
        /// How many of them to keep, the newest: hosts may be in the middle of fetching one
        #[arg(long, default_value_t = 1, value_name = "N")]
        keep: usize,
    },
}

/// Where the repository is.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The folder of the repository
    #[arg(long, value_name = "DIR")]
    repo: PathBuf,
}

/// What is signed with, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Signing {
    /// A private release key; once for each that must sign
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// How long the statement holds, e.g. 30d or 12h, at most 92d [default: as long as the last one, or 30d]
    #[arg(long, value_name = "TERM")]
    expires_in: Option<Term>,
    /// Take development keys, for trying things out
    #[arg(long)]
    development: bool,
}

/// Makes a built image the newest version of a channel.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The image's output directory, e.g. out/webhost
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,
    #[command(flatten)]
    place: Place,
    /// The channel
    #[arg(long, default_value = "stable", value_name = "CHANNEL")]
    channel: ImageName,
    /// The oldest version that may still be installed [default: as before, or what the manifest says]
    #[arg(long, value_name = "VERSION")]
    floor: Option<ImageVersion>,
    /// The number of the statement, where the last one was lost: higher than any that hosts have seen
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,
    #[command(flatten)]
    signing: Signing,
    /// Accept an image without a passed test report
    #[arg(long)]
    untested: bool,
}

/// Signs statements again with a later end.
#[derive(Debug, Args)]
pub(crate) struct RefreshArgs {
    #[command(flatten)]
    place: Place,
    /// The image [default: all]
    #[arg(long, value_name = "IMAGE")]
    image: Option<ImageName>,
    /// The channel [default: all]
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<ImageName>,
    #[command(flatten)]
    signing: Signing,
}

impl RepoVerb {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Trust { trust_root, place } => {
                let (root, added) = repo::trust(&trust_root, &place.repo)?;
                let value = serde_json::json!({ "image": root.image, "version": root.version, "added": added });
                let told = if added { "added" } else { "was there already: nothing changed" };
                output::print(context.json(), &value, &format!("trust root {} of {}: {told}", root.version, root.image))
            }
            Self::Publish(args) => args.run(context),
            Self::Refresh(args) => args.run(context),
            Self::Check { place, image, trust_root } => {
                let request =
                    CheckRequest { repo: &place.repo, image: image.as_ref(), trust_root: trust_root.as_deref() };
                show_checked(context, &context.builder().check_repo(&request)?)
            }
            Self::Prune { place, image, keep } => {
                let pruned = repo::prune(&place.repo, image.as_ref(), keep)?;
                let value = serde_json::json!({ "removed": pruned.bundles, "bytes": pruned.bytes });
                let text = format!("{} bundles removed, {} MiB freed", pruned.bundles.len(), pruned.bytes >> 20);
                output::print(context.json(), &value, &[pruned.bundles, vec![text]].concat().join("\n"))
            }
        }
    }
}

impl PublishArgs {
    fn run(self, context: &Context) -> Result<()> {
        let signers = context.builder().release_signers(&self.signing.keys, self.signing.development)?;
        let published = context.builder().publish(&PublishRequest {
            output: &self.output,
            repo: &self.place.repo,
            channel: &self.channel,
            floor: self.floor.as_ref(),
            term: self.signing.expires_in,
            sequence: self.sequence,
            signers: &signers,
            proof: if self.untested { Proof::NotAsked } else { Proof::TestReport },
            development: self.signing.development,
        })?;
        let text = if published.written {
            text_of(&published.newest)
        } else {
            format!("{}\nwas published already: nothing changed", text_of(&published.newest))
        };
        output::print(context.json(), &as_json(&published), &text)
    }
}

impl RefreshArgs {
    fn run(self, context: &Context) -> Result<()> {
        let signers = context.builder().release_signers(&self.signing.keys, self.signing.development)?;
        let refreshed = context.builder().refresh(&RefreshRequest {
            repo: &self.place.repo,
            image: self.image.as_ref(),
            channel: self.channel.as_ref(),
            term: self.signing.expires_in,
            signers: &signers,
        })?;
        let lines: Vec<String> = refreshed.iter().map(|published| text_of(&published.newest)).collect();
        let value: Vec<serde_json::Value> = refreshed.iter().map(as_json).collect();
        output::print(context.json(), &serde_json::json!({ "refreshed": value }), &lines.join("\n"))
    }
}

fn show_checked(context: &Context, checked: &[Checked]) -> Result<()> {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for Checked { root, channels } in checked {
        lines.push(format!("{}: trust root {} is the last", root.image, root.version));
        for channel in channels {
            let left = channel.seconds_left;
            let mark = if channel.manifest.development { " (DEVELOPMENT image)" } else { "" };
            let time = format!("{} d {} h", left / 86400, left % 86400 / 3600);
            lines.push(format!("  {}{mark}, {time} left: every byte is good", text_of(&channel.newest)));
            rows.push(serde_json::json!({
                "image": root.image, "trust_root": root.version, "statement": channel.newest, "seconds_left": left,
                "development": channel.manifest.development,
            }));
        }
    }
    output::print(context.json(), &serde_json::json!({ "channels": rows }), &lines.join("\n"))
}

fn as_json(published: &Published) -> serde_json::Value {
    serde_json::json!({ "statement": published.newest, "written": published.written })
}

fn text_of(newest: &Newest) -> String {
    let floor = newest.floor.as_ref().map(|floor| format!(", floor {floor}")).unwrap_or_default();
    format!("{} {}: {} is newest{floor}, statement {}", newest.image, newest.channel, newest.version, newest.sequence)
}

//! New versions from the repository that the document names: looked for, taken by hand, and taken by a timer.

use std::fs;
use std::io;
use std::process::ExitCode;

use anyhow::Context as _;
use anyhow::Result;
use bundle::Freshness;
use serde::Serialize;
use tools::ResultExt as _;
use tools::Tool;

use super::super::print;
use super::lock;
use super::say;
use super::say_outcome;
use crate::certificates;
use crate::host::Host;
use crate::image;
use crate::update;
use crate::update::Fetcher;
use crate::update::Offer;
use crate::update::Settings;
use crate::update::Source;
use crate::update::Standing;
use crate::update::Target;
use crate::update::Turn;
use crate::update::Wishes;

/// What `check --json` prints (`docs/formats/update-state.md`).
#[derive(Debug, Serialize)]
struct Found<'a> {
    schema: u8,
    version: &'a str,
    channel: &'a str,
    standing: &'static str,
    proven: bool,
    expires: u64,
}

/// Says what is newest; 0 whatever that is.
pub(super) fn check(host: Host<'_>, json: bool) -> Result<ExitCode> {
    let source = Source::read(host.paths).remedied()?;
    let _locks = lock(host)?;
    let offer = look(host, &source, &Target::of(host).remedied()?)?;
    let text = if json { as_json(&offer)? } else { as_text(host, &offer, &source)? };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Applies what is newest, whatever the time.
pub(super) fn apply(host: Host<'_>, wishes: Wishes) -> Result<ExitCode> {
    let source = Source::read(host.paths).remedied()?;
    let _locks = lock(host)?;
    let target = Target::of(host).remedied()?;
    let offer = look(host, &source, &target)?;
    if offer.standing == Standing::Runs {
        say(&format!("{} runs and is the newest in `{}`", offer.newest.version, source.channel));
        return Ok(ExitCode::SUCCESS);
    }
    take(host, &target, &offer, wishes)?;
    Ok(ExitCode::SUCCESS)
}

/// Applies what is newest if it is this host's turn, and restarts. A host whose document names no repository has nothing to do.
pub(super) fn follow(host: Host<'_>) -> Result<ExitCode> {
    let Some(source) = Settings::read(host.paths).remedied()?.source else { return Ok(ExitCode::SUCCESS) };
    if host.paths.on_trial().exists() {
        say("this version is on trial: nothing is taken before it is good");
        return Ok(ExitCode::SUCCESS);
    }
    let _locks = lock(host)?;
    let target = Target::of(host).remedied()?;
    let offer = look(host, &source, &target)?;
    say(as_text(host, &offer, &source)?.trim_end());
    let turn = turn(host, &offer, &source)?;
    if turn == Turn::Apply {
        take(host, &target, &offer, Wishes::default())?;
    }
    if matches!(turn, Turn::Apply | Turn::Restart) {
        say("restarting");
        host.runner.run(&Tool::new("systemctl").args(["reboot", "--no-block"]))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers one question of the agent. Needs no rights, and has none on a host.
pub(super) fn fetch(host: Host<'_>) -> Result<ExitCode> {
    let source = Source::read(host.paths).remedied()?;
    let image = image::load_description(host.paths)?.name;
    let http = update::client(&source, std::env::var("https_proxy").ok(), host.paths.root()).remedied()?;
    let folder = format!("{}/{}", source.repository.trim_end_matches('/'), image);
    update::serve(&http, &folder, io::stdin(), &mut io::stdout().lock()).remedied()?;
    Ok(ExitCode::SUCCESS)
}

fn look(host: Host<'_>, source: &Source, target: &Target) -> Result<Offer> {
    let offer = update::look(host, target, &fetcher(host), &source.channel).remedied()?;
    if offer.freshness == Freshness::Unproven {
        say("nobody knows whether this still is what is newest: no time server has set the clock yet");
    }
    Ok(offer)
}

fn take(host: Host<'_>, target: &Target, offer: &Offer, wishes: Wishes) -> Result<()> {
    say_outcome(update::apply_newest(host, target, &fetcher(host), offer, wishes, &say).remedied()?, wishes);
    Ok(())
}

fn fetcher(host: Host<'_>) -> Fetcher {
    Fetcher { socket: host.paths.fetcher() }
}

fn turn(host: Host<'_>, offer: &Offer, source: &Source) -> Result<Turn> {
    let place = host.paths.state().join("machine-id");
    let machine = fs::read_to_string(&place).with_context(|| format!("cannot read `{}`", place.display()))?;
    Ok(update::turn(offer, source, machine.trim(), update::clock(host.paths)))
}

fn as_json(offer: &Offer) -> Result<String> {
    let newest = &offer.newest;
    let found = Found {
        schema: 1,
        version: newest.version.as_str(),
        channel: newest.channel.as_str(),
        standing: match offer.standing {
            Standing::Runs => "runs",
            Standing::Older => "older",
            Standing::Failed => "failed",
            Standing::Waits => "waits",
            Standing::New => "new",
        },
        proven: offer.freshness == Freshness::Proven,
        expires: newest.expires,
    };
    Ok(serde_json::to_string_pretty(&found)? + "\n")
}

fn as_text(host: Host<'_>, offer: &Offer, source: &Source) -> Result<String> {
    let version = &offer.newest.version;
    let standing = match offer.standing {
        Standing::Runs => "it runs".to_owned(),
        Standing::Older => "a newer one runs".to_owned(),
        Standing::Failed => "it failed on this host: `casemate-agent why`".to_owned(),
        Standing::Waits => format!("it is in the spare slot; {}", when(host, offer, source)?),
        Standing::New => format!("it is new; {}", when(host, offer, source)?),
    };
    Ok(format!("newest in `{}`: {version}; {standing}\n", source.channel))
}

fn when(host: Host<'_>, offer: &Offer, source: &Source) -> Result<String> {
    let window = source.window.map(|window| window.to_string()).unwrap_or_default();
    Ok(match turn(host, offer, source)? {
        Turn::Nothing => "nothing is done about it".to_owned(),
        Turn::ByHand => "take it by `casemate-agent update apply` and `systemctl reboot`".to_owned(),
        Turn::NoClock => "the host waits for a time server".to_owned(),
        Turn::Later(at) => {
            let hours = at.saturating_sub(certificates::now()).div_ceil(3600);
            format!("other hosts are first, this one takes it in {hours} h")
        }
        Turn::Closed => format!("the host takes it between {window} UTC"),
        Turn::Apply | Turn::Restart => "the host takes it now".to_owned(),
    })
}

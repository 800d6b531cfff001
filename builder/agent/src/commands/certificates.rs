//! `casemate-agent certificates`: what sites have, and the three steps of `casemate-certificates.service`.

use std::process::ExitCode;

use serde::Serialize;

use super::print;
use crate::certificates;
use crate::certificates::Site;
use crate::certificates::Wanted;
use crate::certificates::install;
use crate::certificates::order;
use crate::certificates::record::Record;
use crate::certificates::request;
use crate::certificates::request::Names;
use crate::host::Host;

const DAY: u64 = 24 * 60 * 60;

/// What is done.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show the certificate of each site; exit 1 when an authority is to sign and one site has none of it
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// A step of the unit, as root: write a request for each site that needs a certificate
    Request {
        /// Only for sites of which the authority has just refused some names: ask for the others
        #[arg(long)]
        rest: bool,
    },
    /// A step of the unit, without rights: take the requests to the authority
    Order,
    /// A step of the unit, as root: put good answers in place and reload who serves them
    Install,
}

/// A site and what it shows.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    site: &'a str,
    id: &'a str,
    /// Absent: the host's own certificate.
    #[serde(flatten)]
    record: Option<Record>,
    /// Names that are not in it.
    missing: Vec<&'a str>,
}

pub(super) fn run(host: Host<'_>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let wanted = certificates::read(host.paths)?;
    let now = certificates::now();
    let failed = match &arguments.verb {
        Verb::List { json } => return list(&wanted, now, *json),
        Verb::Request { rest } => {
            request::write(host, &wanted, if *rest { Names::Rest } else { Names::All }, now)?;
            Vec::new()
        }
        Verb::Order => order::place(host, &wanted)?,
        Verb::Install => install::install(host, &wanted, now)?,
    };
    print(&failed.iter().map(|reason| reason.clone() + "\n").collect::<String>())?;
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(wanted: &Wanted, now: u64, json: bool) -> anyhow::Result<ExitCode> {
    let shown: Vec<Shown<'_>> = wanted.sites.iter().map(show).collect();
    if json {
        print(&(serde_json::to_string_pretty(&shown)? + "\n"))?;
    } else {
        print(&shown.iter().map(|each| line(each, now) + "\n").collect::<String>())?;
    }
    let directory = wanted.authority.as_ref().map(|authority| &authority.directory);
    let has = |directory: &String| {
        let mut records = shown.iter().map(|each| each.record.as_ref());
        records.all(|record| record.is_some_and(|record| record.directory == *directory && now < record.not_after))
    };
    Ok(if directory.is_none_or(has) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(site: &Site) -> Shown<'_> {
    let record = Record::of(&site.certificate);
    let lacks = |name: &&str| record.as_ref().is_some_and(|record| !record.names.iter().any(|has| has == name));
    let missing = site.names.iter().map(String::as_str).filter(lacks).collect();
    Shown { site: site.names.first().map_or("", String::as_str), id: &site.id, record, missing }
}

fn line(shown: &Shown<'_>, now: u64) -> String {
    let Some(record) = &shown.record else { return format!("{}  self-signed", shown.site) };
    let days = record.not_after.saturating_sub(now) / DAY;
    let missing =
        if shown.missing.is_empty() { String::new() } else { format!(", without {}", shown.missing.join(", ")) };
    format!("{}  {days} days left, {}{missing}", shown.site, record.directory)
}

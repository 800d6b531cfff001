//! From a sealed image to this host: the whole way, one step after the other.
//!
//! Each step does nothing when its work is done, and leaves all or nothing when it is cut; so the way is simply gone again.
//! Services are started last, by one command, and only if every step before has succeeded.

use std::fs;

use bundle::Verified;
use hostconf::Assignments;
use hostconf::HostConfig;
use hostconf::HostTarget;
use tools::Tool;

use crate::checks;
use crate::document;
use crate::facts;
use crate::files::Access;
use crate::health::network::Wanted;
use crate::host::Host;
use crate::image;
use crate::image::Image;
use crate::rendering;
use crate::resolve::resolve;
use crate::secrets;
use crate::secrets::Kind;
use crate::secrets::Secret;
use crate::select::Chosen;
use crate::select::Document;
use crate::select::Rules;
use crate::select::Selection;
use crate::select::select;
use crate::setup;
use crate::source;
use crate::source::Gathered;
use crate::state_directories;
use crate::status::Certificate;
use crate::status::Phase;
use crate::status::Status;
use crate::work::Probe;
use crate::work::Question;
use crate::work::Work;

/// What the operator reads when no source holds a document.
const NO_DOCUMENT: &str = "no host.toml was found: write one to the disk with `casemate personalise`, or attach a volume with the label \
                           CASEMATE that holds host.toml and host.toml.sig";

/// Everything that the overlays start.
const SERVICES: &str = "casemate-services.target";

/// All reasons why a step did not succeed.
type Reasons = Vec<String>;

impl Document for HostConfig {
    fn serial(&self) -> u64 {
        self.serial.0.get()
    }

    fn host_id(&self) -> Option<&str> {
        match &self.host {
            HostTarget::Any => None,
            HostTarget::Only(id) => Some(id.as_str()),
        }
    }
}

/// Goes the whole way once. The status says how far it came; it is not yet shown.
pub fn attempt(host: Host<'_>) -> Status {
    let mut status = Status::default();
    if let Ok(sealed) = image::load_description(host.paths) {
        status.image = sealed.name.to_string();
        status.version = sealed.version.to_string();
        status.development = sealed.development;
    }
    match personalise(host, &mut status) {
        Ok(()) => status.phase = Phase::Personalised,
        Err(reasons) => status.problems = reasons,
    }
    facts::look(host.paths, &mut status);
    status
}

fn personalise(host: Host<'_>, status: &mut Status) -> Result<(), Reasons> {
    let image = Image::load(host.paths).map_err(one)?;
    let gathered = source::gather(host);
    let host_id = gathered.host_id.clone();
    let chosen = choose(host, &image, gathered, status)?;
    let assignments = assign_accounts(host, &image, &chosen.document)?;
    let work = plan(host, &image, &chosen.document, &assignments)?;
    status.notices.extend(state_directories::make(host, &work.directories));
    make_secrets(host, &work.secrets)?;
    rendering::render(host, &work).map_err(one)?;
    all_pass(checks::run(host, &work.checks))?;
    reload_units(host).map_err(one)?;
    status.notices.extend(setup::run(host, &work.steps).map_err(one)?);
    document::store(host, &chosen.candidate, chosen.document.serial()).map_err(one)?;
    document::store_host_id(host, host_id.as_deref()).map_err(one)?;
    write_probes(host, &work)?;
    status.certificates = certificates(&work.secrets);
    Ok(())
}

/// Starts the services of a personalised host, after its status is stored: the health gate starts with them and adds to it.
pub fn start_services(host: Host<'_>, status: &mut Status) {
    let start = Tool::new("systemctl").args(["start", "--no-block", SERVICES]);
    if let Err(error) = host.runner.run(&start) {
        status.phase = Phase::Waiting;
        status.problems = one(checks::reason("start of the services", &error));
    }
}

/// systemd read its units before the agent rendered some; steps of setting up start the first of them.
fn reload_units(host: Host<'_>) -> Result<(), String> {
    if !host.paths.rendered_units().is_dir() {
        return Ok(());
    }
    let reload = Tool::new("systemctl").arg("daemon-reload");
    host.runner.run(&reload).map(drop).map_err(|error| checks::reason("reading of the units", &error))
}

/// The document that was accepted last, and who has which account. Other sources are not asked.
pub fn accepted(host: Host<'_>) -> Result<(Image, HostConfig, Assignments), Vec<String>> {
    let image = Image::load(host.paths).map_err(one)?;
    let mut gathered = Gathered::default();
    source::state::read(host.paths, &mut gathered);
    let chosen = choose(host, &image, gathered, &mut Status::default())?;
    Ok((image, chosen.document, read_accounts(host)?))
}

/// The work of the document that was accepted last, for `casemate-agent render`. Other sources are not asked.
pub fn accepted_work(host: Host<'_>) -> Result<Work, Vec<String>> {
    let (image, document, assignments) = accepted(host)?;
    plan(host, &image, &document, &assignments)
}

fn choose(
    host: Host<'_>,
    image: &Image,
    gathered: Gathered,
    status: &mut Status,
) -> Result<Chosen<HostConfig>, Reasons> {
    let rules = Rules { trusted: &image.operators, highest_serial: document::highest_serial(host.paths) };
    let Selection { chosen, refusals } = select(gathered, &rules, parse);
    let reasons: Reasons = refusals.iter().map(ToString::to_string).collect();
    let Some(chosen) = chosen else {
        return Err(if reasons.is_empty() { one(NO_DOCUMENT) } else { reasons });
    };
    status.notices = reasons;
    status.hostname = Some(chosen.document.hostname.to_string());
    status.serial = Some(chosen.document.serial());
    status.origin = Some(chosen.candidate.origin.to_string());
    Ok(chosen)
}

/// Only bytes with a good signature come here: the type says so.
fn parse(document: &Verified<Vec<u8>>) -> Result<HostConfig, Reasons> {
    let text = std::str::from_utf8(document).map_err(|error| one(format!("host.toml is not UTF-8 text: {error}")))?;
    HostConfig::parse("host.toml", text).map_err(|mistakes| mistakes.to_string().lines().map(str::to_owned).collect())
}

/// An account is on disk before anything is made with its number.
fn assign_accounts(host: Host<'_>, image: &Image, document: &HostConfig) -> Result<Assignments, Reasons> {
    let known = read_accounts(host)?;
    let assignments = known.assign(document.sites().map(|site| &site.name), image.sealed.sites).map_err(one)?;
    host.files.ensure_directory(&host.paths.state(), Access::PASSAGE).map_err(one)?;
    host.files.write(&host.paths.sites(), assignments.to_toml().as_bytes(), Access::PUBLIC).map_err(one)?;
    Ok(assignments)
}

fn read_accounts(host: Host<'_>) -> Result<Assignments, Reasons> {
    let path = host.paths.sites();
    match fs::read_to_string(&path) {
        Ok(text) => Assignments::parse("sites.toml", &text).map_err(one),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Assignments::default()),
        // Without the table a site could get the files of another.
        Err(error) => Err(one(format!("cannot read `{}`: {error}; restore it from a backup", path.display()))),
    }
}

fn plan(host: Host<'_>, image: &Image, document: &HostConfig, assignments: &Assignments) -> Result<Work, Reasons> {
    let plan = hostconf::plan(document, assignments, &image.overlays, &image.sealed);
    let plan = plan.map_err(|errors| errors.to_string().lines().map(str::to_owned).collect::<Reasons>())?;
    let mut work = resolve(&plan, host.paths, &image.accounts)?;
    let services = std::mem::take(&mut work.probes);
    work.probes = own_probes(host, document).into_iter().chain(services).collect();
    Ok(work)
}

/// What every image is asked. First the network, because without it nothing else can be reached.
fn own_probes(host: Host<'_>, document: &HostConfig) -> [Probe; 3] {
    let probe = |name: &str, question| Probe { name: name.to_owned(), question };
    [
        probe("network", Question::Network(Wanted::of(&document.network))),
        probe("room", Question::Room(host.paths.state())),
        probe("clock", Question::Clock(host.paths.clock_epoch())),
    ]
}

fn make_secrets(host: Host<'_>, wanted: &[Secret]) -> Result<(), Reasons> {
    wanted.iter().try_for_each(|secret| secrets::make(host, secret)).map_err(one)
}

/// Certificates of names that somebody can ask for; `.invalid` (RFC 2606) marks the one for strangers.
fn certificates(secrets: &[Secret]) -> Vec<Certificate> {
    let mut found = Vec::new();
    for secret in secrets {
        let Kind::TlsSelfSigned { certificate, names } = &secret.kind else {
            continue;
        };
        let Some(name) = names.first().filter(|name| !name.ends_with(".invalid")) else {
            continue;
        };
        let fingerprint = fs::read(certificate).ok().and_then(|pem| facts::certificate_fingerprint(&pem));
        found.extend(fingerprint.map(|fingerprint| Certificate { name: name.clone(), fingerprint }));
    }
    found
}

/// The health gate is another process.
fn write_probes(host: Host<'_>, work: &Work) -> Result<(), Reasons> {
    let probes = serde_json::to_vec(&work.probes).map_err(one)?;
    host.files.write(&host.paths.probes(), &probes, Access::PUBLIC).map_err(one)
}

fn all_pass(reasons: Reasons) -> Result<(), Reasons> {
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`, which hands over errors")]
fn one(reason: impl ToString) -> Reasons {
    vec![reason.to_string()]
}

#[cfg(test)]
mod tests;

//! A version on trial: what is noted when it starts, what makes it good, what makes it bad, and what the old version
//! says of it when it runs again.
//!
//! Whether a version is on trial stands in the name of its kernel image alone, where the boot loader counts. So nothing
//! here is needed for the way back: a version that cannot do any of this is started three times, and then the old one.

use bundle::ImageVersion;

use super::Target;
use super::UpdateError;
use super::esp::Found;
use super::loader;
use super::preflight::is_running;
use super::running::Running;
use super::state::Failure;
use super::state::State;
use super::state::Trial;
use crate::certificates;
use crate::host::Host;
use formats::version_order;

/// What a start is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// That of a version which is known to be good. These failed since it ran last.
    Usual(Vec<ImageVersion>),
    /// One of the tries of a new version.
    OnTrial(Trial),
}

/// Notes a start as soon as state is there, before anything can go wrong above it.
pub fn begin(host: Host<'_>, target: &Target) -> Result<Start, UpdateError> {
    let running = Running::read(host.paths)?;
    let state = State::read(host.paths)?;
    let entries = target.esp.entries()?;
    if let Some(tries) = on_trial(&entries, &running).and_then(|found| found.entry.tries) {
        let trial = Trial { version: running.version.clone(), start: tries.done(), at: certificates::now() };
        State { trial: Some(trial.clone()), ..state }.write(host)?;
        return Ok(Start::OnTrial(trial));
    }
    let failed = newly_failed(&entries, &state, &running);
    let versions = failed.iter().map(|(version, _)| version.clone()).collect();
    if !failed.is_empty() || state.trial.is_some() {
        State { trial: None, ..state.with_failed(failed) }.write(host)?;
    }
    Ok(Start::Usual(versions))
}

/// Every service works: the running version is good, its floor counts from now on, and its boot loader takes the place of the old one. Says whether it was
/// on trial.
pub fn bless(host: Host<'_>, target: &Target, say: &dyn Fn(&str)) -> Result<bool, UpdateError> {
    let running = Running::read(host.paths)?;
    let entries = target.esp.entries()?;
    let counted: Vec<&Found> =
        entries.iter().filter(|each| is_running(each, &running) && each.entry.tries.is_some()).collect();
    if let Some(first) = counted.first() {
        target.esp.make_writable()?;
        let is_good = |each: &Found| is_running(each, &running) && each.entry.tries.is_none();
        // A rename that was cut can leave two names. Both stay: on FAT they have the same clusters, and whoever removes one gives away those of the other.
        if !entries.iter().any(is_good) {
            target.esp.rename(host.files, first, &first.entry.blessed())?;
        }
        target.esp.flush(host.files)?;
    }
    // After the name: a floor of a version that is not good yet would shut out the one that it falls back to.
    remember_good(host, &running)?;
    // Last: a version is good whatever becomes of its boot loader.
    loader::exchange(host, target, &running, say);
    Ok(!counted.is_empty())
}

/// The running version is bad: another one is started next. Does nothing, and says so, where it is not on trial or there
/// is no other.
pub fn give_up(host: Host<'_>, target: &Target, reasons: Vec<String>) -> Result<bool, UpdateError> {
    let running = Running::read(host.paths)?;
    let entries = target.esp.entries()?;
    let Some(found) = on_trial(&entries, &running) else { return Ok(false) };
    if !entries.iter().any(|each| !is_running(each, &running) && !each.entry.is_bad()) {
        return Ok(false);
    }
    let starts = found.entry.tries.map_or(0, formats::boot_entry::Tries::done);
    let failure = Failure { reasons, starts, at: certificates::now() };
    let state = State::read(host.paths)?;
    // Before its name, for the old version to find; but where nothing can be written any more, a full disk perhaps, the way back is worth more than a word.
    let noted = State { trial: None, ..state.with_failed([(running.version.clone(), failure)]) }.write(host);
    target.esp.make_writable()?;
    target.esp.rename(host.files, found, &found.entry.given_up())?;
    target.esp.flush(host.files)?;
    noted.map(|()| true)
}

/// The running version's entry, where all that there are of it are counted.
fn on_trial<'a>(entries: &'a [Found], running: &Running) -> Option<&'a Found> {
    let mut own = entries.iter().filter(|each| is_running(each, running));
    let first = own.next()?;
    (first.entry.tries.is_some() && own.all(|each| each.entry.tries.is_some())).then_some(first)
}

/// Versions whose tries are over, as the ESP tells, and that nothing is known of yet.
pub(super) fn newly_failed(entries: &[Found], state: &State, running: &Running) -> Vec<(ImageVersion, Failure)> {
    // One of two names that a cut has left counts down while the other one is good.
    let is_left = |found: &Found| {
        let own = |each: &&Found| each.entry.image == found.entry.image && each.entry.version == found.entry.version;
        entries.iter().filter(own).all(|each| each.entry.is_bad())
    };
    let bad = entries.iter().filter(|each| !is_running(each, running) && is_left(each));
    let unknown = bad.filter(|each| !state.failed.contains_key(&each.entry.version));
    unknown.map(|found| (found.entry.version.clone(), silent(found, state.trial.as_ref()))).collect()
}

/// A version that has left no word: how far it came is all that is known.
fn silent(found: &Found, trial: Option<&Trial>) -> Failure {
    let starts = found.entry.tries.map_or(0, formats::boot_entry::Tries::done);
    let own = trial.filter(|trial| trial.version == found.entry.version);
    let reason = own.map_or_else(
        || {
            "no start of it came as far as the state partition: `journalctl -k` of this start and the console"
                .to_owned()
        },
        |trial| {
            format!(
                "start {} ended without a word, by a panic, the watchdog or a power cut: `journalctl --list-boots`, \
                 and `/var/lib/systemd/pstore` where the firmware keeps what a kernel says last",
                trial.start
            )
        },
    );
    Failure { reasons: vec![reason], starts, at: certificates::now() }
}

fn remember_good(host: Host<'_>, running: &Running) -> Result<(), UpdateError> {
    let before = State::read(host.paths)?;
    let mut state = State { trial: None, ..before.clone() };
    state.failed.remove(&running.version);
    let own = state.applied.as_ref().filter(|applied| applied.root_hash == running.root_hash);
    let floors = [state.floor.as_ref(), own.and_then(|applied| applied.floor.as_ref())];
    state.floor = floors.into_iter().flatten().max_by(|one, other| version_order::compare(one, other)).cloned();
    // A host that was never updated has nothing to remember.
    if state == before { Ok(()) } else { state.write(host) }
}

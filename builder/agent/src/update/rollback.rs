//! Back to the version in the other slot, because somebody wants it: looked at as an update is, and one rename.

use std::io::Read as _;

use bundle::ImageVersion;
use bundle::RootHash;
use formats::slots::Slots;
use formats::uki::Uki;
use formats::version_order;

use super::Target;
use super::UpdateError;
use super::esp::Found;
use super::kept::Kept;
use super::preflight::is_running;
use super::read_back;
use super::running::Running;
use super::state::Failure;
use super::state::State;
use crate::certificates;
use crate::host::Host;

/// What is remembered of the version that is left.
const BY_HAND: &str = "an administrator went back from it (`casemate-agent rollback`)";

/// Lets the version in the spare slot start next, after all of it was read. Returns which one that is.
///
/// Where that version cannot read what this one wrote, its first start puts data back as well; that has to be asked for.
pub fn rollback(
    host: Host<'_>,
    target: &Target,
    with_data: bool,
    say: &dyn Fn(&str),
) -> Result<ImageVersion, UpdateError> {
    let running = Running::read(host.paths)?;
    let state = State::read(host.paths)?;
    let entries = target.esp.entries()?;
    let own: Vec<&Found> = entries.iter().filter(|each| is_running(each, &running)).collect();
    let others = entries.iter().filter(|each| !is_running(each, &running) && !each.entry.is_bad());
    let next = others.min_by(|one, other| one.entry.start_order(&other.entry)).ok_or(UpdateError::NothingBehind)?;
    check_floor(next, &state)?;
    check_data(host, &running, next, with_data)?;
    say(&format!("reading all of {} in the other slot", next.entry.version));
    check_whole(target, &running, next)?;
    let starts = own.iter().filter_map(|each| each.entry.tries).map(formats::boot_entry::Tries::done).max();
    let failure = Failure { reasons: vec![BY_HAND.to_owned()], starts: starts.unwrap_or(0), at: certificates::now() };
    State { trial: None, ..state.with_failed([(running.version.clone(), failure)]) }.write(host)?;
    target.esp.make_writable()?;
    say(&format!("marking {} as bad", running.version));
    for each in own {
        target.esp.rename(host.files, each, &each.entry.given_up())?;
    }
    target.esp.flush(host.files)?;
    Ok(next.entry.version.clone())
}

fn check_floor(next: &Found, state: &State) -> Result<(), UpdateError> {
    match &state.floor {
        Some(floor) if version_order::compare(&next.entry.version, floor).is_lt() => {
            Err(UpdateError::BelowFloor { floor: floor.clone(), found: next.entry.version.clone() })
        }
        _ => Ok(()),
    }
}

fn check_data(host: Host<'_>, running: &Running, next: &Found, with_data: bool) -> Result<(), UpdateError> {
    let kept = Kept::read(host.paths)?;
    match kept.needed_behind(&running.version) {
        Some(snapshot) if !with_data => Err(UpdateError::DataGoesBack {
            version: next.entry.version.clone(),
            paths: snapshot.changed(&kept.formats),
            at: snapshot.at,
        }),
        _ => Ok(()),
    }
}

/// The kernel image leads to the spare slot, and every block there is right.
fn check_whole(target: &Target, running: &Running, next: &Found) -> Result<(), UpdateError> {
    let read = |source| UpdateError::Read { path: next.path.clone(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&next.path).map_err(read)?;
    file.take(super::preflight::LARGEST_UKI).read_to_end(&mut bytes).map_err(read)?;
    let uki = Uki::parse(&bytes).map_err(UpdateError::Uki)?;
    let wrong = || UpdateError::OtherSlot { entry: next.entry.to_string() };
    let root_hash: RootHash =
        uki.command_line.value("roothash").and_then(|value| value.parse().ok()).ok_or_else(wrong)?;
    let found = target.medium.table()?;
    let slots = Slots::of(&found.table, &running.root_hash)?;
    let place = |place: usize, guid| {
        let partition = found.table.partitions().get(place).filter(|partition| partition.part_guid == guid);
        partition.map(|partition| found.table.extent(partition)).ok_or_else(wrong)
    };
    let (data, hash) = root_hash.partition_guids();
    let (root, tree) = (place(slots.spare.data, data)?, place(slots.spare.hash, hash)?);
    read_back::check_slot(target.medium.path(), root, tree, &root_hash)
}

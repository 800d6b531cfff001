//! Everything that may speak against an update, asked before the first write.
//!
//! What is refused here changes nothing: no byte of the disk, the ESP or the state. What passes comes out as a [`Plan`]
//! with both partition tables made, so that no question is open once the writing begins.

use std::fs;

use bundle::Clock;
use bundle::Freshness;
use bundle::ImageVersion;
use bundle::Manifest;
use bundle::Part;
use bundle::PartName;
use bundle::Sha256Digest;
use formats::gpt::ParsedTable;
use formats::gpt::Table;
use formats::guid::Guid;
use formats::slots::Slots;
use formats::slots::SlotsError;
use formats::version_order;

use super::Target;
use super::UpdateError;
use super::Wishes;
use super::esp::Found;
use super::esp::Unfinished;
use super::loader;
use super::loader::LoaderPlan;
use super::running::ARCHITECTURE;
use super::running::Running;
use super::state::Failure;
use super::state::State;
use super::trial;
use crate::certificates;
use crate::host::Host;
use crate::paths::Paths;

/// Largest kernel image in bytes: it is read into memory once, to be looked into. The builder's are below 32 MiB.
pub(super) const LARGEST_UKI: u64 = 48 << 20;
/// What the folder and half-filled clusters of the ESP may take beside a kernel image, in bytes.
const ESP_RESERVE: u64 = 1 << 20;

/// What is known before the bundle is looked at.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    /// What runs.
    pub(super) running: &'a Running,
    /// What is remembered.
    pub(super) state: &'a State,
    /// What the administrator asked for.
    pub(super) wishes: Wishes,
    /// What the host knows of the time.
    pub(super) clock: Clock,
}

/// What is to be written, and where.
#[derive(Debug)]
pub(super) struct Plan {
    /// The partition table as it is.
    pub(super) found: ParsedTable,
    /// The table while the spare slot is written.
    pub(super) emptied: Table,
    /// The table once it is whole.
    pub(super) filled: Table,
    /// First byte of the root data on the disk.
    pub(super) root_offset: u64,
    /// First byte of the hash tree on the disk.
    pub(super) tree_offset: u64,
    /// Versions whose tries were all in vain, as the ESP tells; it forgets them with their entries.
    pub(super) failed: Vec<(ImageVersion, Failure)>,
    /// What becomes of the boot loaders on the ESP.
    pub(super) loader: LoaderPlan,
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum Ruling {
    /// It can be written.
    Write(Box<Plan>),
    /// It was written before and waits to be started.
    Waits,
}

/// What the host knows of the time.
pub fn clock(paths: &Paths) -> Clock {
    if paths.clock_is_set().exists() { Clock::Synchronised(certificates::now()) } else { Clock::Unproven }
}

/// Asks whether this version may run on this host at all. The answer needs no disk.
pub(super) fn judge_version(manifest: &Manifest, situation: &Situation<'_>) -> Result<Freshness, UpdateError> {
    let Situation { running, state, .. } = situation;
    if manifest.image != running.image {
        return Err(UpdateError::OtherImage { running: running.image.clone(), found: manifest.image.clone() });
    }
    if manifest.architecture.as_str() != ARCHITECTURE {
        let found = manifest.architecture.clone();
        return Err(UpdateError::OtherArchitecture { running: ARCHITECTURE, found });
    }
    if manifest.development && !running.development {
        return Err(UpdateError::Development { found: manifest.version.clone() });
    }
    check_order(manifest, running, situation.wishes)?;
    check_floor(manifest, state)?;
    check_step(manifest, running)?;
    manifest.freshness(situation.clock).map_err(UpdateError::Expired)
}

/// Looks at disk and ESP, and makes the plan.
pub(super) fn plan(
    host: Host<'_>,
    target: &Target,
    manifest: &Manifest,
    situation: &Situation<'_>,
) -> Result<Ruling, UpdateError> {
    let running = situation.running;
    let found = target.medium.table()?;
    let slots = Slots::of(&found.table, &running.root_hash)?;
    let filled = slots.with_spare_filled(&found.table, &manifest.root_hash, &label(manifest))?;
    let entries = target.esp.entries()?;
    // The running one may be on its last try and still be found good.
    let failed = trial::newly_failed(&entries, situation.state, running);
    check_failures(manifest, &failed, situation)?;
    if !situation.wishes.again && holds(&found.table, &slots, manifest) && waits(&entries, manifest) {
        return Ok(Ruling::Waits);
    }
    check_way_back(&entries, running)?;
    let (root_offset, tree_offset) = check_sizes(manifest, &found.table, &slots)?;
    let loader = LoaderPlan::of(&target.esp, manifest);
    check_esp(manifest, target, &loader, (&entries, running))?;
    let emptied = slots.with_spare_emptied(&found.table, random_identities(host)?)?;
    Ok(Ruling::Write(Box::new(Plan { found, emptied, filled, root_offset, tree_offset, failed, loader })))
}

/// Whether an entry is of the version that runs; all others lead to the spare slot, or nowhere.
pub(super) fn is_running(found: &Found, running: &Running) -> bool {
    found.entry.image == running.image && found.entry.version == running.version
}

/// Whether an unfinished image could be another name of the one that runs. A rename on FAT that was cut leaves two names with the same clusters:
/// whoever removes either gives the clusters of both away.
pub(super) fn may_be_running(unfinished: &Unfinished, running: &Running) -> bool {
    unfinished.stem == format!("{}_{}", running.image, running.version)
}

/// `IMAGE_VERSION`, as partitions and entries are named.
fn label(manifest: &Manifest) -> String {
    format!("{}_{}", manifest.image, manifest.version)
}

fn check_order(manifest: &Manifest, running: &Running, wishes: Wishes) -> Result<(), UpdateError> {
    let (found, running_version) = (manifest.version.clone(), running.version.clone());
    let order = version_order::compare(&found, &running_version);
    if manifest.root_hash == running.root_hash {
        return Err(SlotsError::SameAsRunning(running.root_hash).into());
    }
    // The loader could not tell them apart, and the entry of one would be taken for that of the other.
    if order.is_eq() {
        return Err(UpdateError::SameVersion { running: running_version, found });
    }
    if order.is_lt() && !wishes.allow_older {
        return Err(UpdateError::Older { running: running_version, found });
    }
    Ok(())
}

fn check_floor(manifest: &Manifest, state: &State) -> Result<(), UpdateError> {
    match &state.floor {
        Some(floor) if version_order::compare(&manifest.version, floor).is_lt() => {
            Err(UpdateError::BelowFloor { floor: floor.clone(), found: manifest.version.clone() })
        }
        _ => Ok(()),
    }
}

fn check_step(manifest: &Manifest, running: &Running) -> Result<(), UpdateError> {
    match &manifest.min_from_version {
        Some(least) if version_order::compare(&running.version, least).is_lt() => Err(UpdateError::TooFarAhead {
            running: running.version.clone(),
            least: least.clone(),
            found: manifest.version.clone(),
        }),
        _ => Ok(()),
    }
}

/// What failed is known from the ESP, or from the state once the entry is gone.
fn check_failures(
    manifest: &Manifest,
    failed: &[(ImageVersion, Failure)],
    situation: &Situation<'_>,
) -> Result<(), UpdateError> {
    let version = &manifest.version;
    let is_new = failed.iter().any(|(failed, _)| failed == version);
    if !situation.wishes.again && (is_new || situation.state.failed.contains_key(version)) {
        return Err(UpdateError::FailedHere { found: version.clone() });
    }
    Ok(())
}

/// Whether the spare slot has the identities of this version, which it gets only after all of it was read back.
fn holds(table: &Table, slots: &Slots, manifest: &Manifest) -> bool {
    let (data, hash) = manifest.root_hash.partition_guids();
    let has = |place: usize, guid: Guid| table.partitions().get(place).is_some_and(|part| part.part_guid == guid);
    has(slots.spare.data, data) && has(slots.spare.hash, hash)
}

/// Whether the boot loader has it on its list, and finds a kernel image behind the name: a cut may leave a name alone.
fn waits(entries: &[Found], manifest: &Manifest) -> bool {
    let is_it = |each: &&Found| each.entry.image == manifest.image && each.entry.version == manifest.version;
    entries.iter().filter(is_it).any(|each| !each.entry.is_bad() && is_whole(each, manifest))
}

fn is_whole(found: &Found, manifest: &Manifest) -> bool {
    let is_it = |part: &Part| {
        found.size == part.size && fs::read(&found.path).is_ok_and(|bytes| Sha256Digest::of(&bytes) == part.sha256)
    };
    manifest.parts.get(&PartName::Uki).is_some_and(is_it)
}

/// Whether the running slot is one to come back to. While it is on trial the spare one is, and must not be written.
fn check_way_back(entries: &[Found], running: &Running) -> Result<(), UpdateError> {
    let (own, others): (Vec<&Found>, Vec<&Found>) = entries.iter().partition(|each| is_running(each, running));
    let Some(first) = own.first() else {
        return Err(UpdateError::NoWayBack { running: running.version.clone() });
    };
    let on_trial = own.iter().all(|each| each.entry.tries.is_some());
    if on_trial && others.iter().any(|each| !each.entry.is_bad()) {
        return Err(UpdateError::OnTrial { entry: first.entry.to_string() });
    }
    Ok(())
}

/// Returns where root and tree begin on the disk.
fn check_sizes(manifest: &Manifest, table: &Table, slots: &Slots) -> Result<(u64, u64), UpdateError> {
    let place = |place: usize, name: PartName| {
        let (offset, room) = table.partitions().get(place).map_or((0, 0), |partition| table.extent(partition));
        check_room(manifest, name, room).map(|()| offset)
    };
    let root = place(slots.spare.data, PartName::Root)?;
    let tree = place(slots.spare.hash, PartName::Verity)?;
    check_room(manifest, PartName::Uki, LARGEST_UKI)?;
    check_room(manifest, PartName::Loader, loader::LARGEST)?;
    Ok((root, tree))
}

/// Counts what will be removed as free, since that is done first.
fn check_esp(
    manifest: &Manifest,
    target: &Target,
    loader: &LoaderPlan,
    (entries, running): (&[Found], &Running),
) -> Result<(), UpdateError> {
    let old = entries.iter().filter(|each| !is_running(each, running)).map(|each| each.size);
    let unfinished = target.esp.unfinished()?;
    let removed = unfinished.iter().filter(|each| !may_be_running(each, running)).map(|each| each.size);
    let loaders = loader::left_over(&target.esp).into_iter().map(|(_, size)| size);
    let freed: u64 = old.chain(removed).chain(loaders).sum();
    let room = target.esp.free()?.saturating_add(freed).saturating_sub(ESP_RESERVE);
    check_room(manifest, PartName::Uki, room)?;
    let (size, room) = (loader.size(manifest), room.saturating_sub(size_of(manifest, PartName::Uki)));
    if size > room { Err(UpdateError::TooLarge { part: PartName::Loader, size, room }) } else { Ok(()) }
}

fn check_room(manifest: &Manifest, name: PartName, room: u64) -> Result<(), UpdateError> {
    let size = size_of(manifest, name);
    if size > room { Err(UpdateError::TooLarge { part: name, size, room }) } else { Ok(()) }
}

fn size_of(manifest: &Manifest, name: PartName) -> u64 {
    manifest.parts.get(&name).map_or(0, |part: &Part| part.size)
}

/// Identities that no command line names.
fn random_identities(host: Host<'_>) -> Result<(Guid, Guid), UpdateError> {
    let bytes = (host.random)().map_err(UpdateError::Random)?;
    let (mut first, mut second) = ([0; 16], [0; 16]);
    first.copy_from_slice(&bytes[..16]);
    second.copy_from_slice(&bytes[16..]);
    Ok((Guid::from_bytes(first), Guid::from_bytes(second)))
}

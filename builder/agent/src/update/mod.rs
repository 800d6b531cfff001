//! An update of the host: a signed bundle is written to the slot that does not run, read back, and made bootable as the
//! very last step.
//!
//! [`apply`] is the whole way, one call per line; `docs/updates.md` has its picture and why the power may go at every
//! moment. What may speak against an update is asked in `preflight`, before the first write. Nothing here ever writes
//! to the running slot, and nothing cleans up after a failure: whatever was left half done, the next update begins with
//! removing it.

mod error;
mod esp;
mod fetcher;
mod frames;
mod keeping;
mod kept;
mod loader;
mod look;
mod medium;
mod memory;
mod moment;
mod pieces;
mod preflight;
mod read_back;
mod remedy;
mod repository;
mod rollback;
mod running;
mod schedule;
mod settings;
mod state;
mod status;
mod trial;
mod trust;

use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;

use bundle::BundleReader;
use bundle::Freshness;
use bundle::ImageVersion;
use bundle::Manifest;
use bundle::Newest;
use bundle::PartName;
use bundle::Verified;

use formats::version_order;

pub use error::UpdateError;
pub use esp::Esp;
pub use fetcher::FetchError;
pub use fetcher::client;
pub use fetcher::serve;
pub use keeping::keep;
pub use keeping::release;
pub use keeping::settle;
pub use kept::Aside;
pub use kept::Kept;
pub use look::Offer;
pub use look::Standing;
pub use look::look;
pub use medium::Medium;
pub use pieces::PIECE;
pub use preflight::clock;
pub use repository::Fetcher;
pub use repository::Repository;
pub use rollback::rollback;
pub use running::Running;
pub use schedule::Turn;
pub use schedule::turn;
pub use settings::Settings;
pub use settings::Source;
pub use state::Applied;
pub use state::Failure;
pub use state::Offered;
pub use state::State;
pub use state::Trial;
pub use state::WaitingLoader;
pub use status::Entry;
pub use status::Spare;
pub use status::UpdateStatus;
pub use trial::Start;
pub use trial::begin;
pub use trial::bless;
pub use trial::give_up;

use crate::certificates;
use crate::disk::Disk;
use crate::disk::Wanted;
use crate::host::Host;
use crate::mount::Mounted;
use medium::MediumWriter;
use pieces::Destination;
use pieces::write_part;
use preflight::Plan;
use preflight::Ruling;
use preflight::Situation;
use read_back::Written;

/// What an update is written to.
#[derive(Debug)]
pub struct Target {
    /// The disk with both slots.
    pub medium: Medium,
    /// Its ESP.
    pub esp: Esp,
    /// Bytes of one write.
    pub piece: usize,
}

impl Target {
    /// The disk that this host was started from; its ESP is mounted for looking at it, for as long as the value lives.
    pub fn of(host: Host<'_>) -> Result<Self, UpdateError> {
        let disk = Disk::below(host.paths, host.paths.root())?;
        let medium = Medium::of(&disk)?;
        let place = host.paths.mounts().join("update-esp");
        let mounted = Mounted::esp(host.files, &disk.partition(Wanted::Esp)?, &place)?;
        Ok(Self { medium, esp: Esp::mounted(mounted), piece: PIECE })
    }
}

/// What the administrator asked for beyond the usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Write a version again that waits already, or that failed here.
    pub again: bool,
    /// Take an older version, down to the floor.
    pub allow_older: bool,
}

/// What came of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was written and is started next; an older one stands behind the running version.
    Applied(ImageVersion),
    /// It was written before and waits for the next start.
    WaitedAlready(ImageVersion),
}

/// Applies the bundle that `source` holds. `say` is told of each step.
pub fn apply(
    host: Host<'_>,
    target: &Target,
    source: impl Read,
    wishes: Wishes,
    say: &dyn Fn(&str),
) -> Result<Outcome, UpdateError> {
    apply_as(host, target, source, Order { wishes, newest: None }, say)
}

/// Applies what a statement says is newest: exactly that, whatever the repository hands out under its name.
pub fn apply_newest(
    host: Host<'_>,
    target: &Target,
    repository: &dyn Repository,
    offer: &Offer,
    wishes: Wishes,
    say: &dyn Fn(&str),
) -> Result<Outcome, UpdateError> {
    let source = repository::open(repository, &format!("bundles/{}", offer.newest.bundle.file))?;
    apply_as(host, target, source, Order { wishes, newest: Some(&offer.newest) }, say)
}

/// What is asked of a bundle.
#[derive(Clone, Copy)]
struct Order<'a> {
    wishes: Wishes,
    /// The statement that names it, where one does.
    newest: Option<&'a Newest>,
}

impl Order<'_> {
    /// Two versions that are both signed may be mixed up on the way.
    fn check(&self, bundle: &BundleReader<impl Read>) -> Result<(), UpdateError> {
        let digest = bundle.manifest_digest();
        match self.newest.map(|newest| newest.manifest) {
            Some(expected) if expected != digest => Err(UpdateError::OtherManifest { expected, found: digest }),
            _ => Ok(()),
        }
    }

    /// What no version may be below once this one is good: by its manifest, and by the statement.
    fn floor(&self, manifest: &Manifest) -> Option<ImageVersion> {
        let both = [manifest.floor.as_ref(), self.newest.and_then(|newest| newest.floor.as_ref())];
        both.into_iter().flatten().max_by(|one, other| version_order::compare(one, other)).cloned()
    }
}

fn apply_as(
    host: Host<'_>,
    target: &Target,
    source: impl Read,
    order: Order<'_>,
    say: &dyn Fn(&str),
) -> Result<Outcome, UpdateError> {
    let wishes = order.wishes;
    let running = Running::read(host.paths)?;
    let state = State::read(host.paths)?;
    let root = trust::current(host.paths)?;
    let bundle = BundleReader::open(source, &root.release.trusted(), root.release.threshold())?;
    order.check(&bundle)?;
    let manifest = bundle.manifest().clone();
    say(&format!("{} {} is signed by the release keys; {} runs", manifest.image, manifest.version, running.version));
    let situation = Situation { running: &running, state: &state, wishes, clock: preflight::clock(host.paths) };
    if preflight::judge_version(&manifest, &situation)? == Freshness::Unproven {
        say("nobody knows whether it has ended: no time server has set the clock yet");
    }
    let Ruling::Write(plan) = preflight::plan(host, target, &manifest, &situation)? else {
        // A cut may have come between the last step and the note of it.
        if state.applied.as_ref().is_none_or(|applied| applied.root_hash != manifest.root_hash) {
            let loader = loader::found_waiting(&target.esp, &manifest);
            remember_applied(host, state, order, &manifest, loader)?;
        }
        return Ok(Outcome::WaitedAlready(manifest.version.clone()));
    };
    let state = state.with_failed(plan.failed.iter().cloned());
    let loader = write(host, Writing { target, running: &running, plan: &plan, state: &state }, bundle, say)?;
    remember_applied(host, state, order, &manifest, loader)?;
    Ok(Outcome::Applied(manifest.version.clone()))
}

/// What the writing needs to know.
#[derive(Clone, Copy)]
struct Writing<'a> {
    target: &'a Target,
    running: &'a Running,
    plan: &'a Plan,
    state: &'a State,
}

/// The steps that change something, in the only order in which each may be the last one before the power goes. Returns the boot loader that waits for
/// the version to be good.
fn write(
    host: Host<'_>,
    writing: Writing<'_>,
    bundle: BundleReader<impl Read>,
    say: &dyn Fn(&str),
) -> Result<Option<WaitingLoader>, UpdateError> {
    let Writing { target, plan, .. } = writing;
    remember_failures(host, writing)?;
    target.esp.make_writable()?;
    let disk = target.medium.open(host.files)?;
    say("removing the kernel image of the spare slot");
    remove_spare_entries(host, writing)?;
    say("emptying the spare slot");
    empty_spare_slot(&disk, plan)?;
    say("writing");
    let manifest = write_parts(host, writing, &disk, bundle, say)?;
    say("reading all of it back");
    read_back(host, writing, &disk, &manifest)?;
    let loader = loader::check(host, target, &plan.loader, &manifest, say)?;
    say("naming the slot");
    disk.write_table(&plan.filled)?;
    say("making it bootable");
    make_bootable(host, target, &manifest)?;
    Ok(loader)
}

/// Before the ESP forgets them.
fn remember_failures(host: Host<'_>, writing: Writing<'_>) -> Result<(), UpdateError> {
    if writing.plan.failed.is_empty() { Ok(()) } else { writing.state.write(host) }
}

/// From here on nothing starts the spare slot, so what is in it does not matter.
fn remove_spare_entries(host: Host<'_>, writing: Writing<'_>) -> Result<(), UpdateError> {
    let esp = &writing.target.esp;
    for found in esp.entries()?.iter().filter(|found| !preflight::is_running(found, writing.running)) {
        host.files.remove(&found.path)?;
    }
    for unfinished in esp.unfinished()?.iter().filter(|each| !preflight::may_be_running(each, writing.running)) {
        host.files.remove(&unfinished.path)?;
    }
    for (path, _) in loader::left_over(esp) {
        host.files.remove(&path)?;
    }
    Ok(esp.flush(host.files)?)
}

/// From here on no command line leads to it either, not even one that somebody kept.
fn empty_spare_slot(disk: &MediumWriter<'_>, plan: &Plan) -> Result<(), UpdateError> {
    disk.repair_table(&plan.found)?;
    Ok(disk.write_table(&plan.emptied)?)
}

/// Writes all parts and makes them last. What is in the partitions behind them stays: the hash tree says how many
/// blocks of data there are and where its own levels lie, and the kernel looks at no other.
fn write_parts(
    host: Host<'_>,
    writing: Writing<'_>,
    disk: &MediumWriter<'_>,
    mut bundle: BundleReader<impl Read>,
    say: &dyn Fn(&str),
) -> Result<Verified<Manifest>, UpdateError> {
    let Writing { target, plan, .. } = writing;
    let unfinished = target.esp.unfinished_place(&bundle.manifest().image, &bundle.manifest().version);
    while let Some((name, _)) = bundle.next_part() {
        match name {
            PartName::Root => write_part(&mut bundle, on_disk(host, target, disk, plan.root_offset))?,
            PartName::Verity => {
                write_part(&mut bundle, on_disk(host, target, disk, plan.tree_offset))?;
                disk.flush()?;
            }
            PartName::Uki => write_kernel_image(host, target, &mut bundle, &unfinished)?,
            PartName::Loader => loader::write(host, target, &plan.loader, &mut bundle, say)?,
            // They are there for tests of the builder; the kernel image holds all of them.
            PartName::Linux | PartName::Initrd | PartName::Cmdline => {
                bundle.read_part(&mut io::sink())?;
            }
        }
    }
    Ok(bundle.finish()?)
}

fn on_disk<'a>(host: Host<'a>, target: &Target, disk: &'a MediumWriter<'_>, offset: u64) -> Destination<'a> {
    let (path, file) = disk.place();
    Destination { files: host.files, path, file, offset, piece: target.piece }
}

fn write_kernel_image(
    host: Host<'_>,
    target: &Target,
    bundle: &mut BundleReader<impl Read>,
    path: &Path,
) -> Result<(), UpdateError> {
    let file: fs::File = host.files.create(path)?;
    write_part(bundle, Destination { files: host.files, path, file: &file, offset: 0, piece: target.piece })?;
    host.files.flush(path, &file)?;
    Ok(target.esp.flush(host.files)?)
}

/// Nothing is believed of what was written but what comes back from the disk.
fn read_back(
    host: Host<'_>,
    writing: Writing<'_>,
    disk: &MediumWriter<'_>,
    manifest: &Manifest,
) -> Result<(), UpdateError> {
    let Writing { target, plan, .. } = writing;
    let (path, _) = disk.place();
    let unfinished = target.esp.unfinished_place(&manifest.image, &manifest.version);
    let part = |name| manifest.parts.get(&name).ok_or(bundle::ManifestError::MissingPart { part: name });
    let written = |name, path, offset| -> Result<Written<'_>, UpdateError> {
        Ok(Written { path, offset, name, part: part(name).map_err(bundle::ArchiveError::from)? })
    };
    let root = written(PartName::Root, path, plan.root_offset)?;
    let tree = written(PartName::Verity, path, plan.tree_offset)?;
    read_back::check_root(manifest, root, tree)?;
    read_back::check_uki(manifest, written(PartName::Uki, &unfinished, 0)?, &host.paths.firmware_variables())
}

/// The last step: one rename.
fn make_bootable(host: Host<'_>, target: &Target, manifest: &Manifest) -> Result<(), UpdateError> {
    let Manifest { image, version, .. } = manifest;
    host.files.rename_on_fat(&target.esp.unfinished_place(image, version), &target.esp.place(image, version))?;
    Ok(target.esp.flush(host.files)?)
}

/// For people and for what comes after the start; whether it is there and can be started, disk and ESP say.
fn remember_applied(
    host: Host<'_>,
    state: State,
    order: Order<'_>,
    manifest: &Manifest,
    loader: Option<WaitingLoader>,
) -> Result<(), UpdateError> {
    state.with_applied(manifest, order.floor(manifest), loader, certificates::now()).write(host)
}

#[cfg(test)]
pub(crate) mod tests;

//! The power goes in the middle of an update, at the level of the disk: one update is recorded write by write, and every state that a cut could leave is
//! judged by a model; some are started, and agree with it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bundle::Sha256Digest;
use fs_err as fs;
use vm::guest::{Start, copy_sparse};
use vm::replay::{Epoch, Expected, Judge, Random, ReplayedDisk, Started, WriteLog};

use super::town::{FIRST, Town, build};
use super::{SECOND, THIRD};
use crate::artifacts::{Artifacts, Image, say};
use crate::host::PATIENCE;

/// So many sectors are many.
const MANY: u64 = 4000;

/// Kinds of state that are always started.
const BOOTABLE: &str = "made bootable";
const TORN: &str = "primary table torn";
const HALF_WRITTEN: &str = "kernel image half written";

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// More than 10,000 states; the full run.
    All,
    /// Some of each time between two flushes, and one start of each kind.
    Sample,
}

impl Depth {
    /// States of an epoch with few writes, and of one with many, whose blocks all have to be looked at.
    fn states(self) -> [u64; 2] {
        match self {
            Self::All => [1500, 150],
            Self::Sample => [60, 6],
        }
    }

    /// So many states of each epoch are started, beside one of each kind.
    fn started(self) -> u64 {
        match self {
            Self::All => 2,
            Self::Sample => 0,
        }
    }
}

/// What was recorded, and by what it is judged.
pub(super) struct Recording {
    base: PathBuf,
    log: WriteLog,
    old: Expected,
    new: Expected,
    /// Root and hash tree of the new version.
    root: PathBuf,
    tree: PathBuf,
}

/// A state that is worth a start.
struct Sample {
    name: String,
    disk: PathBuf,
    started: Started,
    start: Start,
}

/// How often each version would start.
#[derive(Debug, Default)]
struct Counts {
    states: u64,
    old: u64,
    new: u64,
}

pub(crate) fn never_leave_a_host_that_does_not_start(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let second = build(artifacts, dir, SECOND, None)?;
    let repository = dir.join("repository");
    fs::create_dir_all(&repository)?;
    let mut town = Town::new(artifacts, dir, &repository)?;
    let third = build(artifacts, dir, THIRD, None)?;
    let (mut machine, _) = town.boots(&[])?;
    machine.power_off(PATIENCE)?;
    let sticks = [second.join("bundle.tar"), third.join("bundle.tar")];
    let old = (FIRST, &*artifacts.image(Image::Minimal));
    let recording = record(&mut town, dir, old, (SECOND, &second), &sticks)?;
    recording.is_survived(&mut town, dir, Depth::All, &sticks)
}

/// One update by the first stick, from the start of the machine to its end. Versions are given with their outputs.
pub(super) fn record(
    town: &mut Town,
    dir: &Path,
    old: (&str, &Path),
    new: (&str, &Path),
    sticks: &[PathBuf],
) -> Result<Recording> {
    let (base, log) = (dir.join("base.raw"), dir.join("writes.log"));
    copy_sparse(town.host.disk(), &base)?;
    fs::write(&log, b"")?;
    let (mut machine, _) = town.boots_recorded(sticks, &log)?;
    town.applies_the_stick(0)?;
    machine.power_off(PATIENCE)?;
    let (root, tree) = (new.1.join("root.erofs"), new.1.join("root.verity"));
    Ok(Recording { base, log: WriteLog::open(&log)?, old: expected(old)?, new: expected(new)?, root, tree })
}

fn expected((version, output): (&str, &Path)) -> Result<Expected> {
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(output.join("manifest.json"))?)?;
    let root_hash = manifest["root_hash"].as_str().context("no root hash")?.parse()?;
    let uki = Sha256Digest::of(&fs::read(output.join("uki.efi"))?);
    Ok(Expected { version: version.to_owned(), root_hash, uki })
}

impl Recording {
    /// A whole version starts in every state that a cut could leave, and what is started for real agrees. The first stick holds the new version, the
    /// second one a newer. The machine's disk is in the end what it was.
    pub(super) fn is_survived(&self, town: &mut Town, dir: &Path, depth: Depth, sticks: &[PathBuf]) -> Result<()> {
        let samples = judge_all(self, dir, depth)?;
        let own = dir.join("own.raw");
        fs::rename(town.host.disk(), &own)?;
        for sample in samples {
            starts_as_judged(town, &sample, self, sticks).with_context(|| sample.name.clone())?;
        }
        town.start_by(Start::Firmware)?;
        Ok(fs::rename(&own, town.host.disk())?)
    }
}

/// Every flush, and of each time between two flushes states in which any part of the writes has reached the disk.
fn judge_all(recording: &Recording, dir: &Path, depth: Depth) -> Result<Vec<Sample>> {
    let Recording { base, log, old, new, root, tree } = recording;
    let mut disk = ReplayedDisk::new(base, log)?;
    let mut judge = Judge::new(&disk, old.clone(), new.clone(), (root, tree))?;
    let esp: Vec<u64> = esp_sectors(&judge, log);
    let (mut counts, mut samples, started) = (Counts::default(), Samples::new(dir, &new.version), Instant::now());
    for (number, epoch) in log.epochs.iter().enumerate() {
        let mut random = Random::new(number as u64);
        let sectors: u64 = epoch.writes.iter().filter(|write| judge.matters(write)).map(|write| write.count).sum();
        let tries = if sectors == 0 { 0 } else { depth.states()[usize::from(sectors > MANY)] };
        for state in 0..tries {
            disk.try_from_here();
            let changed = apply_some(&mut disk, epoch, &mut random);
            judge.changed(&disk, changed)?;
            let judged = judge.judge(&disk, &esp).with_context(|| format!("flush {number}, state {state}"))?;
            counts.note(&judged, old).with_context(|| format!("flush {number}, state {state}"))?;
            samples.offer(&disk, base, &judged, (epoch, &judge))?;
            if state < depth.started() {
                samples.keep(format!("flush {number}, state {state}"), (&disk, base), &judged, Start::Firmware)?;
            }
            let back = disk.take_back();
            judge.changed(&disk, back)?;
        }
        for write in &epoch.writes {
            disk.apply(write, write.count);
        }
        judge.changed(&disk, epoch.writes.iter().flat_map(|write| write.sector..write.sector + write.count))?;
        let judged = judge.judge(&disk, &esp).with_context(|| format!("at flush {number}"))?;
        counts.note(&judged, old).with_context(|| format!("at flush {number}"))?;
    }
    let Counts { states, old, new } = counts;
    say(&format!(
        "cuts: {states} states of {} flushes in {:.0} s: {old} start the old version, {new} the new one",
        log.epochs.len(),
        started.elapsed().as_secs_f64()
    ));
    ensure!(old > 0 && new > 0, "the recording holds no update: {old} states start the old version, {new} the new one");
    samples.all()
}

/// All sectors of the ESP that are ever written.
fn esp_sectors(judge: &Judge, log: &WriteLog) -> Vec<u64> {
    let mut sectors: Vec<u64> = log
        .epochs
        .iter()
        .flat_map(|epoch| &epoch.writes)
        .filter(|write| judge.is_on_esp(write))
        .flat_map(|write| write.sector..write.sector + write.count)
        .collect();
    sectors.sort_unstable();
    sectors.dedup();
    sectors
}

/// Lets some of an epoch's writes reach the disk: up to a moment all, after it each or not, and one of them in part.
fn apply_some(disk: &mut ReplayedDisk<'_>, epoch: &Epoch, random: &mut Random) -> Vec<u64> {
    let count = epoch.writes.len() as u64;
    let (surely, torn) = (random.below(count + 1), random.below(count * 2));
    let mut changed = Vec::new();
    for (number, write) in (0..).zip(&epoch.writes) {
        let whole = number < surely || random.coin();
        let sectors = match (number == torn, whole) {
            (true, _) => random.below(write.count + 1),
            (false, true) => write.count,
            (false, false) => 0,
        };
        disk.apply(write, sectors);
        changed.extend(write.sector..write.sector + sectors);
    }
    changed
}

impl Counts {
    /// The boot loader passes over a name that has nothing behind it, and so does the model; but where the name of what runs is changed, an image would
    /// be lost.
    fn note(&mut self, judged: &Started, old: &Expected) -> Result<()> {
        ensure!(!judged.passes_over_a_name, "a kernel image has its name before what it stands for");
        self.states += 1;
        if judged.version == old.version {
            self.old += 1;
        } else {
            self.new += 1;
        }
        Ok(())
    }
}

/// One state of each kind, and further ones, as disks.
struct Samples {
    dir: PathBuf,
    new_version: String,
    found: Vec<Sample>,
}

impl Samples {
    fn new(dir: &Path, new_version: &str) -> Self {
        Self { dir: dir.to_owned(), new_version: new_version.to_owned(), found: Vec::new() }
    }

    /// Keeps a state if there is none of its kind yet.
    fn offer(
        &mut self,
        disk: &ReplayedDisk<'_>,
        base: &Path,
        judged: &Started,
        (epoch, judge): (&Epoch, &Judge),
    ) -> Result<()> {
        let is_table = epoch.writes.iter().any(|write| write.sector < 34);
        let name = if judged.version == self.new_version {
            BOOTABLE
        } else if is_table && vm::replay::model::primary_is_torn(disk)? {
            TORN
        } else if epoch.writes.iter().any(|write| judge.is_on_esp(write)) {
            HALF_WRITTEN
        } else {
            return Ok(());
        };
        if self.found.iter().any(|sample| sample.name == name) {
            return Ok(());
        }
        // Firmware repairs a torn table where it finds one, and this one is for the kernel to survive.
        let start = if name == TORN { Start::Direct } else { Start::Firmware };
        self.keep(name.to_owned(), (disk, base), judged, start)
    }

    fn keep(
        &mut self,
        name: String,
        (disk, base): (&ReplayedDisk<'_>, &Path),
        judged: &Started,
        start: Start,
    ) -> Result<()> {
        let path = self.dir.join(format!("{}.raw", name.replace(' ', "-")));
        disk.save(base, &path)?;
        self.found.push(Sample { name, disk: path, started: judged.clone(), start });
        Ok(())
    }

    fn all(self) -> Result<Vec<Sample>> {
        let names: Vec<&str> = self.found.iter().map(|sample| sample.name.as_str()).collect();
        let is_there = |kind: &&str| names.contains(kind);
        ensure!([BOOTABLE, TORN, HALF_WRITTEN].iter().all(is_there), "not every kind of state came up: {names:?}");
        Ok(self.found)
    }
}

/// The machine starts what the model says, and takes the next update, after which its own kernel image is still what it was.
fn starts_as_judged(town: &mut Town, sample: &Sample, recording: &Recording, sticks: &[PathBuf]) -> Result<()> {
    fs::rename(&sample.disk, town.host.disk())?;
    town.start_by(sample.start)?;
    let (mut machine, seen) = town.boots(sticks).context("it does not start")?;
    ensure!(seen.is_healthy(), "not healthy: {seen:?}");
    town.is_good(&sample.started.version)?;
    let (next, own) =
        if sample.started.version == recording.old.version { (0, &recording.old) } else { (1, &recording.new) };
    town.applies_the_stick(next).context("the next update")?;
    let kept = town.kernel_image(&own.version)?;
    ensure!(kept == own.uki.to_string(), "the kernel image of what runs was changed: {kept}");
    say(&format!("cuts: {}: {} starts, as the model says", sample.name, sample.started.version));
    machine.power_off(PATIENCE)?;
    Ok(())
}

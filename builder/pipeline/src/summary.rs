//! What a build tells: its stages while they run, and at the end one summary for people and machines.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use bundle::Manifest;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use tools::{Progress, Stage};

use crate::cache::Hit;
use crate::explain::StageReason;
use crate::packages::LockedPackages;

/// A finished build.
#[derive(Debug)]
pub struct Built {
    /// Where the artifacts are.
    pub output: PathBuf,
    /// Numbers and names.
    pub summary: Summary,
    /// Whether nothing had to be done.
    pub unchanged: bool,
    /// For each stage whether it ran, and why.
    pub reasons: Vec<StageReason>,
}

/// `build.json`: what was built, how long each stage took, how large things are.
#[derive(Debug, Serialize, Deserialize)]
pub struct Summary {
    /// The image.
    pub image: String,
    /// Its version.
    pub version: String,
    /// Whether development keys were used.
    pub development: bool,
    /// The root hash.
    pub root_hash: String,
    /// Where the artifacts are.
    pub output: PathBuf,
    /// Number of packages in the root.
    pub packages: usize,
    /// Sizes in bytes.
    pub sizes: Sizes,
    /// The stages in order.
    pub stages: Vec<StageTime>,
    /// The most memory that the builder itself used, in KiB.
    pub peak_memory_kib: u64,
}

/// Sizes in bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sizes {
    /// Root file system.
    pub root: u64,
    /// Hash tree.
    pub verity: u64,
    /// Initrd, compressed.
    pub initrd: u64,
    /// Signed kernel image.
    pub uki: u64,
    /// Update bundle.
    pub bundle: u64,
}

/// One stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageTime {
    /// Its name.
    pub name: String,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Whether its result was in the cache.
    pub cached: bool,
    /// The most memory that the builder itself used in it, in KiB.
    pub peak_memory_kib: u64,
}

/// Collects the times of stages while showing them.
pub(crate) struct Clock<'a> {
    progress: &'a Progress,
    /// The stages so far.
    pub(crate) stages: Vec<StageTime>,
}

impl<'a> Clock<'a> {
    /// No stage yet.
    pub(crate) fn new(progress: &'a Progress) -> Self {
        Self { progress, stages: Vec::new() }
    }

    /// Runs a stage that may find its result in the cache.
    pub(crate) fn run<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&tools::Stage) -> Result<(T, Hit)>,
    ) -> Result<T> {
        let stage = self.progress.stage(name);
        forget_peak_memory();
        let started = Instant::now();
        let (value, hit) = work(&stage)?;
        end(stage, hit);
        self.stages.push(StageTime {
            name: name.to_owned(),
            seconds: round(started.elapsed()),
            cached: hit == Hit::Cached,
            peak_memory_kib: peak_memory_kib(),
        });
        Ok(value)
    }

    /// Runs two stages that do not need each other at the same time.
    pub(crate) fn both<A: Send, B: Send>(
        &mut self,
        first: (&'static str, impl FnOnce(&tools::Stage) -> Result<(A, Hit)> + Send),
        second: (&'static str, impl FnOnce(&tools::Stage) -> Result<(B, Hit)> + Send),
    ) -> Result<(A, B)> {
        let progress = self.progress;
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(move || {
                let mut clock = Clock::new(progress);
                clock.run(second.0, second.1).map(|value| (value, clock.stages))
            });
            let value = self.run(first.0, first.1);
            (value, other.join())
        });
        let (two, stages) = two.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        self.stages.extend(stages);
        Ok((one?, two))
    }

    /// Runs a stage that always has work to do.
    pub(crate) fn work<T>(&mut self, name: &'static str, work: impl FnOnce(&tools::Stage) -> Result<T>) -> Result<T> {
        self.run(name, |stage| Ok((work(stage)?, Hit::Made)))
    }
}

/// Puts the summary of a finished build together.
pub(crate) fn summarise(
    manifest: &Manifest,
    output: &Path,
    packages: &LockedPackages,
    stages: Vec<StageTime>,
    work: &Path,
) -> Result<Summary> {
    let size = |name: &str| -> Result<u64> { Ok(fs::metadata(work.join(name))?.len()) };
    let peak = stages.iter().map(|stage| stage.peak_memory_kib).max().unwrap_or(0);
    Ok(Summary {
        image: manifest.image.to_string(),
        version: manifest.version.to_string(),
        development: manifest.development,
        root_hash: manifest.root_hash.to_string(),
        output: output.to_owned(),
        packages: packages.root.packages.len(),
        sizes: Sizes {
            root: size("root.erofs")?,
            verity: size("root.verity")?,
            initrd: size("initrd.cpio.zst")?,
            uki: size("uki.efi")?,
            bundle: size("bundle.tar")?,
        },
        stages,
        peak_memory_kib: peak,
    })
}

/// proc(5), `clear_refs`: 5 sets the largest resident size back to the present one. Where it cannot, stages show the largest so far.
fn forget_peak_memory() {
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}

/// proc(5): `VmHWM` is the largest resident size so far.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn round(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 100.0).round() / 100.0
}

impl Built {
    /// What a person wants to know: where it is and what to do with it.
    pub fn text(&self) -> String {
        let summary = &self.summary;
        let seconds: f64 = summary.stages.iter().map(|stage| stage.seconds).sum();
        let out = self.output.display();
        let took = if self.unchanged { "nothing changed: looked at in" } else { "built in" };
        format!(
            "{} {} with {} packages, {took} {seconds:.1} s\n\
             \x20 root {}, kernel image {} (initrd {}), bundle {}\n\
             \x20 root hash {}\n\
             \x20 disk image {out}/disk.raw\n\
             \n\
             start it in a virtual machine:  casemate run {out}\n\
             prove it:                       casemate test {out}\n\
             write it to a disk:             casemate flash {out} /dev/DISK --host host.toml",
            summary.image,
            summary.version,
            summary.packages,
            mib(summary.sizes.root),
            mib(summary.sizes.uki),
            mib(summary.sizes.initrd),
            mib(summary.sizes.bundle),
            summary.root_hash,
        )
    }
}

/// Ends a stage on the screen.
pub(crate) fn end(stage: Stage, hit: Hit) {
    match hit {
        Hit::Cached => stage.cached(),
        Hit::Made | Hit::Repaired => stage.done(),
    }
}

/// Mebibytes with one digit behind the point, without going through floating point.
fn mib(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_mebibytes() {
        assert_eq!(
            (mib(0), mib(1 << 20), mib((1 << 20) * 5 / 2)),
            ("0.0 MiB".into(), "1.0 MiB".into(), "2.5 MiB".into())
        );
    }
}

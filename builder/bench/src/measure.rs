//! One measured run: a fresh process of this program does one piece of work and tells what it took.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// What one run took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// Wall time of the work itself, without its preparation.
    pub seconds: f64,
    /// The most memory of the largest process of the run.
    pub peak_kib: u64,
    /// A size that the work made, in bytes, where one is of interest.
    pub bytes: u64,
}

impl Taken {
    /// Does the work, which may return a size, and looks at the clock and at the memory of this process and those that it waited for.
    pub fn by(work: impl FnOnce() -> Result<u64>) -> Result<Self> {
        let started = Instant::now();
        let bytes = work()?;
        let seconds = started.elapsed().as_secs_f64();
        let peak = |who| Ok::<_, anyhow::Error>(u64::try_from(getrusage(who)?.max_rss()).unwrap_or_default());
        let peak_kib = peak(UsageWho::RUSAGE_SELF)?.max(peak(UsageWho::RUSAGE_CHILDREN)?);
        Ok(Self { seconds, peak_kib, bytes })
    }
}

/// Runs this program again with these arguments, which name a piece of work, and reads what it says.
pub fn run_part(arguments: &[String]) -> Result<Taken> {
    let output = Command::new("/proc/self/exe")
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot start this program again")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}` ended with {}:\n{said}", arguments.join(" "), output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("`{}` told no figures", arguments.join(" ")))
}

/// The middle one; of an even number the lower.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Bytes of a file.
pub fn size(path: &Path) -> Result<u64> {
    Ok(fs_err::metadata(path)?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_measured_value() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.0).abs() < 1e-9);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn memory_that_is_used_is_seen() {
        let taken = Taken::by(|| Ok(vec![1_u8; 64 << 20].iter().map(|byte| u64::from(*byte)).sum())).unwrap();
        assert!(taken.peak_kib >= 64 << 10 && taken.bytes == 64 << 20 && taken.seconds > 0.0, "{taken:?}");
    }
}

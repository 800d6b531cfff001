//! How well the parallel work scales: decoding packages, hashing packages, compressing the root, each with a given number of cores.
//!
//! The number of cores is set from outside, by the processors that this process may use; everything asks the system for it.

use std::io::Read as _;
use std::num::NonZeroUsize;

use anyhow::{Context as _, Result};
use debian::deb::{Deb, verify};
use debian::parallel::for_each_largest_first;
use debian::rootfs::UnpackInput;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Lets this process and its children use the first `cores` processors only.
pub fn keep_to(cores: usize) -> Result<()> {
    let mut set = CpuSet::new();
    for core in 0..cores {
        set.set(core)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("this machine has not {cores} processors"))
}

/// Decodes every package and throws the content away.
pub fn decode(packages: &[UnpackInput]) -> Result<u64> {
    each(packages, |input| {
        let mut deb = Deb::open(std::fs::File::open(&input.path)?)?;
        let mut tar = deb.data()?;
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 16];
        while tar.next_entry()?.is_some() {
            let mut content = tar.content();
            loop {
                match content.read(&mut buffer)? {
                    0 => break,
                    count => bytes += count as u64,
                }
            }
        }
        Ok(bytes)
    })
}

/// Hashes every package.
pub fn hash(packages: &[UnpackInput]) -> Result<u64> {
    each(packages, |input| {
        verify(&input.name, &mut std::fs::File::open(&input.path)?, input.sha256, input.size)?;
        Ok(input.size)
    })
}

fn each(packages: &[UnpackInput], work: impl Fn(&UnpackInput) -> Result<u64> + Sync) -> Result<u64> {
    let jobs = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let sizes: Vec<u64> = packages.iter().map(|input| input.size).collect();
    let done = for_each_largest_first(&sizes, jobs, |at| work(packages.get(at).context("no such package")?))?;
    Ok(done.into_iter().sum())
}

/// The part of the work that does not get faster with cores, from the times on one and on two (Amdahl): t2/t1 = s + (1 - s)/2.
pub fn serial_part(one: f64, two: f64) -> f64 {
    (2.0 * two / one - 1.0).clamp(0.0, 1.0)
}

/// Time on so many cores by the same law.
pub fn predict(one: f64, serial: f64, cores: f64) -> f64 {
    one * (serial + (1.0 - serial) / cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_gives_back_what_was_measured() {
        for (one, two) in [(10.0, 5.0), (10.0, 6.0), (10.0, 10.0)] {
            let serial = serial_part(one, two);
            assert!((predict(one, serial, 1.0) - one).abs() < 1e-9);
            assert!((predict(one, serial, 2.0) - two).abs() < 1e-9);
        }
        assert!((serial_part(10.0, 6.0) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn faster_than_twice_is_taken_for_no_serial_part() {
        assert!(serial_part(10.0, 4.0).abs() < 1e-9);
    }
}

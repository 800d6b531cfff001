//! The machine the agent works on: its paths, its changing half, its programs and its random source, handed to every step.
//!
//! Tests hand in a temporary tree, counted changes and a fake runner; no step reaches around this value.

use std::io;

use tools::Runner;

use crate::files::Files;
use crate::paths::Paths;

/// Everything a step may touch.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// Where things are.
    pub paths: &'a Paths,
    /// How the disk is changed.
    pub files: &'a Files,
    /// How programs are run.
    pub runner: &'a dyn Runner,
    /// 32 fresh random bytes.
    pub random: fn() -> io::Result<[u8; 32]>,
}

/// Random bytes of the kernel; waits until it has enough at boot.
pub fn kernel_random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = bytes.get_mut(filled..).unwrap_or_default();
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ() {
        assert_ne!(kernel_random().unwrap(), kernel_random().unwrap());
    }
}

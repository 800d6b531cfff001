//! Names of unified kernel images on the ESP, which are also systemd-boot's memory of tries, and the order in which it starts them.
//!
//! Boot Loader Specification (UAPI.1), "Boot counting" and "Sorting": `webhost_0.2.0+3-0.efi` has three tries left and none done. Before each
//! start the loader renames the file; once the host is healthy the counter is taken off. As the name decides, an update becomes
//! bootable, and stops being so, with one rename.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::names::{ImageName, ImageVersion};
use crate::version_order;

const EXTENSION: &str = ".efi";
/// How often a new version is tried.
pub const TRIES: u8 = 3;
/// Largest counter: one digit, so that no rename ever changes the length of the name, which FAT does not do in one step.
const LARGEST: u8 = 9;

/// Why a file name is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{found}` is not the name of a kernel image: IMAGE_VERSION.efi, or with tries IMAGE_VERSION+LEFT-DONE.efi")]
pub struct BootEntryError {
    /// The name, shortened.
    pub found: String,
}

/// Tries left and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    left: u8,
    done: u8,
}

impl Tries {
    /// Those of a version that was never started.
    pub const NEW: Self = Self { left: TRIES, done: 0 };

    /// How many are left, 0 to 9.
    pub fn left(self) -> u8 {
        self.left
    }

    /// How many were done, 0 to 9.
    pub fn done(self) -> u8 {
        self.done
    }

    /// What the loader makes of them when it starts the entry; `None` if it would not rename it.
    pub fn started(self) -> Option<Self> {
        let left = self.left.checked_sub(1)?;
        Some(Self { left, done: (self.done + 1).min(LARGEST) })
    }

    /// None left, whatever was left: the loader takes every other entry first.
    pub fn given_up(self) -> Self {
        Self { left: 0, ..self }
    }
}

/// A kernel image on the ESP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEntry {
    /// Name of the image.
    pub image: ImageName,
    /// Its version.
    pub version: ImageVersion,
    /// Its tries; `None` once it was found good.
    pub tries: Option<Tries>,
}

impl BootEntry {
    /// Whether all its tries were in vain. It is still there, behind all others.
    pub fn is_bad(&self) -> bool {
        self.tries.is_some_and(|tries| tries.left == 0)
    }

    /// The same once it was found good: nothing is counted any more.
    pub fn blessed(&self) -> Self {
        Self { tries: None, ..self.clone() }
    }

    /// The same once it was found bad.
    pub fn given_up(&self) -> Self {
        let tries = self.tries.unwrap_or(Tries { left: 0, done: 0 }).given_up();
        Self { tries: Some(tries), ..self.clone() }
    }

    /// Order in which the loader starts entries of one image: what is first is started.
    pub fn start_order(&self, other: &Self) -> Ordering {
        let tries = |entry: &Self| entry.tries.map(|tries| (std::cmp::Reverse(tries.left), tries.done));
        self.is_bad()
            .cmp(&other.is_bad())
            .then_with(|| version_order::compare(&other.version, &self.version))
            // The names without their counters; systemd-boot takes the newer here too.
            .then_with(|| version_order::compare_text(&other.stem(), &self.stem()))
            // Of one that counts and one that does not the loader takes the one that it reads first; nobody may leave both there.
            .then_with(|| tries(self).cmp(&tries(other)))
    }

    fn stem(&self) -> String {
        format!("{}_{}", self.image, self.version)
    }
}

impl fmt::Display for BootEntry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.stem())?;
        if let Some(Tries { left, done }) = self.tries {
            write!(out, "+{left}-{done}")?;
        }
        out.write_str(EXTENSION)
    }
}

impl FromStr for BootEntry {
    type Err = BootEntryError;

    fn from_str(name: &str) -> Result<Self, BootEntryError> {
        parse(name).ok_or_else(|| BootEntryError { found: name.chars().take(80).collect() })
    }
}

/// FAT keeps the case of a name and finds it in any, but nobody here writes another one than ours.
fn parse(name: &str) -> Option<BootEntry> {
    let name = name.strip_suffix(EXTENSION)?;
    let (stem, tries) = match name.split_once('+') {
        Some((stem, counter)) => (stem, Some(parse_tries(counter)?)),
        None => (name, None),
    };
    let (image, version) = stem.split_once('_')?;
    Some(BootEntry { image: image.parse().ok()?, version: version.parse().ok()?, tries })
}

fn parse_tries(counter: &str) -> Option<Tries> {
    let digit = |text: &str| match text.as_bytes() {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        _ => None,
    };
    let (left, done) = counter.split_once('-')?;
    Some(Tries { left: digit(left)?, done: digit(done)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str) -> BootEntry {
        name.parse().unwrap()
    }

    fn first(names: &[&str]) -> String {
        let mut entries: Vec<BootEntry> = names.iter().map(|name| entry(name)).collect();
        entries.sort_by(BootEntry::start_order);
        entries[0].to_string()
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["webhost_0.1.0.efi", "webhost_0.2.0+3-0.efi", "w-1_0.1.0~rc1+0-3.efi"] {
            assert_eq!(entry(name).to_string(), name);
        }
        let new = BootEntry { tries: Some(Tries::NEW), ..entry("webhost_0.2.0.efi") };
        assert_eq!(new.to_string(), "webhost_0.2.0+3-0.efi");
    }

    #[test]
    fn what_would_not_keep_its_length_or_is_none_of_ours_is_refused() {
        for name in [
            "",
            ".efi",
            "webhost.efi",
            "webhost_0.1.0",
            "webhost_0.1.0+3.efi",
            "webhost_0.1.0+10-0.efi",
            "webhost_0.1.0+3-.efi",
            "webhost_0.1.0+-1-0.efi",
            "webhost_0.1.0+3-0+2-1.efi",
            "webhost_0.1.0.EFI",
            "../webhost_0.1.0.efi",
            "Webhost_0.1.0.efi",
            "webhost_0.1.0+3-0.efi.new",
        ] {
            assert!(name.parse::<BootEntry>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_new_version_is_tried_three_times_and_then_the_old_one_is_started() {
        let old = "webhost_0.1.9.efi";
        let mut new = BootEntry { tries: Some(Tries::NEW), ..entry("webhost_0.1.10.efi") };
        let mut names = Vec::new();
        while first(&[old, &new.to_string()]) != old {
            new.tries = new.tries.and_then(Tries::started);
            names.push(new.to_string());
        }
        let expected = ["webhost_0.1.10+2-1.efi", "webhost_0.1.10+1-2.efi", "webhost_0.1.10+0-3.efi"];
        assert_eq!(names, expected);
        assert_eq!(new.tries.and_then(Tries::started), None);
    }

    #[test]
    fn the_newer_is_started_unless_it_is_bad_and_the_better_of_two_with_one_version() {
        assert_eq!(first(&["w_0.2.0~rc1.efi", "w_0.1.0.efi"]), "w_0.2.0~rc1.efi");
        assert_eq!(first(&["w_0.2.0~rc1.efi", "w_0.2.0.efi"]), "w_0.2.0.efi");
        assert_eq!(first(&["w_0.2.0+0-3.efi", "w_0.1.0+1-2.efi"]), "w_0.1.0+1-2.efi");
        assert_eq!(first(&["w_0.2.0+1-2.efi", "w_0.2.0+2-1.efi"]), "w_0.2.0+2-1.efi");
        // Nothing is left but bad ones: the newest of them.
        assert_eq!(first(&["w_0.1.0+0-3.efi", "w_0.2.0+0-3.efi"]), "w_0.2.0+0-3.efi");
    }

    proptest! {
        #[test]
        fn every_name_that_is_read_is_written_the_same(name in "[a-z_0-9.+-]{0,30}(\\.efi)?") {
            if let Ok(entry) = name.parse::<BootEntry>() {
                prop_assert_eq!(entry.to_string(), name);
            }
        }
    }
}

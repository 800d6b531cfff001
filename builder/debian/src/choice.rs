//! Choosing packages, and remembering the choice: the same question to the same Releases has the same answer.
//!
//! Reading 70000 packages takes longer than asking the mirror whether its Releases changed. The last lock of each question is
//! kept with the time when it was last compared with the archive; it is used again while the signed Releases are the same, or,
//! where the caller is content with it, while that comparison is recent. Opens only its own directory and, by way of `archive`,
//! the lists.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    archive::{Access, Archive, ArchiveError, fetch_releases},
    date::UnixTime,
    lists::write_atomic,
    lock::{Lock, LockedSuite},
    package::Architecture,
    suite::Suite,
    wish::Wish,
};

/// Choices of the packages of some suites for one architecture.
#[derive(Debug, Clone)]
pub struct Choices<'a> {
    directory: PathBuf,
    suites: &'a [Suite],
    architecture: Architecture,
}

impl<'a> Choices<'a> {
    /// Choices among the packages of `suites`, kept below `cache`.
    pub fn new(cache: &Path, suites: &'a [Suite], architecture: Architecture) -> Self {
        Self { directory: cache.join("locks"), suites, architecture }
    }

    /// Asks the archive: the answer is that of the Releases as they are now.
    pub fn choose(&self, access: &Access<'_>, wish: &Wish) -> Result<Lock, ArchiveError> {
        let releases = fetch_releases(access, self.suites)?;
        let seen: Vec<LockedSuite> = releases.iter().map(LockedSuite::of).collect();
        let lock = match self.load(wish) {
            Some(last) if last.suites == seen => last,
            last => with_time_of(Archive::read(access, releases, &self.architecture)?.lock(wish)?, last),
        };
        self.keep(wish, &lock, access.now)?;
        Ok(lock)
    }

    /// The last answer, if it was compared with the archive at most `seconds` before `now`. Asks nobody.
    pub fn recent(&self, wish: &Wish, now: UnixTime, seconds: u64) -> Option<Lock> {
        let compared: UnixTime = fs::read_to_string(self.path(wish, "compared")).ok()?.trim_end().parse().ok()?;
        // A clock that was turned back says nothing about the age.
        let age = now.0.checked_sub(compared.0)?;
        self.load(wish).filter(|_| age <= seconds)
    }

    fn path(&self, wish: &Wish, extension: &str) -> PathBuf {
        let digest = wish.digest(self.suites, &self.architecture).to_string();
        self.directory.join(digest).with_extension(extension)
    }

    /// A file that cannot be read is none: the question is put anew.
    fn load(&self, wish: &Wish) -> Option<Lock> {
        let lock = Lock::parse(&fs::read_to_string(self.path(wish, "toml")).ok()?).ok()?;
        (lock.wish() == *wish && lock.architecture == self.architecture).then_some(lock)
    }

    fn keep(&self, wish: &Wish, lock: &Lock, now: UnixTime) -> Result<(), ArchiveError> {
        // The time goes first out and last in: cut between, there is a lock of unknown age, which is asked about anew.
        let compared = self.path(wish, "compared");
        match fs::remove_file(&compared) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(crate::lists::ListsError::Cache { path: compared, source: error }.into());
            }
            _ => {}
        }
        write_atomic(&self.path(wish, "toml"), lock.render()?.as_bytes())?;
        Ok(write_atomic(&compared, format!("{now}\n").as_bytes())?)
    }
}

/// Debian signs new Releases several times a day, mostly over other packages than ours. While the chosen ones are the same the
/// image is, so its time stays that of the first choice.
fn with_time_of(mut lock: Lock, last: Option<Lock>) -> Lock {
    if let Some(last) = last.filter(|last| last.packages == lock.packages) {
        lock.source_date_epoch = last.source_date_epoch;
    }
    lock
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(time: u64, version: &str) -> Lock {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let text = format!(
            "schema = 2\nsource_date_epoch = {time}\narchitecture = \"amd64\"\nbase = \"empty\"\nwanted = [\"abc\"]\n\
             [[suite]]\nname = \"trixie\"\nsite = \"archive\"\ncomponents = [\"main\"]\ndate = \"2026-09-12T07:55:41Z\"\n\
             release = \"{digest}\"\n\
             [[package]]\nname = \"abc\"\nversion = \"{version}\"\narchitecture = \"all\"\nsize = 1\nsha256 = \"{digest}\"\n\
             origin = \"trixie/main\"\nfile = \"pool/abc.deb\"\n"
        );
        Lock::parse(&text).unwrap()
    }

    #[test]
    fn the_time_changes_with_the_packages_and_not_with_the_release() {
        assert_eq!(with_time_of(lock(9, "1"), Some(lock(5, "1"))).source_date_epoch, 5);
        assert_eq!(with_time_of(lock(9, "2"), Some(lock(5, "1"))).source_date_epoch, 9);
        assert_eq!(with_time_of(lock(9, "1"), None).source_date_epoch, 9);
    }
}

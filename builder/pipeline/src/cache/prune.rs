//! How large the cache is, and how it is made smaller: what was not used for longest goes first.
//!
//! A build holds the cache's lock for reading, pruning holds it alone: nothing goes away under a running build.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use debian::lock::Lock;
use fs_err as fs;
use serde::Serialize;
use walkdir::WalkDir;

use super::Entry;

/// Where the last use of each entry is noted, as the time of an empty file.
const USED: &str = ".used";

const STAGES: &str = "stages";
const PACKAGES: &str = "packages";

/// How many bytes the cache may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub u64);

/// What takes how much, in bytes on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheUse {
    /// Finished stages.
    pub stages: u64,
    /// Verified packages.
    pub packages: u64,
    /// Everything else: package lists, keys, what the compiler keeps.
    pub other: u64,
}

impl CacheUse {
    /// Looks at the cache in `dir`.
    pub fn of(dir: &Path) -> Self {
        let below = |dir: &Path, size: fn(&Path) -> u64| -> u64 {
            children(dir).unwrap_or_default().iter().map(|(_, path)| size(path)).sum()
        };
        let (stages, packages) = (below(&dir.join(STAGES), size_of_entry), size_of(&dir.join(PACKAGES)));
        let other =
            below(
                dir,
                |path| if [STAGES, PACKAGES].iter().any(|name| path.ends_with(name)) { 0 } else { size_of(path) },
            );
        Self { stages, packages, other }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.stages + self.packages + self.other
    }
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Names of finished stages.
    pub stages: Vec<String>,
    /// Number of packages that no stage is left of.
    pub packages: usize,
    /// Bytes on disk that are free again.
    pub bytes: u64,
}

/// Held while a program uses the cache: nothing in it goes away meanwhile.
#[derive(Debug)]
pub struct InUse {
    dir: PathBuf,
    lock: File,
}

impl InUse {
    /// Says that the cache in `dir` is being used; waits while somebody else prunes it.
    pub fn new(dir: &Path) -> Result<Self> {
        let lock = lock_file(dir)?;
        lock.lock_shared().context("cannot lock the cache")?;
        Ok(Self { dir: dir.to_owned(), lock })
    }

    /// Removes what is needed to bring the cache below `limit`; `None` while somebody else uses it.
    pub fn prune(&self, limit: Limit) -> Result<Option<Pruned>> {
        let alone = self.lock.try_lock().is_ok();
        let pruned = alone.then(|| prune(&self.dir, limit)).transpose();
        // flock(2): a failed change of the lock may have lost it.
        self.lock.lock_shared().context("cannot lock the cache")?;
        pruned
    }
}

fn prune(dir: &Path, limit: Limit) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    let stages = dir.join(STAGES);
    remove_leftovers(&stages, &mut pruned)?;
    remove_leftovers(dir, &mut pruned)?;
    let mut total = CacheUse::of(dir).total();
    for entry in oldest_first(&stages)? {
        if total <= limit.0 {
            break;
        }
        let size = size_of_entry(&entry);
        remove_entry(&entry)?;
        total = total.saturating_sub(size);
        pruned.bytes += size;
        pruned.stages.push(entry.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    if total > limit.0 {
        remove_unneeded_packages(dir, &mut pruned)?;
    }
    Ok(pruned)
}

/// Notes that an entry was used now.
pub(super) fn mark_used(entry: &Path) -> Result<()> {
    if let (Some(dir), Some(name)) = (entry.parent(), entry.file_name()) {
        let note = fs::create_dir_all(dir.join(USED))
            .and_then(|()| File::create(dir.join(USED).join(name))?.set_modified(SystemTime::now()));
        match note {
            // A result that is there is worth more than the note of its use.
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {}
            other => other?,
        }
    }
    Ok(())
}

fn lock_file(dir: &Path) -> Result<File> {
    fs::create_dir_all(dir)?;
    let path = dir.join("lock");
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open `{}`: give `--cache` a directory that you own", path.display()))
}

/// What cut builds left: nobody builds now, so nobody will finish it.
fn remove_leftovers(stages: &Path, pruned: &mut Pruned) -> Result<()> {
    for (name, path) in children(stages)? {
        if name.starts_with('.') && name != USED && path.is_dir() {
            pruned.bytes += size_of(&path);
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

fn oldest_first(stages: &Path) -> Result<Vec<PathBuf>> {
    let used = |name: &str| {
        let noted = std::fs::metadata(stages.join(USED).join(name)).and_then(|metadata| metadata.modified());
        noted.unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let entries = children(stages)?.into_iter().filter(|(name, _)| !name.starts_with('.'));
    let mut entries: Vec<(SystemTime, PathBuf)> = entries.map(|(name, path)| (used(&name), path)).collect();
    entries.sort();
    Ok(entries.into_iter().map(|(_, path)| path).collect())
}

fn remove_entry(entry: &Path) -> Result<()> {
    let (Some(dir), Some(name)) = (entry.parent(), entry.file_name()) else {
        return Ok(());
    };
    let away = dir.join(format!(".gone-{}", name.to_string_lossy()));
    fs::rename(entry, &away)?;
    fs::remove_dir_all(&away)?;
    let used = dir.join(USED).join(name);
    if used.exists() {
        fs::remove_file(used)?;
    }
    Ok(())
}

fn remove_unneeded_packages(dir: &Path, pruned: &mut Pruned) -> Result<()> {
    let needed = packages_of_entries(&dir.join(STAGES))?;
    for (_, shelf) in children(&dir.join(PACKAGES).join("sha256"))? {
        for (name, path) in children(&shelf)? {
            if !needed.contains(&name) {
                pruned.bytes += size_of(&path);
                pruned.packages += 1;
                fs::remove_file(&path)?;
            }
        }
    }
    Ok(())
}

/// In a kept stage: the digests of the assets that it was made of, one a line.
pub(crate) const ASSETS: &str = "assets.txt";

/// Digests of the packages and assets that finished stages were made of; each such stage keeps its lock or their list.
fn packages_of_entries(stages: &Path) -> Result<BTreeSet<String>> {
    let mut digests = BTreeSet::new();
    for (_, entry) in children(stages)? {
        let assets = fs::read_to_string(entry.join(ASSETS)).unwrap_or_default();
        digests.extend(assets.lines().map(str::to_owned));
        if let Ok(text) = fs::read_to_string(entry.join("lock.toml")) {
            let lock = Lock::parse(&text).with_context(|| format!("in `{}`", entry.display()))?;
            digests.extend(lock.packages.iter().map(|package| package.sha256.to_string()));
        }
    }
    Ok(digests)
}

fn children(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let list = fs::read_dir(dir)?.map(|entry| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    });
    list.collect()
}

/// Bytes on disk of a finished stage: as it was noted, since tens of thousands of files take seconds to look at.
fn size_of_entry(entry: &Path) -> u64 {
    Entry::of(entry).and_then(|noted| noted.bytes).unwrap_or_else(|| size_of(entry))
}

/// Bytes on disk of everything below `path`; a file with several names counts once.
pub(super) fn size_of(path: &Path) -> u64 {
    const UNIT: u64 = 512;
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    for entry in WalkDir::new(path) {
        // A build may be removing its scratch files meanwhile.
        let Ok(metadata) = entry.and_then(|entry| entry.metadata()) else {
            continue;
        };
        if metadata.nlink() < 2 || metadata.is_dir() || seen.insert((metadata.dev(), metadata.ino())) {
            bytes += metadata.blocks() * UNIT;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::{Hit, KeyBuilder, StageCache};
    use super::*;

    fn filled(dir: &Path, names: &[&str]) -> StageCache {
        let cache = StageCache::new(dir.join("stages"));
        for name in names {
            make(&cache, name);
        }
        cache
    }

    fn make(cache: &StageCache, name: &str) -> Hit {
        let key = KeyBuilder::new("s", 1).text("name", name).finish();
        let write = |path: &Path| Ok(fs::write(path.join("bytes"), vec![7; 1 << 20])?);
        let hit = cache.get_or_make(&key, write).unwrap().1;
        // So that no two uses have the same time.
        std::thread::sleep(std::time::Duration::from_millis(20));
        hit
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = filled(dir.path(), &["a", "b", "c"]);
        make(&cache, "a");
        let limit = Limit(CacheUse::of(dir.path()).total() - 1);
        let pruned = prune(dir.path(), limit).unwrap();
        assert_eq!(pruned.stages.len(), 1);
        assert!(pruned.bytes >= 1 << 20);
        assert_eq!(["a", "c", "b"].map(|name| make(&cache, name)), [Hit::Cached, Hit::Cached, Hit::Made]);
    }

    #[test]
    fn a_cache_below_its_limit_only_loses_what_cut_builds_left() {
        let dir = tempfile::tempdir().unwrap();
        let cache = filled(dir.path(), &["a"]);
        let cut = ["stages/.s-cut", ".root-cut"].map(|name| dir.path().join(name));
        for path in &cut {
            fs::create_dir(path).unwrap();
        }
        let pruned = prune(dir.path(), Limit(1 << 30)).unwrap();
        assert_eq!((pruned.stages.len(), cut.each_ref().map(|path| path.exists())), (0, [false, false]));
        assert_eq!(make(&cache, "a"), Hit::Cached);
    }

    #[test]
    fn what_a_finished_stage_takes_is_noted_once_and_is_what_it_takes() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), &["a", "b"]);
        let entries = oldest_first(&dir.path().join(STAGES)).unwrap();
        for entry in &entries {
            let noted = Entry::of(entry).unwrap().bytes.unwrap();
            // The note itself is written after it was counted.
            assert_eq!(noted, size_of(entry) - size_of(&entry.join("entry.json")));
            assert!(noted >= 1 << 20);
        }
        let total: u64 = entries.iter().map(|entry| size_of_entry(entry)).sum();
        assert!((total..total + (1 << 20)).contains(&CacheUse::of(dir.path()).stages));
    }

    #[test]
    fn nothing_goes_away_while_a_build_runs() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), &["a"]);
        let (builder, pruner) = (InUse::new(dir.path()).unwrap(), InUse::new(dir.path()).unwrap());
        assert_eq!(pruner.prune(Limit(0)).unwrap(), None);
        drop(builder);
        assert_eq!(pruner.prune(Limit(0)).unwrap().unwrap().stages.len(), 1);
        // Whoever pruned uses the cache again.
        let other = InUse::new(dir.path()).unwrap();
        assert_eq!(other.prune(Limit(0)).unwrap(), None);
    }

    #[test]
    fn packages_go_only_when_no_finished_stage_names_them() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = dir.path().join("packages/sha256/ab");
        fs::create_dir_all(&shelf).unwrap();
        fs::write(shelf.join("ab".repeat(32)), "deb").unwrap();
        let pruned = prune(dir.path(), Limit(0)).unwrap();
        assert_eq!((pruned.packages, shelf.join("ab".repeat(32)).exists()), (1, false));
    }
}

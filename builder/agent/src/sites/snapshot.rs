//! Snapshots of a site: its files and its database at one moment, kept until they are removed.
//!
//! `/var/lib/casemate/snapshots/<id>/<time>[-<label>]/` holds `files` (the site's directory) and, where the site has one,
//! `database.sql`. A snapshot appears under its name when both are complete.

use std::fmt;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use tools::Failure;
use tools::ResultExt as _;
use tools::Tool;

use super::Site;
use super::database;
use super::pages;
use super::php;
use super::volume;
use super::volume::Copied;
use crate::files::Access;
use crate::host::Host;
use crate::state_directories;

const FILES: &str = "files";
const DATABASE: &str = "database.sql";
/// Where a snapshot grows; what a cut left there is removed by the next.
const GROWING: &str = ".new";
/// How many of those that the agent took by itself before one kind of change are kept for a site.
const KEPT: usize = 5;
/// How labels of such begin; no label of a person does.
const AUTOMATIC: &str = "auto-";

/// The name of a snapshot: time in UTC, and what it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName(String);

impl FromStr for SnapshotName {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"TZ-".contains(&byte);
        if !text.is_empty() && text.len() <= 80 && text.bytes().all(allowed) && !text.starts_with('-') {
            return Ok(Self(text.to_owned()));
        }
        Err(Failure::refused(format!("`{text}` is not the name of a snapshot"))
            .hint("`casemate-agent site snapshots SITE` lists them; labels are made of `a-z`, `0-9` and `-`"))
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl SnapshotName {
    fn label(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, label)| label)
    }
}

fn folder(host: Host<'_>, site: &Site) -> PathBuf {
    host.paths.snapshots().join(site.account.id())
}

/// Takes one that a person wants; it stays until a person removes it.
pub fn take_for(host: Host<'_>, site: &Site, label: Option<&str>) -> Result<SnapshotName> {
    if label.is_some_and(|label| label.starts_with(AUTOMATIC)) {
        let message =
            format!("labels that begin with `{AUTOMATIC}` are those of the agent, which removes the oldest of them");
        return Err(Failure::refused(message).hint("choose another label").into());
    }
    take(host, site, label)
}

/// Takes a snapshot while the site goes on.
fn take(host: Host<'_>, site: &Site, label: Option<&str>) -> Result<SnapshotName> {
    let folder = folder(host, site);
    let name = free_name(host, &folder, label)?;
    let (new, place) = (folder.join(GROWING), folder.join(&name.0));
    discard(host, &new)?;
    host.files.make_directory(&new, Access::SECRET_DIRECTORY)?;
    // The database first: a file that its rows speak of and that is newer does no harm, one that is missing does.
    if site.runs_php() {
        database::export(host, site, &new.join(DATABASE))?;
    }
    volume::copy(host, &host.paths.site(&site.account.id()), &new.join(FILES), Copied::ReadOnly)?;
    host.files.rename(&new, &place)?;
    Ok(name)
}

/// The name of this second; a second later where it is taken.
fn free_name(host: Host<'_>, folder: &Path, label: Option<&str>) -> Result<SnapshotName> {
    let label = label.map(|label| format!("-{label}")).unwrap_or_default();
    loop {
        let now = host.runner.run(&Tool::new("date").args(["--utc", "+%Y%m%dT%H%M%SZ"])).remedied()?.stdout_text();
        let name: SnapshotName = format!("{}{label}", now.trim()).parse()?;
        if !folder.join(&name.0).exists() {
            return Ok(name);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Takes one before the agent changes the site by itself. Of those before the same kind of change the oldest go, so that many changes of
/// one kind do not take away the way back from another.
pub fn take_before(host: Host<'_>, site: &Site, what: &str) -> Result<SnapshotName> {
    take_keeping(host, site, what, None)
}

/// The same, and `wanted` stays, however old it is.
fn take_keeping(host: Host<'_>, site: &Site, what: &str, wanted: Option<&SnapshotName>) -> Result<SnapshotName> {
    let label = format!("{AUTOMATIC}before-{what}");
    let name = take(host, site, Some(&label))?;
    for old in superfluous(&list(host, site)?, &name, wanted) {
        remove(host, site, old)?;
    }
    Ok(name)
}

/// Which of all, oldest first, go once `new` is there. A clock that went back makes the new one the oldest, and it stays all the same.
fn superfluous<'s>(
    all: &'s [SnapshotName],
    new: &SnapshotName,
    wanted: Option<&SnapshotName>,
) -> Vec<&'s SnapshotName> {
    let others =
        all.iter().rev().filter(|other| other.label() == new.label() && *other != new && Some(*other) != wanted);
    others.skip(KEPT - 1).collect()
}

/// Puts a site back to a snapshot and returns the one of what it was until then.
pub fn go_back(host: Host<'_>, site: &Site, name: &SnapshotName) -> Result<SnapshotName> {
    find(host, site, name)?;
    let before = take_keeping(host, site, "restore", Some(name))?;
    restore(host, site, name)?;
    Ok(before)
}

/// All snapshots of a site, oldest first.
pub fn list(host: Host<'_>, site: &Site) -> Result<Vec<SnapshotName>> {
    let folder = folder(host, site);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut names: Vec<SnapshotName> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    names.sort();
    Ok(names)
}

/// Puts a site back to a snapshot: its files, then its database. Nobody is served by its programs meanwhile.
///
/// A restore that was cut is simply run again.
pub fn restore(host: Host<'_>, site: &Site, name: &SnapshotName) -> Result<()> {
    let kept = find(host, site, name)?;
    let files = host.paths.site(&site.account.id());
    let new = files.with_file_name(format!(".{}.new", site.account.id()));
    volume::remove(host, &new)?;
    volume::copy(host, &kept.join(FILES), &new, Copied::Writable)?;
    pages::forget_in(host, &new);
    state_directories::set_quota(host, &new, site)?;
    php::stopped(host, site, || {
        volume::replace(host, &new, &files)?;
        let dump = kept.join(DATABASE);
        if site.runs_php() && dump.exists() { database::replace(host, site, &dump) } else { Ok(()) }
    })
}

/// Removes one snapshot.
pub fn remove(host: Host<'_>, site: &Site, name: &SnapshotName) -> Result<()> {
    let kept = find(host, site, name)?;
    // Out of the list first: half of a snapshot must not be found under its name.
    let gone = folder(host, site).join(GROWING);
    discard(host, &gone)?;
    host.files.rename(&kept, &gone)?;
    discard(host, &gone)
}

fn discard(host: Host<'_>, path: &Path) -> Result<()> {
    volume::remove(host, &path.join(FILES))?;
    Ok(host.files.remove(path)?)
}

/// Removes all snapshots of a site.
pub fn remove_all(host: Host<'_>, site: &Site) -> Result<()> {
    // What a cut left is in no list.
    discard(host, &folder(host, site).join(GROWING))?;
    for name in list(host, site)? {
        remove(host, site, &name)?;
    }
    Ok(host.files.remove(&folder(host, site))?)
}

/// The place of a snapshot, or a refusal that names those that are there.
fn find(host: Host<'_>, site: &Site, name: &SnapshotName) -> Result<PathBuf> {
    let place = folder(host, site).join(&name.0);
    if place.join(FILES).is_dir() {
        return Ok(place);
    }
    let names: Vec<String> = list(host, site)?.iter().map(ToString::to_string).collect();
    let hint = if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) };
    Err(Failure::refused(format!("{} has no snapshot `{name}`", site.name)).hint(hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<SnapshotName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_the_oldest_before_the_same_kind_of_change_go_and_never_the_new_or_the_wanted_one() {
        let mut all: Vec<String> = (1..=7).map(|day| format!("2026010{day}T000000Z-auto-before-update")).collect();
        all.extend(
            ["20250101T000000Z-before-redesign", "20250101T000000Z", "20250101T000000Z-auto-before-clone"]
                .map(String::from),
        );
        all.sort();
        let all = names(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let update = |day: u32| names(&[&format!("2026010{day}T000000Z-auto-before-update")]).remove(0);
        let gone = |new: u32, wanted: Option<u32>| -> Vec<SnapshotName> {
            superfluous(&all, &update(new), wanted.map(update).as_ref()).into_iter().cloned().collect()
        };
        assert_eq!(gone(7, None), [update(2), update(1)]);
        assert_eq!(gone(7, Some(1)), [update(2)]);
        assert_eq!(gone(1, None), [update(3), update(2)]);
    }

    #[test]
    fn a_name_leaves_no_directory_and_starts_no_option() {
        for bad in ["", "-x", "..", "a/b", ".new", "A b"] {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad}");
        }
    }
}

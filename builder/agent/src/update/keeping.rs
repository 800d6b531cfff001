//! State around a trial: kept as it was before the first start of a new version, and put back where the version before it cannot
//! read what the new one left.
//!
//! All of it happens before any service runs. Only directories with a format are ever put back; mail, uploads, keys and sites
//! stay as they are, and what is taken out of its place is set aside and never removed.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use bundle::ImageVersion;
use hostconf::FormattedState;
use hostconf::StateFormats;
use tools::ResultExt as _;
use tools::Tool;

use super::kept::Aside;
use super::kept::Formats;
use super::kept::Kept;
use super::kept::Snapshot;
use super::kept::own_formats;
use super::moment::moment;
use super::running::Running;
use crate::certificates;
use crate::files::Access;
use crate::host::Host;
use crate::paths::Paths;
use crate::sites::volume;

/// Keeps all state as it is before the first start of the running version; a later start of its trial leaves that. Says how it was
/// kept, if it was.
pub fn keep(host: Host<'_>) -> Result<Option<&'static str>> {
    let version = Running::read(host.paths).remedied()?.version;
    let own = own_formats(host.paths).remedied()?;
    let kept = Kept::read(host.paths).remedied()?;
    if kept.snapshot.as_ref().is_some_and(|snapshot| snapshot.before == version) {
        return Ok(None);
    }
    let how = take(host, &kept.formats, &own)?;
    let snapshot = Snapshot { before: version, at: certificates::now(), formats: kept.formats.clone() };
    Kept { snapshot: Some(snapshot), formats: with(kept.formats, &own), ..kept }.write(host)?;
    Ok(Some(how))
}

/// A version that is not on trial starts: what one that no longer runs left is put back where this one could not read it. Says what
/// was done, or could not be.
pub fn settle(host: Host<'_>) -> Result<Vec<String>> {
    let version = Running::read(host.paths).remedied()?.version;
    let own = own_formats(host.paths).remedied()?;
    let kept = Kept::read(host.paths).remedied()?;
    let (mut settled, mut said) = (kept.clone(), Vec::new());
    settled.aside.retain(|aside| aside.now.exists());
    for state in own.iter().filter(|state| is_foreign(state, &kept.formats)) {
        match kept.snapshot.as_ref().filter(|snapshot| is_for(snapshot, state, &version)) {
            Some(snapshot) => {
                let aside = put_back(host, state, snapshot)?;
                said.push(aside.text());
                settled.aside.retain(|other| other.now != aside.now);
                settled.aside.push(aside);
            }
            None => said.push(format!(
                "`{}` was left by a version that had it in another format, and nothing of before is kept",
                state.path
            )),
        }
    }
    settled.snapshot = settled.snapshot.filter(|snapshot| snapshot.before == version);
    settled.formats = with(settled.formats, &own);
    remember(host, &kept, &settled)?;
    Ok(said)
}

/// The running version is good: what is kept of before it goes, unless the way back needs it.
pub fn release(host: Host<'_>) -> Result<()> {
    let version = Running::read(host.paths).remedied()?.version;
    let kept = Kept::read(host.paths).remedied()?;
    let snapshot = kept.needed_behind(&version).cloned();
    remember(host, &kept, &Kept { snapshot, ..kept.clone() })
}

impl Aside {
    /// A line for a person.
    pub fn text(&self) -> String {
        format!(
            "`{}` holds what it held at {}; what {} wrote there since is in `{}`: remove that once nobody needs it",
            self.path,
            moment(self.back_to),
            self.by,
            self.now.display()
        )
    }
}

/// Where state is kept: a subvolume, or the directories whose format changes.
fn place(paths: &Paths) -> PathBuf {
    paths.update().join("kept")
}

/// Below `place`, as below `/var`.
fn in_place(paths: &Paths, path: &str) -> PathBuf {
    place(paths).join(path.trim_start_matches("/var/"))
}

/// A snapshot appears whole or not at all, and a copy counts once it is remembered: what is there before is of a start that was cut.
fn take(host: Host<'_>, before: &Formats, own: &StateFormats) -> Result<&'static str> {
    let (var, place) = (host.paths.at("/var"), place(host.paths));
    host.files.ensure_directory(&host.paths.update(), Access::SECRET_DIRECTORY)?;
    volume::remove(host, &place)?;
    if volume::is_subvolume(&var) {
        volume::copy(host, &var, &place, volume::Copied::ReadOnly)?;
        return Ok("a snapshot of `/var` is kept");
    }
    host.files.make_directory(&place, Access::SECRET_DIRECTORY)?;
    for state in own.iter().filter(|state| is_foreign(state, before)) {
        let (from, to) = (host.paths.at(state.path.as_str()), in_place(host.paths, state.path.as_str()));
        if from.is_dir() {
            host.files.make_directory(to.parent().unwrap_or(&place), Access::SECRET_DIRECTORY)?;
            volume::copy(host, &from, &to, volume::Copied::Writable)?;
        }
    }
    host.files.flush_file_system(&place)?;
    Ok("copies of the directories whose format changes are kept")
}

/// Another version left it in another format.
fn is_foreign(state: &FormattedState, left: &Formats) -> bool {
    left.get(state.path.as_str()).is_some_and(|format| format != state.format.as_str())
}

fn is_for(snapshot: &Snapshot, state: &FormattedState, running: &ImageVersion) -> bool {
    snapshot.before != *running
        && snapshot.formats.get(state.path.as_str()).is_some_and(|format| format == state.format.as_str())
}

fn with(mut formats: Formats, own: &StateFormats) -> Formats {
    formats.extend(own.iter().map(|state| (state.path.to_string(), state.format.to_string())));
    formats
}

/// The memory first: a snapshot that nobody remembers is removed by the next start, one that is remembered and gone would be missed.
fn remember(host: Host<'_>, before: &Kept, after: &Kept) -> Result<()> {
    if after != before {
        after.write(host)?;
    }
    if after.snapshot.is_none() { volume::remove(host, &place(host.paths)) } else { Ok(()) }
}

/// Goes on where a cut has stopped it: the copy is whole once the old directory has left its place, and is gone once it has taken that.
fn put_back(host: Host<'_>, state: &FormattedState, snapshot: &Snapshot) -> Result<Aside> {
    let (live, from) = (host.paths.at(state.path.as_str()), in_place(host.paths, state.path.as_str()));
    let name = live.file_name().context("a directory of state has no name")?.to_string_lossy().into_owned();
    let new = live.with_file_name(format!(".{name}.kept"));
    let aside = host.paths.update().join("aside").join(format!("{}-{}", snapshot.before, snapshot.at)).join(&name);
    if !aside.exists() {
        copy_beside(host, &from, &new, state.nocow)?;
        let folder = aside.parent().context("what is set aside has a folder")?;
        host.files.make_directory(folder, Access::SECRET_DIRECTORY)?;
        host.files.rename(&live, &aside)?;
    }
    if new.exists() {
        clear(host, &live)?;
        host.files.rename(&new, &live)?;
    }
    let (path, by) = (state.path.to_string(), snapshot.before.clone());
    Ok(Aside { path, now: aside, by, back_to: snapshot.at })
}

fn copy_beside(host: Host<'_>, from: &Path, new: &Path, nocow: bool) -> Result<()> {
    host.files.remove(new)?;
    host.files.make_directory(new, Access::SECRET_DIRECTORY)?;
    if nocow {
        // Only files that are made later are concerned; a file system without the flag works as well.
        let _ = host.runner.run(&Tool::new("chattr").arg("+C").arg(new));
    }
    volume::copy_into(host, from, new)?;
    Ok(host.files.flush_file_system(new)?)
}

/// systemd-tmpfiles makes the directory anew after a cut; whatever else is in it keeps it.
fn clear(host: Host<'_>, live: &Path) -> Result<()> {
    if fs::read_dir(live).is_ok_and(|mut entries| entries.next().is_none()) {
        host.files.remove(live)?;
    }
    Ok(())
}

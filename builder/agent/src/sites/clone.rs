//! Makes one site a copy of another: a staging site, or a new site from a finished one.
//!
//! Files and database come from a snapshot that is taken for it. In a `WordPress` every address of the old site becomes one of the new.

use anyhow::Context as _;
use anyhow::Result;
use serde::Deserialize;
use tools::Failure;

use super::Site;
use super::database;
use super::pages;
use super::php;
use super::snapshot;
use super::snapshot::SnapshotName;
use super::volume;
use super::volume::Copied;
use crate::files::Access;
use crate::host::Host;
use crate::state_directories;

/// Changes addresses in the database of the site that it runs in, some rows at each call.
const RENAME: &str = "/usr/share/casemate/wordpress/rename.php";

/// What `rename.php` says.
#[derive(Debug, Deserialize)]
struct Renamed {
    changed: u64,
    /// Where to go on; nothing at the end.
    next: Option<String>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloned {
    /// What the target was before.
    pub before: SnapshotName,
    /// Values of the database in which an address was changed.
    pub changed: u64,
}

/// Copies `from` over `to`. What `to` was is kept as a snapshot.
pub fn clone(host: Host<'_>, from: &Site, to: &Site) -> Result<Cloned> {
    check(from, to)?;
    let before = snapshot::take_before(host, to, "clone")?;
    let source = snapshot::take_before(host, from, "clone")?;
    let kept = host.paths.snapshots().join(from.account.id()).join(source.to_string());
    let files = host.paths.site(&to.account.id());
    let new = files.with_file_name(format!(".{}.new", to.account.id()));
    volume::remove(host, &new)?;
    volume::copy(host, &kept.join("files"), &new, Copied::Writable)?;
    volume::hand_over(host, &new, [from.owner(), from.php()], [to.owner(), to.php()])?;
    // Sessions of the one are not sessions of the other.
    host.files.remove(&new.join("tmp"))?;
    host.files.make_directory(&new.join("tmp"), Access { mode: 0o700, owner: to.php() })?;
    pages::forget_in(host, &new);
    state_directories::set_quota(host, &new, to)?;
    php::stopped(host, to, || {
        volume::replace(host, &new, &files)?;
        if to.runs_php() { database::replace(host, to, &kept.join("database.sql")) } else { Ok(()) }
    })?;
    let changed = if to.wordpress().is_ok() { rename(host, from, to)? } else { 0 };
    // Whoever came before all addresses were changed.
    pages::forget(host, to);
    Ok(Cloned { before, changed })
}

fn check(from: &Site, to: &Site) -> Result<()> {
    from.present()?;
    to.present()?;
    if from.account == to.account {
        return Err(Failure::refused("a site cannot be cloned to itself").hint("name two sites").into());
    }
    if from.kind() != to.kind() {
        let kind = |site: &Site| site.kind().map(|kind| kind.to_string()).unwrap_or_default();
        let message = format!("`{}` is of kind `{}`, `{}` of kind `{}`", from.name, kind(from), to.name, kind(to));
        return Err(Failure::refused(message).hint("give the target the same `kind` in host.toml").into());
    }
    Ok(())
}

fn rename(host: Host<'_>, from: &Site, to: &Site) -> Result<u64> {
    let names = from.settings.iter().flat_map(|settings| {
        std::iter::once(&settings.name).chain(&settings.aliases).chain(&settings.preview).map(ToString::to_string)
    });
    let names = names.collect::<Vec<_>>().join(" ");
    let (mut changed, mut cursor) = (0, String::new());
    loop {
        let variables =
            [("CASEMATE_FROM", names.as_str()), ("CASEMATE_TO", to.name.as_str()), ("CASEMATE_CURSOR", &cursor)];
        let said = php::run(host, &to.account.id(), to.name.as_str(), RENAME, &variables)?;
        let part: Renamed = serde_json::from_str(&said).with_context(|| format!("`{RENAME}` answers `{said}`"))?;
        changed += part.changed;
        match part.next {
            Some(next) if next != cursor => cursor = next,
            _ => return Ok(changed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::tests::sites;

    #[test]
    fn only_sites_of_one_kind_that_are_in_the_document_are_cloned() {
        let sites = sites();
        let [blog, staging, files, old] =
            ["blog.example.org", "staging.example.org", "www.example.org", "old.example.org"]
                .map(|name| sites.find(name).unwrap());
        assert!(check(blog, staging).is_ok());
        for (from, to, reason) in [
            (blog, blog, "itself"),
            (blog, files, "of kind `static`"),
            (old, blog, "not in host.toml"),
            (blog, old, "not in host.toml"),
        ] {
            let error = tools::failure::render(&check(from, to).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}

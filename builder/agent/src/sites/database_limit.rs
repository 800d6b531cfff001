//! Keeps the database of a site to the site's `limits.disk`, as btrfs keeps its files.
//!
//! The server knows no such limit, so a timer looks at the sizes of the files. A database that has become too large can still be read and
//! emptied; whatever makes it grow is refused until it is small again.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use hostconf::CodeSource;

use super::Site;
use super::database;
use crate::files::Access;
use crate::host::Host;

/// What makes a database grow, of the rights that `casemate.sql.j2` gives to PHP.
const GROWING: &str = "INSERT, UPDATE, CREATE, INDEX, ALTER, CREATE TEMPORARY TABLES";
/// The same of the owner's account, which only a managed site has.
const GROWING_OF_OWNER: &str = "INSERT, UPDATE";

/// What has changed for a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It writes no more rows.
    Held {
        /// Bytes of its files.
        size: u64,
        /// Bytes that they may have.
        limit: u64,
    },
    /// It writes again.
    Lifted,
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { size, limit } => write!(
                out,
                "its database has {} MiB, {} are allowed: nothing more is written until it has less; limits.disk in host.toml raises it",
                size >> 20,
                limit >> 20
            ),
            Self::Lifted => out.write_str("its database is small enough again and can be written"),
        }
    }
}

/// Whether there may be something to do, from sizes of files alone.
pub fn is_due(host: Host<'_>, site: &Site) -> Result<bool> {
    Ok(is_held(host, site) || file_bytes(host, site)? > limit(site))
}

/// Whether the site's database is held.
pub fn is_held(host: Host<'_>, site: &Site) -> bool {
    mark_of(host, site).exists()
}

/// Takes the right to write from a site whose database is too large, and gives it back when it is not. The caller holds the site's lock.
pub fn keep(host: Host<'_>, site: &Site) -> Result<Option<Change>> {
    let (limit, mark) = (limit(site), Mark::read(host, site));
    let mut used = file_bytes(host, site)?;
    if used > limit {
        let mark = hold(host, site, mark.unwrap_or_default(), used)?;
        used = compact(host, site, mark, used)?;
    }
    if used > limit {
        return Ok((!mark.is_some_and(|mark| mark.is_told)).then_some(Change::Held { size: used, limit }));
    }
    lift(host, site)?;
    Ok(mark.is_some_and(|mark| mark.is_told).then_some(Change::Lifted))
}

/// Rows that were deleted leave room in the files, which nobody can use before the tables are written anew. Some room stays in any table: only
/// what has come since the last time counts. Returns what the files have then.
fn compact(host: Host<'_>, site: &Site, mark: Mark, used: u64) -> Result<u64> {
    let gain = database::free_bytes(host, site)?.saturating_sub(mark.free);
    if gain <= used - limit(site) {
        return Ok(used);
    }
    database::compact(host, site)?;
    Mark { free: database::free_bytes(host, site)?, ..mark }.write(host, site)?;
    file_bytes(host, site)
}

/// Remembers that somebody was told; until then every look finds the change anew.
pub fn told(host: Host<'_>, site: &Site) -> Result<()> {
    Mark::read(host, site).map_or(Ok(()), |mark| Mark { is_told: true, ..mark }.write(host, site))
}

/// Gives the site back what was taken; nothing where nothing was.
pub fn lift(host: Host<'_>, site: &Site) -> Result<()> {
    if !is_held(host, site) {
        return Ok(());
    }
    database::execute(host, &for_each_user(site, "GRANT", "TO"))?;
    Ok(host.files.remove(&mark_of(host, site))?)
}

fn hold(host: Host<'_>, site: &Site, mark: Mark, used: u64) -> Result<Mark> {
    // First of all: what is taken must be found to be given back.
    mark.write(host, site)?;
    // Also when it is held already: another run of `casemate.sql` gives all rights anew.
    let revoke = for_each_user(site, "REVOKE", "FROM");
    if used <= mark.used {
        database::execute(host, &revoke)?;
        return Ok(mark);
    }
    // Somebody has written since: connections know their rights from when they chose the database. Who reads or deletes is left in peace.
    let kill = |text: String, (user, _)| text + &format!("KILL CONNECTION USER `{user}`@localhost; ");
    database::execute(host, &users(site).fold(revoke, kill))?;
    let mark = Mark { used, ..mark };
    mark.write(host, site)?;
    Ok(mark)
}

/// The site's accounts of the server, with what makes its database grow.
fn users(site: &Site) -> impl Iterator<Item = (String, &'static str)> {
    let is_managed = site.wordpress().is_ok_and(|settings| settings.code == CodeSource::Managed);
    let owner = is_managed.then(|| (site.account.id(), GROWING_OF_OWNER));
    std::iter::once((site.account.php_user(), GROWING)).chain(owner)
}

fn for_each_user(site: &Site, verb: &str, preposition: &str) -> String {
    let id = site.account.id();
    users(site).fold(String::new(), |text, (user, rights)| {
        text + &format!("{verb} {rights} ON `{id}`.* {preposition} `{user}`@localhost; ")
    })
}

/// Bytes that the database may have; the files of the site may have as many again.
fn limit(site: &Site) -> u64 {
    let limits = site.settings.as_ref().map(|settings| &settings.limits);
    limits.and_then(|limits| limits.disk).map_or(u64::MAX, hostconf::ByteSize::bytes)
}

/// Bytes of all files of the database.
fn file_bytes(host: Host<'_>, site: &Site) -> Result<u64> {
    let place = host.paths.databases().join(site.account.id());
    sum(&place).with_context(|| format!("cannot look at `{}`", place.display()))
}

fn sum(folder: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut bytes = 0;
    for entry in entries {
        match entry?.metadata() {
            Ok(found) => bytes += found.len(),
            // A table that was dropped meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// What is known of a site that is held: until the next start, which gives all rights anew.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// Bytes that its files had to spare after they were last written anew.
    free: u64,
    /// Bytes of its files when its connections were last ended.
    used: u64,
    /// Whether somebody was told.
    is_told: bool,
}

impl Mark {
    /// One that cannot be read is as good as new.
    fn read(host: Host<'_>, site: &Site) -> Option<Self> {
        let text = fs::read_to_string(mark_of(host, site)).ok()?;
        let mut words = text.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
        let (free, used) = (number(), number());
        Some(Self { free, used, is_told: words.next() == Some("told") })
    }

    fn write(self, host: Host<'_>, site: &Site) -> Result<()> {
        let text = format!("{} {} {}\n", self.free, self.used, if self.is_told { "told" } else { "untold" });
        Ok(host.files.write(&mark_of(host, site), text.as_bytes(), Access::SECRET)?)
    }
}

fn mark_of(host: Host<'_>, site: &Site) -> PathBuf {
    host.paths.site_locks().join(format!("{}.held", site.account.id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::tests::sites;
    use crate::testing::Tree;

    const MIB: usize = 1 << 20;

    /// A managed site that may have a MiB, with tables of these sizes.
    fn site_with(tree: &Tree, tables: &[usize]) -> Site {
        let mut site = sites().find("blog.example.org").unwrap().clone();
        let settings = site.settings.as_mut().unwrap();
        settings.limits.disk = Some("1M".parse().unwrap());
        if let hostconf::SiteContent::WordPress(wordpress) = &mut settings.content {
            wordpress.code = CodeSource::Managed;
        }
        for (number, bytes) in tables.iter().enumerate() {
            tree.put(&format!("/var/lib/mysql/data/site002/t{number}.ibd"), &"x".repeat(*bytes));
        }
        fs::create_dir_all(tree.paths.site_locks()).unwrap();
        site
    }

    #[test]
    fn a_database_that_is_too_large_is_held_and_lifted_when_it_is_small_again() {
        let tree = Tree::new();
        let site = site_with(&tree, &[MIB / 2, MIB]);
        tree.programs.say("data_free", "0\n");
        assert!(is_due(tree.host(), &site).unwrap());
        let held = keep(tree.host(), &site).unwrap();
        assert_eq!(held, Some(Change::Held { size: 3 * MIB as u64 / 2, limit: MIB as u64 }));
        told(tree.host(), &site).unwrap();
        let statements = tree.programs.commands().concat();
        assert!(statements.contains("REVOKE INSERT, UPDATE ON `site002`.* FROM `site002`@localhost"), "{statements}");
        assert!(statements.contains("KILL CONNECTION USER `site002-php`@localhost"), "{statements}");
        // Told once; the rights are taken again, for somebody may have given them anew, and nobody who reads is cut off.
        assert_eq!(keep(tree.host(), &site).unwrap(), None);
        assert_eq!(tree.programs.count("REVOKE"), 2);
        assert_eq!(tree.programs.count("KILL"), 1);
        assert_eq!(tree.programs.count("mariadb-check"), 0);

        tree.put("/var/lib/mysql/data/site002/t1.ibd", "");
        assert_eq!(keep(tree.host(), &site).unwrap(), Some(Change::Lifted));
        assert!(!is_due(tree.host(), &site).unwrap());
        assert_eq!(tree.programs.count("GRANT INSERT"), 1);
    }

    #[test]
    fn tables_are_written_anew_when_that_is_enough() {
        let tree = Tree::new();
        let site = site_with(&tree, &[MIB + 2]);
        tree.programs.say("data_free", "2\n");
        keep(tree.host(), &site).unwrap();
        assert_eq!(tree.programs.count("mariadb-check"), 0);
        tree.programs.say("data_free", "3\n");
        keep(tree.host(), &site).unwrap();
        assert_eq!(tree.programs.count("mariadb-check"), 1);
        // What is left is left in any table.
        keep(tree.host(), &site).unwrap();
        assert_eq!(tree.programs.count("mariadb-check"), 1);
        tree.programs.say("data_free", "6\n");
        keep(tree.host(), &site).unwrap();
        assert_eq!(tree.programs.count("mariadb-check"), 2);
    }

    #[test]
    fn a_cut_at_any_step_is_made_good_by_the_next_look() {
        for steps in 0.. {
            let tree = Tree::new();
            let site = site_with(&tree, &[2 * MIB]);
            tree.programs.say("data_free", "0\n");
            tree.cut_after(steps);
            let done = keep(tree.host(), &site).and_then(|_| told(tree.host(), &site)).is_ok();
            tree.cut_after(u64::MAX);
            let again = keep(tree.host(), &site).unwrap();
            assert!(!done || again.is_none(), "told twice: {again:?}");
            told(tree.host(), &site).unwrap();
            assert!(tree.programs.count("KILL") >= 1, "cut after {steps} steps");
            assert!(is_held(tree.host(), &site));
            tree.put("/var/lib/mysql/data/site002/t0.ibd", "");
            assert!(is_due(tree.host(), &site).unwrap());
            keep(tree.host(), &site).unwrap();
            assert_eq!(tree.programs.count("GRANT INSERT"), 1);
            if done {
                return;
            }
        }
    }

    #[test]
    fn a_site_without_a_limit_or_a_database_is_left_alone() {
        let tree = Tree::new();
        let sites = sites();
        tree.put("/var/lib/mysql/data/site002/t.ibd", "x");
        assert!(!is_due(tree.host(), sites.find("site002").unwrap()).unwrap());
        assert!(!is_due(tree.host(), sites.find("site003").unwrap()).unwrap());
    }
}

//! `casemate-agent site`: what an administrator does with one site.

use std::fs;
use std::io;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use anyhow::Result;
use hostconf::AdminUser;
use hostconf::CodeSource;
use serde::Serialize;
use tools::Failure;

use super::lock_sites;
use super::print;
use super::try_lock_site;
use crate::files::Access;
use crate::host::Host;
use crate::personalise;
use crate::sites::Site;
use crate::sites::Sites;
use crate::sites::clone;
use crate::sites::code;
use crate::sites::code::Action;
use crate::sites::code::Item;
use crate::sites::database;
use crate::sites::database_limit;
use crate::sites::login;
use crate::sites::pages;
use crate::sites::php;
use crate::sites::purge;
use crate::sites::snapshot;
use crate::sites::snapshot::SnapshotName;

/// Runs what `WordPress` has planned, and answers when it is done.
const CRON: &str = "/usr/share/casemate/wordpress/cron.php";

/// What is done.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show all sites with their ids
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a link that logs in to WordPress once, within ten minutes
    Login {
        /// Name, alias or id of the site
        site: String,
        /// Log in as this account instead of the one of host.toml
        #[arg(long)]
        user: Option<AdminUser>,
    },
    /// Export or import the database of a site
    Db {
        #[command(subcommand)]
        verb: DatabaseVerb,
    },
    /// Keep files and database as they are now
    Snapshot {
        /// Name, alias or id of the site
        site: String,
        /// What it is for: `a-z`, `0-9` and `-`
        #[arg(long)]
        label: Option<String>,
    },
    /// List the snapshots of a site, or remove one
    Snapshots {
        /// Name, alias or id of the site
        site: String,
        /// Remove this one
        #[arg(long, value_name = "SNAPSHOT")]
        remove: Option<SnapshotName>,
    },
    /// Put files and database back to a snapshot
    Restore {
        /// Name, alias or id of the site
        site: String,
        /// Which snapshot
        snapshot: SnapshotName,
    },
    /// Make one site a copy of another, e.g. for staging; what it was is kept as a snapshot
    Clone {
        /// The site to copy
        from: String,
        /// The site that becomes the copy
        to: String,
    },
    /// Update plugins and themes of a managed WordPress; undone by itself when the site does not answer afterwards
    Update {
        /// Name, alias or id of the site; without one: every managed site
        site: Option<String>,
        /// `plugin/NAME` or `theme/NAME`; without any: all that have a newer version
        items: Vec<Item>,
    },
    /// Install plugins and themes of wordpress.org into a managed WordPress
    Install {
        /// Name, alias or id of the site
        site: String,
        /// `plugin/NAME` or `theme/NAME`
        #[arg(required = true)]
        items: Vec<Item>,
    },
    /// Have every page of a WordPress made anew; needed after an owner has changed a theme or plugin by SFTP
    ForgetPages {
        /// Name, alias or id of the site
        site: String,
    },
    /// Delete everything of a site that has left host.toml: files, database, snapshots, keys
    Purge {
        /// Name or id of the site
        site: String,
        /// Say that nothing of it is wanted any more
        #[arg(long)]
        delete_everything: bool,
    },
    /// Let every WordPress do what it has planned; run by a timer
    #[command(hide = true)]
    Cron,
    /// Hold databases to the disk limits of their sites; run by a timer
    #[command(hide = true)]
    HoldDatabases,
    /// Do what sites have asked for in wp-admin; run when they do
    #[command(hide = true)]
    Requests,
    /// Let the PHP of a site run a program of the image; used by steps of setting up
    #[command(hide = true)]
    Php {
        /// Id of the site
        id: String,
        /// Name under which it is asked
        #[arg(long)]
        name: String,
        /// The program
        script: String,
    },
}

#[derive(Debug, clap::Subcommand)]
enum DatabaseVerb {
    /// Write the database as SQL to standard output
    Export {
        /// Name, alias or id of the site
        site: String,
    },
    /// Replace the database by SQL from standard input; what it was is kept as a snapshot
    Import {
        /// Name, alias or id of the site
        site: String,
    },
}

/// A line of the list.
#[derive(Debug, Serialize)]
struct Row<'a> {
    id: String,
    name: &'a str,
    kind: String,
    snapshots: usize,
    /// Whether its database has reached the limit.
    database_full: bool,
}

/// Does it.
pub(super) fn run(host: Host<'_>, arguments: Arguments) -> Result<ExitCode> {
    // While the host is set up, its document is not yet the accepted one and the lock is held.
    if let Verb::Php { id, name, script } = &arguments.verb {
        print(&php::run_and_rest(host, id, name, script, &[])?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (_, document, assignments) = personalise::accepted(host).map_err(|reasons| {
        Failure::refused(reasons.join("\n")).hint("`casemate-agent status` says what the host waits for")
    })?;
    let sites = Sites::of(&document, &assignments);
    match arguments.verb {
        Verb::List { json } => list(host, &sites, json)?,
        Verb::Login { site, user } => print(&format!("{}\n", login::link(host, sites.find(&site)?, user.as_ref())?))?,
        Verb::Cron => return cron(host, &sites),
        Verb::HoldDatabases => return hold_databases(host, &sites),
        Verb::Snapshots { site, remove: None } => {
            print(
                &snapshot::list(host, sites.find(&site)?)?
                    .iter()
                    .fold(String::new(), |text, name| format!("{text}{name}\n")),
            )?;
        }
        Verb::Update { site: None, .. } => {
            return for_each_managed(&sites, |site| {
                let _lock = lock_sites(host, &[site])?;
                code::change(host, site, Action::Update, &[]).map(Some)
            });
        }
        Verb::Requests => {
            return for_each_managed(&sites, |site| {
                let _lock = lock_sites(host, &[site])?;
                code::answer_request(host, site)
            });
        }
        changing => {
            let concerned = concerned(&sites, &changing)?;
            let _locks = lock_sites(host, &concerned)?;
            change(host, &sites, changing)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The sites that a verb changes or reads whole.
fn concerned<'s>(sites: &'s Sites, verb: &Verb) -> Result<Vec<&'s Site>> {
    let names = match verb {
        Verb::Db { verb: DatabaseVerb::Export { site } | DatabaseVerb::Import { site } }
        | Verb::Snapshot { site, .. }
        | Verb::Snapshots { site, .. }
        | Verb::Restore { site, .. }
        | Verb::Update { site: Some(site), .. }
        | Verb::Install { site, .. }
        | Verb::ForgetPages { site }
        | Verb::Purge { site, .. } => vec![site],
        Verb::Clone { from, to } => vec![from, to],
        // All others change nothing, or take their turns themselves.
        _ => Vec::new(),
    };
    names.into_iter().map(|name| sites.find(name)).collect()
}

fn change(host: Host<'_>, sites: &Sites, verb: Verb) -> Result<()> {
    match verb {
        Verb::Db { verb: DatabaseVerb::Export { site } } => export(host, with_database(sites.find(&site)?)?),
        Verb::Db { verb: DatabaseVerb::Import { site } } => import(host, with_database(sites.find(&site)?)?),
        Verb::Snapshot { site, label } => {
            print(&format!("{}\n", snapshot::take_for(host, sites.find(&site)?.present()?, label.as_deref())?))
        }
        Verb::Snapshots { site, remove } => {
            remove.map_or(Ok(()), |name| snapshot::remove(host, sites.find(&site)?, &name))
        }
        Verb::Restore { site, snapshot } => {
            let site = sites.find(&site)?.present()?;
            let before = snapshot::go_back(host, site, &snapshot)?;
            print(&format!("{} is as it was in {snapshot}; what it was before is kept as {before}\n", site.name))
        }
        Verb::Clone { from, to } => {
            let (from, to) = (sites.find(&from)?, sites.find(&to)?);
            let done = clone::clone(host, from, to)?;
            let addresses = if done.changed == 0 {
                String::new()
            } else {
                format!(", {} values with addresses changed", done.changed)
            };
            print(&format!(
                "{} is a copy of {}{addresses}; what it was before is kept as {}\n",
                to.name, from.name, done.before
            ))
        }
        Verb::Update { site: Some(site), items } => {
            print(&format!("{}\n", code::change(host, sites.find(&site)?, Action::Update, &items)?))
        }
        Verb::Install { site, items } => {
            print(&format!("{}\n", code::change(host, sites.find(&site)?, Action::Install, &items)?))
        }
        Verb::ForgetPages { site } => {
            let site = sites.find(&site)?.present()?;
            site.wordpress()?;
            pages::forget(host, site);
            Ok(())
        }
        Verb::Purge { site, delete_everything } => purge_when_sure(host, sites.find(&site)?, delete_everything),
        // All others change nothing and are done by the caller.
        _ => Ok(()),
    }
}

fn list(host: Host<'_>, sites: &Sites, json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for site in sites.iter() {
        let kind = site.kind().map_or_else(|| "not in host.toml".to_owned(), |kind| kind.to_string());
        let snapshots = snapshot::list(host, site)?.len();
        let database_full = database_limit::is_held(host, site);
        rows.push(Row { id: site.account.id(), name: site.name.as_str(), kind, snapshots, database_full });
    }
    if json {
        return print(&(serde_json::to_string_pretty(&rows)? + "\n"));
    }
    let line = |row: &Row<'_>| {
        let full = if row.database_full { "  (database full)" } else { "" };
        format!("{}  {:<10} {:>3} snapshots  {}{full}\n", row.id, row.kind, row.snapshots, row.name)
    };
    print(&rows.iter().map(line).collect::<String>())
}

fn with_database(site: &Site) -> Result<&Site> {
    if site.present()?.runs_php() {
        return Ok(site);
    }
    Err(Failure::refused(format!("`{}` has no database", site.name))
        .hint("sites of kind `static` are files only")
        .into())
}

/// A file between the database and standard input or output: a pipe that breaks must not leave half of anything.
fn between(host: Host<'_>, site: &Site) -> Result<PathBuf> {
    host.files.ensure_directory(&host.paths.snapshots(), Access::SECRET_DIRECTORY)?;
    Ok(host.paths.snapshots().join(format!("{}.sql", site.account.id())))
}

fn export(host: Host<'_>, site: &Site) -> Result<()> {
    let file = between(host, site)?;
    database::export(host, site, &file)?;
    let mut from = fs::File::open(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let copied = io::copy(&mut from, &mut io::stdout()).context("cannot write to standard output");
    host.files.remove(&file)?;
    copied.map(drop)
}

fn import(host: Host<'_>, site: &Site) -> Result<()> {
    if io::stdin().is_terminal() {
        return Err(Failure::refused("the SQL comes from standard input, which is a terminal")
            .hint("`casemate-agent site db import SITE < dump.sql`")
            .into());
    }
    let file = between(host, site)?;
    let mut to = fs::File::create(&file).with_context(|| format!("cannot write `{}`", file.display()))?;
    host.files.set_access(&file, Access::SECRET)?;
    io::copy(&mut io::stdin(), &mut to).context("cannot read standard input")?;
    let before = snapshot::take_before(host, site, "import")?;
    let done = php::stopped(host, site, || {
        database::replace(host, site, &file)?;
        pages::forget(host, site);
        Ok(())
    });
    host.files.remove(&file)?;
    done.with_context(|| {
        format!("the import failed; `casemate-agent site restore {} {before}` puts the site back", site.name)
    })?;
    print(&format!("imported; what the site was before is kept as {before}\n"))
}

fn purge_when_sure(host: Host<'_>, site: &Site, delete_everything: bool) -> Result<()> {
    if site.settings.is_some() {
        return Err(Failure::refused(format!("`{}` is in host.toml", site.name))
            .hint("take it out of the document first, apply it and look that nobody misses it")
            .into());
    }
    if !delete_everything {
        return Err(Failure::refused(format!(
            "this deletes all files, snapshots and the database of `{}` for good",
            site.name
        ))
        .hint("say so with `--delete-everything`")
        .into());
    }
    purge::purge(host, site)?;
    let id = site.account.id();
    print(&format!("nothing of {} is left; its number {id} is not given to another site\n", site.name))
}

fn cron(host: Host<'_>, sites: &Sites) -> Result<ExitCode> {
    for_each(sites.iter().filter(|site| site.wordpress().is_ok()), |site| {
        // While files and database are exchanged, nobody else may start the site's PHP.
        let _lock = lock_sites(host, &[site])?;
        let uri = [("REQUEST_URI", "/wp-cron.php")];
        php::run_and_rest(host, &site.account.id(), site.name.as_str(), CRON, &uri).map(|_| None)
    })
}

fn hold_databases(host: Host<'_>, sites: &Sites) -> Result<ExitCode> {
    for_each(sites.iter().filter(|site| site.runs_php()), |site| {
        if !database_limit::is_due(host, site)? {
            return Ok(None);
        }
        // Whoever works on the site now may be replacing its database; the next turn comes soon.
        let Some(_locks) = try_lock_site(host, site)? else { return Ok(None) };
        let Some(change) = database_limit::keep(host, site)? else { return Ok(None) };
        print(&format!("{}: {change}\n", site.name))?;
        database_limit::told(host, site)?;
        Ok(None)
    })
}

fn for_each_managed(sites: &Sites, work: impl Fn(&Site) -> Result<Option<String>>) -> Result<ExitCode> {
    let managed = |site: &&Site| site.wordpress().is_ok_and(|settings| settings.code == CodeSource::Managed);
    for_each(sites.iter().filter(managed), work)
}

/// One site's failure keeps no other from its turn.
fn for_each<'s>(
    sites: impl Iterator<Item = &'s Site>,
    work: impl Fn(&Site) -> Result<Option<String>>,
) -> Result<ExitCode> {
    let mut failed = false;
    for site in sites {
        match work(site) {
            Ok(None) => {}
            Ok(Some(said)) => print(&format!("{}: {said}\n", site.name))?,
            Err(error) => {
                failed = true;
                print(&format!("{}: failed: {error:#}\n", site.name))?;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

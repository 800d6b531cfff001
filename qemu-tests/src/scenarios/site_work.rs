//! What owners and administrators do with sites: log in by a link, bring files by SFTP, go back to a snapshot, make a staging site,
//! move paths, show a site before its name leads here, and take one away.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use serde::Deserialize;
use tools::{ResultExt as _, Tool};
use vm::Container;
use vm::guest::{Answer, Client};

use crate::artifacts::Artifacts;
use crate::container_host::{ContainerHost, NEIGHBOUR};
use crate::host::PATIENCE;
use crate::neighbour::Neighbour;
use crate::operator::{Facts, Operator};

const TITLE: &str = "Looked after";
const SITE: &str = "www.example.org";
const STAGING: &str = "staging.example.org";
const FILES: &str = "files.example.net";
const PREVIEW: &str = "www-example-org.hosts.example.com";
const MACHINE_ID: &str = "10de10de10de10de10de10de10de10de";
const SFTP: u16 = 2222;
const PROBE: &str = include_str!("probe.php");
const ADMIN_PAGE: &str = "<title>Dashboard";

/// Two domains with three sites; the first is the operator's own.
const FURTHER: &str = r#"preview = "www-example-org.hosts.example.com"
ssh_keys = ["OWNER"]
redirect = [{ from = "/old", to = "/?moved=1" }, { from = "/elsewhere", to = "https://example.com/new" }]

[[domain.site]]
name = "staging.example.org"
kind = "wordpress"
title = "Staging"
admin_user = "stager"
admin_email = "stager@example.org"

[[domain]]
name = "example.net"
[[domain.site]]
name = "files.example.net"
kind = "static"
ssh_keys = ["OTHER"]
"#;

/// What the probe finds.
#[derive(Debug, Deserialize)]
struct Found {
    plain: Option<String>,
    nested: Option<String>,
    json: Option<String>,
    other: Option<String>,
    cleared: bool,
    content: Option<String>,
    writes: bool,
}

struct Visitor<'a> {
    container: &'a Container,
    client: &'a Client,
}

pub(crate) fn is_done(artifacts: &Artifacts) -> Result<()> {
    let dir = artifacts.scratch("site-work")?;
    let [operator, owner, other] = ["operator", "owner", "other"].map(|name| Operator::new(artifacts, &dir, name));
    let (operator, owner, other) = (operator?, owner?, other?);
    let document = |serial, sites: &str| -> Result<String> {
        let facts = Facts { hostname: "sites.example.org", serial, wordpress: Some(TITLE) };
        let further = sites.replace("OWNER", &owner.key.public).replace("OTHER", &other.key.public);
        Ok(fs::read_to_string(operator.document(&dir, &facts)?)? + &further)
    };
    let mut host = ContainerHost::new(artifacts, &dir, &document(1, FURTHER)?, MACHINE_ID)?;
    // Somebody who answers: WordPress asks for news and versions, and waits where nobody does.
    let _neighbour = Neighbour::start(&host.neighbour, NEIGHBOUR)?;
    let client = host.client();

    let (mut container, _, _) = host.boot()?;
    let visitor = Visitor { container: &container, client: &client };
    visitor.list(&[("site001", "wordpress", SITE), ("site002", "wordpress", STAGING), ("site003", "static", FILES)])?;
    visitor.log_in_by_link()?;
    visitor.bring_files(&owner, &other, &dir)?;
    visitor.planned_work()?;
    visitor.database_out_and_in(&dir)?;
    visitor.snapshots(&owner)?;
    visitor.strangers(&owner, &other)?;
    visitor.clone()?;
    visitor.names_and_paths()?;
    let before = visitor.configuration()?;
    ensure!(container.power_off(PATIENCE)? == 0, "the container does not end in good order");
    drop(container);

    let (mut container, _, _) = host.boot()?;
    let visitor = Visitor { container: &container, client: &client };
    let again = visitor.configuration()?;
    ensure!(before == again, "the same document made another host:\n{before}\nand then\n{again}");
    ensure!(visitor.probe(SITE, "")?.plain.is_some(), "the site has lost its data");
    ensure!(container.power_off(PATIENCE)? == 0, "the container does not end in good order");
    drop(container);

    let (only, _) = FURTHER.split_once("\n[[domain.site]]").context("the document has one site")?;
    host.set_document(&document(2, only)?);
    let (container, _, _) = host.boot()?;
    Visitor { container: &container, client: &client }.sites_that_left()
}

impl Visitor<'_> {
    /// A command of the administrator, as root.
    fn run(&self, words: &str) -> Result<String> {
        self.shell(&format!("casemate-agent {words}"))
    }

    fn shell(&self, script: &str) -> Result<String> {
        Ok(self.container.exec(&Tool::new("sh").args(["-c", script])).remedied()?.stdout_text())
    }

    /// A command that must be refused; returns what it says.
    fn refused(&self, words: &str) -> Result<String> {
        let tool = Tool::new("sh").args(["-c", &format!("casemate-agent {words} 2>&1")]).accept(&[1]);
        Ok(self.container.exec(&tool).remedied()?.stdout_text())
    }

    fn list(&self, wanted: &[(&str, &str, &str)]) -> Result<()> {
        let shown = self.run("site list")?;
        let words: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        ensure!(words.len() == wanted.len(), "the list of sites is {shown}");
        for ((id, kind, name), line) in wanted.iter().zip(&words) {
            ensure!(
                line.first() == Some(id) && line.get(1) == Some(kind) && line.last() == Some(name),
                "not {id}: {shown}"
            );
        }
        Ok(())
    }

    fn page(&self, name: &str, path: &str, further: &[&str]) -> Result<Answer> {
        self.client.https_with(name, path, further)
    }

    fn log_in_by_link(&self) -> Result<()> {
        let link = self.run(&format!("site login {SITE}"))?;
        let path = link.trim().strip_prefix(&format!("https://{SITE}")).context("the link leads elsewhere")?;
        let (_, token) = path.split_once('=').context("the link has no token")?;
        for _ in 0..2 {
            let look = self.page(SITE, path, &[])?;
            ensure!(
                look.status == 200 && look.body.contains("Log in as editor"),
                "the link shows {}{}",
                look.head,
                look.body
            );
            ensure!(!look.head.contains("wordpress_logged_in"), "a look at the link logs in: {}", look.head);
        }
        let form = format!("casemate-login={token}");
        let used = self.page(SITE, "/", &["--data", &form])?;
        let cookies: Vec<&str> =
            used.head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: ")?.split(';').next()).collect();
        ensure!(
            used.status == 302 && cookies.iter().any(|cookie| cookie.starts_with("wordpress_logged_in")),
            "no login: {}",
            used.head
        );
        let admin = self.page(SITE, "/wp-admin/", &["--cookie", &cookies.join("; ")])?;
        ensure!(admin.status == 200 && admin.body.contains(ADMIN_PAGE), "logged in, wp-admin answers {}", admin.head);
        ensure!(self.page(SITE, "/wp-admin/", &[])?.status == 302, "wp-admin is open to everybody");
        ensure!(self.page(SITE, "/", &["--data", &form])?.status == 403, "the link works twice");
        self.forged_links(token)?;
        self.failed_login()
    }

    /// Another account, a later end, the other site: none of it is signed.
    fn forged_links(&self, token: &str) -> Result<()> {
        let [user, until, number, signature] =
            token.split('.').collect::<Vec<_>>().try_into().ok().context("not four parts")?;
        let later = until.parse::<u64>()? + 1000;
        for forged in [
            format!("{user}.{later}.{number}.{signature}"),
            format!("{user}.{until}.{}.{signature}", "0".repeat(64)),
            format!("{user}.{until}.{number}."),
            "x".to_owned(),
        ] {
            let answer = self.page(SITE, "/", &["--data", &format!("casemate-login={forged}")])?;
            ensure!(answer.status == 403, "the forged link {forged} answers {}", answer.head);
        }
        let of_staging = self.run(&format!("site login {STAGING} --user editor"))?;
        let (_, foreign) = of_staging.trim().split_once('=').context("no token")?;
        let answer = self.page(SITE, "/", &["--data", &format!("casemate-login={foreign}")])?;
        ensure!(answer.status == 403, "a link of another site answers {}", answer.head);
        ensure!(self.refused(&format!("site login {FILES}"))?.contains("no WordPress"), "a static site has a login");
        Ok(())
    }

    /// Whoever tries passwords leaves a line with an address, and cannot write lines of their own.
    fn failed_login(&self) -> Result<()> {
        let form =
            ["--data-urlencode", "log=editor\nwordpress: login failed from 192.0.2.9 for \"x\"", "--data", "pwd=wrong"];
        let answer = self.page(SITE, "/wp-login.php", &form)?;
        ensure!(
            answer.status == 200 && answer.body.contains("login_error"),
            "a wrong password answers {}",
            answer.head
        );
        for _ in 0..20 {
            let journal = self.shell("journalctl --boot --no-pager --output=cat --identifier=php-site001")?;
            if journal.contains("wordpress: login failed from 10.0.2.2 for \"editor") {
                ensure!(
                    !journal.lines().any(|line| line.contains("failed from 192.0.2.9") && !line.contains("10.0.2.2")),
                    "a forged line: {journal}"
                );
                ensure!(
                    journal.contains("wordpress: login by link from 10.0.2.2 for \"editor\""),
                    "no line of the login by link"
                );
                return Ok(());
            }
            thread::sleep(Duration::from_millis(250));
        }
        anyhow::bail!("the failed login has left no line")
    }

    /// The owner reaches the files of the own site and nothing else.
    fn bring_files(&self, owner: &Operator, other: &Operator, dir: &std::path::Path) -> Result<()> {
        fs::write(dir.join("probe.php"), PROBE)?;
        fs::write(dir.join("index.html"), "files of somebody else\n")?;
        let batch = "cd wp-content/plugins\nmkdir probe\nput probe.php probe/probe.php\nls -l probe\n";
        let put = self.client.sftp(&owner.key, "site001", SFTP, batch)?;
        ensure!(put.status == 0, "the owner's files are refused: {put:?}");
        ensure!(self.probe(SITE, "?do=keep")?.writes, "uploads cannot be written");
        let put = self.client.sftp(&other.key, "site003", SFTP, "put index.html\n")?;
        ensure!(put.status == 0, "the owner of the static site is refused: {put:?}");
        let page = self.page(FILES, "/index.html", &[])?;
        ensure!(page.status == 200 && page.body.contains("somebody else"), "the static page answers {}", page.head);
        // Its root is the site's directory: there is no host above it, and no rights outside of `htdocs`.
        for forbidden in [
            "ls /etc",
            "get /etc/passwd",
            "ls /tmp",
            "put index.html /index.html",
            "put index.html /tmp/x",
            "ls /../site002",
            "rm /htdocs/wp-content",
        ] {
            let output = self.client.sftp(&owner.key, "site001", SFTP, &format!("{forbidden}\n"))?;
            ensure!(output.status == 1, "`{forbidden}` is not refused: {output:?}");
        }
        Ok(())
    }

    fn probe(&self, site: &str, query: &str) -> Result<Found> {
        let answer = self.page(site, &format!("/wp-content/plugins/probe/probe.php{query}"), &[])?;
        ensure!(answer.status == 200, "the probe of {site} answers {}{}", answer.head, answer.body);
        serde_json::from_str(&answer.body).with_context(|| format!("the probe says {}", answer.body))
    }

    /// What is planned is done by the host's timer, and no visitor waits for it.
    fn planned_work(&self) -> Result<()> {
        ensure!(self.page(SITE, "/", &[])?.status == 200, "the front page is away");
        ensure!(!self.probe(SITE, "")?.cleared, "a visitor did the planned work");
        let timer = self.shell("systemctl is-active casemate-wordpress-cron.timer")?;
        ensure!(timer.trim() == "active", "the timer is {timer}");
        self.shell("systemctl start casemate-wordpress-cron.service")?;
        for _ in 0..20 {
            if self.probe(SITE, "")?.cleared {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(250));
        }
        anyhow::bail!("the planned work is not done: {:?}", self.probe(SITE, "")?)
    }

    fn title(&self, site: &str) -> Result<String> {
        let front = self.page(site, "/", &[])?;
        ensure!(front.status == 200, "the front page of {site} answers {}", front.head);
        let title = front.body.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        Ok(title.context("the front page has no title")?.0.to_owned())
    }

    fn database_out_and_in(&self, dir: &std::path::Path) -> Result<()> {
        let dump = self.run(&format!("site db export {SITE}"))?;
        ensure!(
            dump.contains(TITLE) && dump.contains("CREATE TABLE"),
            "the export holds no site: {} bytes",
            dump.len()
        );
        ensure!(!dump.contains("CREATE DATABASE") && !dump.contains("USE `"), "the export names its database");
        fs::write(dir.join("var/lib/casemate/dump.sql"), dump.replace(TITLE, "Imported title"))?;
        self.run(&format!("site db import {SITE} < /var/lib/casemate/dump.sql"))?;
        ensure!(self.title(SITE)?.contains("Imported title"), "the import changed nothing");
        // A dump of somebody who wants more than the own database.
        fs::write(
            dir.join("var/lib/casemate/dump.sql"),
            "UPDATE site002.wp_options SET option_value = 'x' WHERE option_name = 'blogname';\n",
        )?;
        let said = self.container.exec(
            &Tool::new("sh")
                .args(["-c", &format!("casemate-agent site db import {SITE} 2>&1 < /var/lib/casemate/dump.sql")])
                .accept(&[1, 2]),
        );
        let said = said.remedied()?.stdout_text();
        ensure!(said.contains("denied") && said.contains("site restore"), "the hostile dump says {said}");
        ensure!(self.title(STAGING)?.contains("Staging"), "the hostile dump reached the other site");
        let kept = self.run(&format!("site snapshots {SITE}"))?;
        let first = kept.lines().next().context("no snapshot was taken before the import")?;
        self.run(&format!("site restore {SITE} {first}"))?;
        ensure!(self.title(SITE)?.contains(TITLE), "the snapshot from before the import has another title");
        ensure!(
            self.refused(&format!("site db export {FILES}"))?.contains("no database"),
            "a static site has a database"
        );
        Ok(())
    }

    /// Files go back with the database; owners and modes stay what they were.
    fn snapshots(&self, owner: &Operator) -> Result<()> {
        let listing = "cd /var/lib/casemate/sites/site001/htdocs && find . -printf '%p %u %g %m\\n' | LC_ALL=C sort";
        let before = self.shell(listing)?;
        let name = self.run(&format!("site snapshot {SITE} --label by-hand"))?;
        let gone = self.client.sftp(
            &owner.key,
            "site001",
            SFTP,
            "rm wp-content/plugins/probe/probe.php\nrmdir wp-content/plugins/probe\n",
        )?;
        ensure!(gone.status == 0, "the owner cannot remove files: {gone:?}");
        ensure!(self.page(SITE, "/wp-content/plugins/probe/probe.php", &[])?.status == 404, "the removed file answers");
        self.run(&format!("site restore {SITE} {name}"))?;
        ensure!(
            self.shell(listing)? == before,
            "the restored files differ:\n{before}\nand now\n{}",
            self.shell(listing)?
        );
        ensure!(self.probe(SITE, "")?.writes, "the restored site cannot write");
        ensure!(
            self.refused(&format!("site restore {SITE} 20000101T000000Z"))?.contains("has no snapshot"),
            "another snapshot was restored"
        );
        self.run(&format!("site snapshots {SITE} --remove {name}"))?;
        ensure!(!self.run(&format!("site snapshots {SITE}"))?.contains("by-hand"), "the removed snapshot is listed");
        Ok(())
    }

    /// Nobody comes in as another. After some tries sshd hangs up at once, for a while.
    fn strangers(&self, owner: &Operator, other: &Operator) -> Result<()> {
        let mut denied = 0;
        for (key, user) in [
            (owner, "site002"),
            (other, "site001"),
            (owner, "site001-php"),
            (owner, "site003"),
            (owner, "admin"),
            (owner, "root"),
        ] {
            let output = self.client.sftp(&key.key, user, SFTP, "ls\n")?;
            ensure!(output.status == 255, "{user} comes in: {output:?}");
            denied += usize::from(output.stderr_text().contains("Permission denied"));
        }
        ensure!(denied >= 2, "sftp was refused, but not by its rules");
        let shell = self.client.ssh(&owner.key, "site001", "id")?;
        ensure!(shell.status == 255, "the owner has a shell of the administrators' server: {shell:?}");
        Ok(())
    }

    /// The copy is a site of its own: its addresses, its owner, its database; the first is as it was.
    fn clone(&self) -> Result<()> {
        let said = self.run(&format!("site clone {SITE} {STAGING}"))?;
        ensure!(said.contains("is a copy of"), "the clone says {said}");
        let copy = self.probe(STAGING, "")?;
        let new = "https://staging.example.org";
        ensure!(copy.plain.as_deref() == Some(&format!("{new}/a")), "a plain address is {copy:?}");
        ensure!(copy.nested == copy.plain && copy.content == copy.plain, "a nested address is {copy:?}");
        ensure!(
            copy.json.as_deref().is_some_and(|json| json.contains("\\/\\/staging.example.org\\/b")),
            "an address in JSON is {copy:?}"
        );
        ensure!(copy.other == self.probe(SITE, "")?.other, "an address of somebody else was changed: {copy:?}");
        ensure!(copy.writes, "the copy cannot write its uploads");
        let front = self.page(STAGING, "/", &[])?;
        ensure!(front.body.contains(TITLE), "the copy has another title: {}", front.head);
        ensure!(!front.body.contains("//www.example.org/"), "the copy leads to the first site: {}", front.body);
        let first = self.probe(SITE, "")?;
        ensure!(first.plain.as_deref() == Some("https://www.example.org/a"), "the first site has changed: {first:?}");
        let foreign = "cd /var/lib/casemate/sites/site002 && find . \\( -user site001 -o -group site001 -o -user site001-php -o -group site001-php \\)";
        ensure!(
            self.shell(foreign)?.is_empty(),
            "files of the copy belong to the first site: {}",
            self.shell(foreign)?
        );
        ensure!(
            self.refused(&format!("site clone {SITE} {FILES}"))?.contains("kind"),
            "a site was cloned to another kind"
        );
        Ok(())
    }

    fn names_and_paths(&self) -> Result<()> {
        for (path, to) in [
            ("/old", &format!("https://{SITE}/?moved=1")[..]),
            ("/old/deeper", &format!("https://{SITE}/?moved=1/deeper")[..]),
            ("/elsewhere", "https://example.com/new"),
        ] {
            let answer = self.page(SITE, path, &[])?;
            ensure!(
                answer.status == 301 && answer.head.contains(&format!("Location: {to}\r")),
                "`{path}` answers {}",
                answer.head
            );
        }
        let preview = self.page(PREVIEW, "/", &[])?;
        ensure!(preview.status == 200 && preview.body.contains(TITLE), "the preview answers {}", preview.head);
        ensure!(preview.head.contains("X-Robots-Tag: noindex"), "the preview may be indexed: {}", preview.head);
        ensure!(
            !preview.body.contains("=\"https://www.example.org/"),
            "the preview leads to the name that is not here yet"
        );
        ensure!(!self.page(SITE, "/", &[])?.head.contains("X-Robots-Tag"), "the site itself may not be indexed");
        Ok(())
    }

    /// All that is rendered, and who may do what with what is kept.
    fn configuration(&self) -> Result<String> {
        self.run("render --check")?;
        self.shell(
            "cd /run/casemate/etc && find . -type f -exec sha256sum {} + | LC_ALL=C sort && \
             find /var/lib/casemate/sites /var/lib/casemate/keys -printf '%p %u %g %m\\n' | LC_ALL=C sort",
        )
    }

    /// What leaves the document is served no more; its data stays until it is told otherwise.
    fn sites_that_left(&self) -> Result<()> {
        self.list(&[("site001", "wordpress", SITE), ("site003", "not", FILES), ("site002", "not", STAGING)])?;
        ensure!(self.page(SITE, "/", &[])?.status == 200, "the site that stayed is away");
        for gone in [STAGING, FILES] {
            ensure!(self.page(gone, "/", &[])?.status == 421, "{gone} is still served");
        }
        let units = self.shell(
            "systemctl list-units --all --plain --no-legend 'casemate-php-fpm@site002*' | grep -w active || true",
        )?;
        ensure!(units.is_empty(), "PHP of the site that left runs: {units}");
        ensure!(
            self.refused(&format!("site purge {SITE} --delete-everything"))?.contains("is in host.toml"),
            "a site in use was deleted"
        );
        ensure!(
            self.refused(&format!("site purge {STAGING}"))?.contains("--delete-everything"),
            "nothing was asked before"
        );
        let data = "ls -d /var/lib/casemate/sites/site002/htdocs /var/lib/casemate/snapshots/site002 /var/lib/mysql/data/site002";
        self.shell(data).context("the data of the site that left is not there")?;
        self.run(&format!("site purge {STAGING} --delete-everything"))?;
        let left = self.shell(
            "find /var/lib/casemate /var/lib/mysql -path '*site002*' ; mariadb --no-defaults --socket=/run/mysqld/mysqld.sock --batch \
             --execute=\"SELECT user FROM mysql.global_priv WHERE user LIKE 'site002%'\"",
        )?;
        ensure!(left.is_empty(), "after the purge there is still {left}");
        self.shell("ls -d /var/lib/casemate/sites/site003/htdocs").map(drop)
    }
}

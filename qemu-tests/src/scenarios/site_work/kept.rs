//! Databases out and in, snapshots and copies.

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::{ResultExt as _, Tool};

use super::{FILES, SFTP, SITE, STAGING, TITLE, Visitor};
use crate::operator::Operator;

impl Visitor<'_> {
    pub(super) fn database_out_and_in(&self, dir: &std::path::Path) -> Result<()> {
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
        // A command of the client, which would run as the site's user, but outside of its jail.
        fs::write(dir.join("var/lib/casemate/dump.sql"), "\\! touch /tmp/escaped\nSELECT 1;\n")?;
        let import = format!("casemate-agent site db import {SITE} < /var/lib/casemate/dump.sql");
        self.container.exec(&Tool::new("sh").args(["-c", &import]).accept(&[0, 1, 2])).remedied()?;
        ensure!(self.shell("ls /tmp")?.lines().all(|name| name != "escaped"), "a dump ran a program of the host");
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
    pub(super) fn snapshots(&self, owner: &Operator) -> Result<()> {
        let listing = "cd /var/lib/casemate/sites/site001/htdocs && find . -printf '%p %u %g %m\\n' | LC_ALL=C sort";
        let before = self.shell(listing)?;
        let name = self.run(&format!("site snapshot {SITE} --label before-by-hand"))?;
        let agents = self.refused(&format!("site snapshot {SITE} --label auto-x"))?;
        ensure!(agents.contains("auto-"), "a person's snapshot is called as the agent's: {agents}");
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
        ensure!(
            !self.run(&format!("site snapshots {SITE}"))?.contains("before-by-hand"),
            "the removed snapshot is listed"
        );
        Ok(())
    }

    /// The copy is a site of its own: its addresses, its owner, its database; the first is as it was.
    pub(super) fn clone(&self) -> Result<()> {
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
}

//! Planned work, moved paths, names, and sites that leave the document.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{FILES, PREVIEW, SITE, STAGING, TITLE, Visitor};

impl Visitor<'_> {
    /// What is planned is done by the host's timer, and no visitor waits for it.
    pub(super) fn planned_work(&self) -> Result<()> {
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

    pub(super) fn names_and_paths(&self) -> Result<()> {
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
            !preview.body.contains("=\"https://staging.example.org/"),
            "the preview leads to the name that is not here yet"
        );
        ensure!(!self.page(SITE, "/", &[])?.head.contains("X-Robots-Tag"), "the site itself may not be indexed");
        Ok(())
    }

    /// All that is rendered, and who may do what with what is kept.
    pub(super) fn configuration(&self) -> Result<String> {
        self.run("render --check")?;
        self.shell(
            "cd /run/casemate/etc && find . -type f -exec sha256sum {} + | LC_ALL=C sort && \
             find /var/lib/casemate/sites /var/lib/casemate/keys -not -path '*/pages/*' -printf '%p %u %g %m\\n' | LC_ALL=C sort",
        )
    }

    /// What leaves the document is served no more; its data stays until it is told otherwise.
    pub(super) fn sites_that_left(&self) -> Result<()> {
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

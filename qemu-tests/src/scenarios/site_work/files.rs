//! What owners bring by SFTP, and what they cannot reach.

use anyhow::{Result, ensure};
use fs_err as fs;

use super::{FILES, PROBE, SFTP, SITE, Visitor};
use crate::operator::Operator;

impl Visitor<'_> {
    /// The owner reaches the files of the own site and nothing else.
    pub(super) fn bring_files(&self, owner: &Operator, other: &Operator, dir: &std::path::Path) -> Result<()> {
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
            // What root looks for by its name must not become a link.
            "rename wp-content/uploads wp-content/old",
            "symlink /var/lib/casemate/home/admin wp-content/link",
            "rm /htdocs/wp-content",
        ] {
            let output = self.client.sftp(&owner.key, "site001", SFTP, &format!("{forbidden}\n"))?;
            ensure!(output.status == 1, "`{forbidden}` is not refused: {output:?}");
        }
        Ok(())
    }

    /// Nobody comes in as another. After some tries sshd hangs up at once, for a while.
    pub(super) fn strangers(&self, owner: &Operator, other: &Operator) -> Result<()> {
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
}

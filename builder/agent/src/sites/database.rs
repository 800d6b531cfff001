//! The database of a site: written to a file, replaced by a file.
//!
//! A file that comes from outside is run with the site's own rights: what it says reaches no other database.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use tools::ResultExt as _;
use tools::Tool;

use super::Site;
use super::database_limit;
use crate::accounts::Owner;
use crate::files::Access;
use crate::host::Host;
use crate::setup::as_user;

const SOCKET: &str = "--socket=/run/mysqld/mysqld.sock";
/// For gigabytes on a slow disk.
const COMPACTING: Duration = Duration::from_secs(1800);
/// As `casemate.sql.j2` makes databases.
const CHARACTERS: &str = "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci";

/// Writes all tables as SQL, as they are at one moment. The file appears complete or not at all.
pub fn export(host: Host<'_>, site: &Site, to: &Path) -> Result<()> {
    let (id, new) = (site.account.id(), to.with_extension("sql.new"));
    // One that was being replaced when the agent was cut off may be gone.
    execute(host, &format!("CREATE DATABASE IF NOT EXISTS `{id}` {CHARACTERS}"))?;
    host.files.remove(&new)?;
    // Times, definers and table spaces are this server's own affair; users of sites have no triggers or routines.
    let tool = Tool::new("mariadb-dump")
        .args(["--no-defaults", SOCKET, "--single-transaction", "--quick", "--hex-blob", "--skip-triggers"])
        .args(["--no-tablespaces", "--skip-dump-date", "--default-character-set=utf8mb4"])
        .arg(format!("--result-file={}", new.display()))
        .args(["--", &id]);
    host.runner.run(&tool).remedied()?;
    Ok(host.files.publish(&new, to, Access::SECRET)?)
}

/// Bytes in the files of its tables that hold nothing.
pub fn free_bytes(host: Host<'_>, site: &Site) -> Result<u64> {
    let id = site.account.id();
    let question =
        format!("SELECT COALESCE(SUM(data_free), 0) FROM information_schema.tables WHERE table_schema = '{id}'");
    let tool = client(Owner::ROOT).args(["--skip-column-names", &format!("--execute={question}")]);
    let said = host.runner.run(&tool).remedied()?.stdout_text();
    said.trim().parse().with_context(|| format!("the database answers `{said}`"))
}

/// Writes all tables anew, without room for rows that are gone.
pub fn compact(host: Host<'_>, site: &Site) -> Result<()> {
    let tool = Tool::new("mariadb-check").args(["--no-defaults", SOCKET, "--silent", "--optimize", "--"]);
    host.runner.run(&tool.arg(site.account.id()).timeout(COMPACTING)).remedied()?;
    Ok(())
}

/// Empties the database and runs the SQL of a file as the site's PHP user.
pub fn replace(host: Host<'_>, site: &Site, from: &Path) -> Result<()> {
    // What is put back is the administrator's wish; whether it is too large is looked at afterwards.
    database_limit::lift(host, site)?;
    let id = site.account.id();
    execute(host, &format!("DROP DATABASE IF EXISTS `{id}`; CREATE DATABASE `{id}` {CHARACTERS}"))?;
    host.runner.run(&client(site.php()).args(["--", &id]).stdin_file(from)).remedied()?;
    Ok(())
}

/// Deletes the database and the site's accounts of the server.
pub fn delete(host: Host<'_>, site: &Site) -> Result<()> {
    let (id, php) = (site.account.id(), site.account.php_user());
    execute(host, &format!("DROP DATABASE IF EXISTS `{id}`; DROP USER IF EXISTS `{php}`@localhost, `{id}`@localhost"))
}

/// Runs statements as root.
pub(super) fn execute(host: Host<'_>, statements: &str) -> Result<()> {
    let tool = client(Owner::ROOT).arg(format!("--execute={statements}"));
    host.runner.run(&tool).remedied()?;
    Ok(())
}

/// The server asks the kernel who is calling. `--sandbox`: the client's own commands, which run programs and read files, are not for dumps.
fn client(user: Owner) -> Tool {
    as_user(
        &Tool::new("mariadb").args([
            "--no-defaults",
            SOCKET,
            "--batch",
            "--sandbox",
            "--local-infile=0",
            "--default-character-set=utf8mb4",
        ]),
        user,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::tests::sites;
    use crate::testing::Tree;

    #[test]
    fn a_file_from_outside_is_run_with_the_sites_own_rights() {
        let (tree, sites) = (Tree::new(), sites());
        replace(tree.host(), sites.find("site002").unwrap(), Path::new("/dev/null")).unwrap();
        let commands = tree.programs.commands();
        assert!(commands[0].starts_with("mariadb ") && commands[0].contains("DROP DATABASE IF EXISTS `site002`"));
        assert!(commands[1].starts_with("setpriv --reuid=20003 --regid=20003 "), "{commands:?}");
        assert!(commands[1].ends_with("-- site002"), "{commands:?}");
    }
}

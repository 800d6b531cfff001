//! The database of a site: written to a file, replaced by a file.
//!
//! A file that comes from outside is run with the site's own rights: what it says reaches no other database.

use std::path::Path;

use anyhow::Result;
use tools::ResultExt as _;
use tools::Tool;

use super::Site;
use crate::accounts::Owner;
use crate::files::Access;
use crate::host::Host;
use crate::setup::as_user;

const SOCKET: &str = "--socket=/run/mysqld/mysqld.sock";
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

/// Empties the database and runs the SQL of a file as the site's PHP user.
pub fn replace(host: Host<'_>, site: &Site, from: &Path) -> Result<()> {
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

fn execute(host: Host<'_>, statements: &str) -> Result<()> {
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

//! A ledger into which each start writes the version that was started, in a format that only some versions read. Its overlay lies beside the image.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fs_err as fs;

use super::bad::Defect;
use super::town::{Town, build_with};
use crate::artifacts::Artifacts;

/// Where it is written, with the name of the format.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ledger {
    /// A plain file: for quick boots.
    File(&'static str),
    /// A table of `MariaDB`.
    Database(&'static str),
}

const FILE: &str = r#"summary = "A ledger in a file"
needs = ["base"]
[[state]]
path = "/var/lib/ledger"
owner = "root"
mode = "0700"
class = "db"
format = { name = "FORMAT" }
nocow = true
[[setup]]
name = "a row of the ledger"
exec = ["/bin/sh", "-c", ". /usr/lib/os-release && echo $IMAGE_VERSION >> /var/lib/ledger/rows && sync"]
"#;

const DATABASE: &str = r#"summary = "A ledger in a database"
needs = ["mariadb"]
[[setup]]
name = "a row of the ledger"
exec = ["/bin/sh", "-c", ". /usr/lib/os-release && CLIENT \"CREATE DATABASE IF NOT EXISTS ledger; CREATE TABLE IF NOT EXISTS ledger.starts (number INT AUTO_INCREMENT PRIMARY KEY, version TEXT) ENGINE=InnoDB; INSERT INTO ledger.starts (version) VALUES ('$IMAGE_VERSION')\""]
after = ["mariadb.service"]
"#;

const CLIENT: &str = "mariadb --no-defaults --socket=/run/mysqld/mysqld.sock --batch --skip-column-names --execute";

impl Ledger {
    /// The small image with it; its output.
    pub(super) fn build(
        self,
        artifacts: &Artifacts,
        dir: &Path,
        version: &str,
        defect: Option<&Defect>,
    ) -> Result<PathBuf> {
        build_with(artifacts, dir, version, defect, &|image, text| self.lay(artifacts, image, &text))
    }

    fn lay(self, artifacts: &Artifacts, image: &Path, text: &str) -> Result<String> {
        let own = image.join("overlays");
        fs::create_dir_all(own.join("ledger"))?;
        let (overlay, names) = match self {
            Self::File(format) => (FILE.replace("FORMAT", format), "\"ssh\", \"ledger\"]"),
            Self::Database(format) => {
                other_server(&artifacts.repository().join("overlays/mariadb"), &own.join("mariadb"), format)?;
                (DATABASE.replace("CLIENT", CLIENT), "\"ssh\", \"mariadb\", \"ledger\"]")
            }
        };
        fs::write(own.join("ledger/overlay.toml"), overlay)?;
        let changed = text.replace("\"ssh\"]", names);
        ensure!(changed != text, "`minimal` has other overlays");
        Ok(changed)
    }
}

/// The repository's own overlay, as if its server wrote another format.
fn other_server(from: &Path, to: &Path, format: &str) -> Result<()> {
    copy(from, to)?;
    let file = to.join("overlay.toml");
    let text = fs::read_to_string(&file)?;
    let changed = text.replace(
        "format = { package = \"mariadb-server-core\", numbers = 2 }",
        &format!("format = {{ name = \"{format}\" }}"),
    );
    ensure!(changed != text, "the overlay of the database has another format");
    Ok(fs::write(file, changed)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = (entry?, to.to_owned());
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy(&entry.path(), &to)? } else { fs::copy(entry.path(), to).map(drop)? }
    }
    Ok(())
}

/// What is written in the file, and what is set aside of it.
pub(super) fn of(town: &Town) -> Result<[String; 2]> {
    let rows = town.root("cat /var/lib/ledger/rows")?;
    Ok([rows, town.root("sh -c 'cat /var/lib/casemate/update/aside/*/ledger/rows || :'")?])
}

/// What is written in the database.
pub(super) fn rows(town: &Town) -> Result<Vec<String>> {
    let said = town.root(&format!("{CLIENT} 'SELECT version FROM ledger.starts ORDER BY number'"))?;
    Ok(said.lines().map(str::to_owned).collect())
}

/// Whether the files of a database that holds this row are set aside.
pub(super) fn is_aside(town: &Town, row: &str) -> Result<bool> {
    let order = format!("sh -c 'grep -c -F {row} /var/lib/casemate/update/aside/*/mysql/data/ledger/starts.ibd || :'");
    Ok(town.root(&order)?.trim().parse::<u32>().is_ok_and(|found| found > 0))
}

//! A database that outgrows its site's limit: from then on the site reads and deletes, and all others go on as before.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use serde::Deserialize;
use vm::Container;
use vm::guest::Client;

use crate::artifacts::{Artifacts, say};
use crate::container_host::{ContainerHost, put_file, shell};
use crate::operator::{Facts, Operator};

const MACHINE_ID: &str = "dbdbdbdbdbdbdbdbdbdbdbdbdbdbdb01";
const GREEDY: &str = "greedy.example.net";
const OTHER: &str = "other.example.net";
const LIMIT_MIB: u64 = 48;
/// A look each 15 s, at ten rows of a MiB in a second at most; what InnoDB adds.
const MOST_MIB: u64 = LIMIT_MIB + 200;
const PROGRAM: &str = include_str!("database_limit.php");
/// Two looks, and tables written anew.
const PATIENCE: Duration = Duration::from_secs(60);
/// The server's words for a missing right.
const DENIED: &str = " denied to user";
/// The same for temporary tables, which are a right of the whole database.
const NO_ACCESS: &str = "Access denied for user";

/// What the site's program did.
#[derive(Debug, Deserialize)]
struct Done {
    rows: u64,
    error: String,
}

struct Database<'a> {
    container: &'a Container,
    client: &'a Client,
}

pub(crate) fn hurts_only_the_site_itself(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let facts = Facts { hostname: "rows.example.org", serial: 1, wordpress: None };
    let site =
        |name| format!("[[domain.site]]\nname = \"{name}\"\nkind = \"php\"\nlimits = {{ disk = \"{LIMIT_MIB}M\" }}\n");
    let document = fs::read_to_string(operator.document(dir, &facts)?)?
        + "\n[[domain]]\nname = \"example.net\"\n"
        + &site(GREEDY)
        + &site(OTHER);
    let mut host = ContainerHost::new(artifacts, dir, &document, MACHINE_ID)?;
    let (container, _, _) = host.boot()?;
    let client = host.client();
    let database = Database { container: &container, client: &client };
    for (id, name) in [("site001", GREEDY), ("site002", OTHER)] {
        put_file(&container, &format!("/var/lib/casemate/sites/{id}/htdocs/index.php"), PROGRAM)?;
        database.succeeds(name, "create")?;
    }
    let rights = database.rights()?;

    database.fill()?;
    database.reads_and_no_more()?;
    database.is_told()?;
    database.goes_back()?;
    ensure!(database.succeeds(GREEDY, "empty")? > 0, "there was nothing to delete");
    database.wait_until_it_writes()?;
    ensure!(database.rights()? == rights, "other rights than before: {}", database.rights()?);
    ensure!(database.size_mib()? < LIMIT_MIB, "the files have still {} MiB", database.size_mib()?);
    Ok(())
}

impl Database<'_> {
    fn ask(&self, site: &str, what: &str) -> Result<Done> {
        let answer = self.client.https_unverified(site, &format!("/?do={what}"))?;
        serde_json::from_str(&answer.body)
            .with_context(|| format!("`{what}` of {site} answers {}{}", answer.head, answer.body))
    }

    fn succeeds(&self, site: &str, what: &str) -> Result<u64> {
        let done = self.ask(site, what)?;
        ensure!(done.error.is_empty(), "{site} cannot `{what}`: {}", done.error);
        Ok(done.rows)
    }

    fn rights(&self) -> Result<String> {
        shell(self.container, "mariadb --batch --execute='SHOW GRANTS FOR `site001-php`@localhost'")
    }

    fn size_mib(&self) -> Result<u64> {
        let shown =
            shell(self.container, "du --apparent-size --block-size=1M -s /var/lib/mysql/data/site001 | cut -f1")?;
        shown.trim().parse().with_context(|| format!("the size is {shown}"))
    }

    /// Rows until they are refused: the connection that writes them is cut.
    fn fill(&self) -> Result<()> {
        let done = self.ask(GREEDY, "fill")?;
        let size = self.size_mib()?;
        say(&format!(
            "database limit: {} rows of a MiB went in, {size} MiB of {LIMIT_MIB} allowed: {}",
            done.rows, done.error
        ));
        ensure!(!done.error.is_empty(), "{} rows of a MiB went in and nobody said a word", done.rows);
        ensure!(size > LIMIT_MIB && size <= MOST_MIB, "the database has {size} MiB");
        Ok(())
    }

    fn reads_and_no_more(&self) -> Result<()> {
        for what in ["write", "grow", "temporary", "create"] {
            let done = self.ask(GREEDY, what)?;
            ensure!(
                done.error.contains(DENIED) || done.error.contains(NO_ACCESS),
                "`{what}` of a full database says `{}`",
                done.error
            );
        }
        ensure!(self.succeeds(GREEDY, "read")? > 0, "the rows are gone");
        ensure!(self.succeeds(OTHER, "write")? == 1, "the neighbour cannot write");
        Ok(())
    }

    fn is_told(&self) -> Result<()> {
        let list = shell(self.container, "casemate-agent site list")?;
        let full: Vec<&str> = list.lines().filter(|line| line.contains("database full")).collect();
        ensure!(full.len() == 1 && full.iter().all(|line| line.contains(GREEDY)), "the list of sites is {list}");
        let log = shell(
            self.container,
            "journalctl --sync; journalctl --boot --no-pager --output=cat --unit=casemate-database-limits.service",
        )?;
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        ensure!(
            lines.len() == 1 && lines.iter().all(|line| line.starts_with(GREEDY) && line.contains("48 are allowed")),
            "the journal has {log}"
        );
        Ok(())
    }

    /// A restore writes, whatever the site may; what it has put back is then held like everything else.
    fn goes_back(&self) -> Result<()> {
        let before = self.succeeds(GREEDY, "read")?;
        shell(
            self.container,
            &format!("name=$(casemate-agent site snapshot {GREEDY}) && casemate-agent site restore {GREEDY} $name"),
        )?;
        ensure!(self.succeeds(GREEDY, "read")? == before, "the restored database has other rows");
        let started = Instant::now();
        while self.ask(GREEDY, "write")?.error.is_empty() {
            ensure!(started.elapsed() < PATIENCE, "what was restored is not held");
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    fn wait_until_it_writes(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let done = self.ask(GREEDY, "write")?;
            if done.error.is_empty() {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "an emptied database is not written again: {}", done.error);
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

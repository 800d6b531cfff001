//! sqlmap on a page that is written as pages must not be: without a guard it has the customers' cards in no time.

use std::path::Path;

use anyhow::{Result, ensure};
use fs_err as fs;
use tools::{Network, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

use super::{GUARDED, OPEN, Wall};
use crate::artifacts::{Artifacts, say};
use crate::container_host::{ADDRESS, ContainerHost, put_file};

const PAGE: &str = include_str!("item.php");
const SECRET: &str = "4929-SECRET-CARD";
/// How it is told to take all that the page gives away.
const TAKE_ALL: [&str; 8] =
    ["--batch", "--disable-coloring", "--dbms=mysql", "--dump", "-T", "customers", "--threads=2", "--flush-session"];
/// Words that mean that it has found a way in.
const FOUND: &str = "sqlmap identified the following injection point";
/// How it goes around a guard: each way of writing by itself has its name.
const EVASIONS: [&[&str]; 3] = [
    &["--random-agent"],
    &["--random-agent", "--tamper=space2comment,between,randomcase", "--level=2"],
    &["--random-agent", "--tamper=versionedmorekeywords,charencode,equaltolike", "--hpp"],
];

impl Wall<'_> {
    pub(super) fn withstands_sqlmap(&self, artifacts: &Artifacts, host: &ContainerHost<'_>, dir: &Path) -> Result<()> {
        let tree = artifacts.attack_tree()?;
        let place = dir.join("sqlmap");
        fs::create_dir_all(&place)?;
        fs::write(place.join("hosts"), format!("{ADDRESS} {OPEN}\n{ADDRESS} {GUARDED}\n"))?;
        for (id, site) in [("site001", GUARDED), ("site002", OPEN)] {
            put_file(self.container, &format!("/var/lib/casemate/sites/{id}/htdocs/item.php"), PAGE)?;
            ensure!(self.client.https_unverified(site, "/item.php?make=1")?.body == "made", "{site} has no shop");
            let page = self.client.https_unverified(site, "/item.php?id=1")?;
            ensure!(page.body.ends_with("lantern"), "the shop of {site} answers {}{}", page.head, page.body);
        }
        let sandbox = Sandbox::new(&tree)
            .network(Network::Namespace(host.neighbour.path()))
            .bind(&place, "/run/sqlmap")
            .bind_read_only(place.join("hosts"), "/etc/hosts");
        let run = |site: &str, further: &[&str]| -> Result<String> {
            let tool = Tool::new("python3")
                .args(["/usr/share/sqlmap/sqlmap.py", "--output-dir=/run/sqlmap/out", "-u"])
                .arg(format!("https://{site}/item.php?id=1"))
                .args(TAKE_ALL)
                .args(further)
                .env("HOME", "/run/sqlmap")
                .accept(&[0, 1]);
            Ok(SandboxRunner::new(sandbox.clone()).run(&tool).remedied()?.stdout_text())
        };
        let said = run(OPEN, &["--random-agent"])?;
        ensure!(said.contains(FOUND) && said.contains(SECRET), "without a guard sqlmap finds nothing:\n{said}");
        for further in EVASIONS {
            let said = run(GUARDED, further)?;
            ensure!(!said.contains(SECRET) && !said.contains(FOUND), "sqlmap {further:?} has found a way:\n{said}");
            // It has tried, and was refused: not a host that is away.
            ensure!(said.contains("403 (Forbidden)"), "sqlmap {further:?} was never refused:\n{said}");
        }
        say(&format!("wall: sqlmap has found nothing in {} ways", EVASIONS.len()));
        Ok(())
    }
}

//! What the package database of a running host says: the packages of the lock, and no file that is not theirs.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};
use fs_err as fs;
use vm::guest::Client;

use crate::operator::Operator;

/// Files of packages that the image replaces on purpose, as `dpkg -V` names them and nothing else (`5`: other content, `M`: other mode).
const REPLACED: [(&str, &str); 5] = [
    // overlays/apache brings its own
    ("??5??????", "/etc/apache2/apache2.conf"),
    // overlays/firewall
    ("??5??????", "/etc/shorewall-lite/shorewall-lite.conf"),
    ("??5??????", "/etc/shorewall6-lite/shorewall6-lite.conf"),
    // a link to what the agent renders
    ("?M5??????", "/etc/squid/squid.conf"),
    // says which image this is
    ("??5??????", "/usr/lib/os-release"),
];

/// The package that stands for what the builder provides (docs/formats/overlay-toml.md, `[[provided]]`).
const PLACEHOLDER: &str = "casemate-placeholder";

pub(super) fn are_those_of_the_lock(client: &Client, operator: &Operator, output: &Path) -> Result<()> {
    let wanted = locked(&fs::read_to_string(output.join("lock.toml"))?);
    ensure!(wanted.contains("systemd") && wanted.contains("apache2"), "the lock names no packages: {wanted:?}");
    let shown = client.ssh_ok(&operator.key, "dpkg -l")?;
    let found = installed(&shown);
    let (missing, more): (Vec<_>, Vec<_>) = (wanted.difference(&found).collect(), found.difference(&wanted).collect());
    ensure!(missing.is_empty() && more.is_empty(), "`dpkg -l` lacks {missing:?} and has more: {more:?}");

    // Its status is 1 where a file differs. As root: not every file may be read by others.
    let shown = client.ssh_ok(&operator.key, "sudo -n dpkg -V || test $? = 1")?;
    let ends = |line: &'_ str| Some((line.get(..9)?.to_owned(), line.split_whitespace().last()?.to_owned()));
    let changed: BTreeSet<(String, String)> = shown.lines().filter_map(ends).collect();
    let expected = REPLACED.map(|(marks, path)| (marks.to_owned(), path.to_owned()));
    ensure!(changed == BTreeSet::from(expected), "`dpkg -V` names other files or differences:\n{shown}");
    Ok(())
}

/// Names of the packages of the root. Each has a table of its own: `[[package]]` and its fields, the name first.
/// What the image provides itself (`[[provided]]`) stands in the database as one package more.
fn locked(lock: &str) -> BTreeSet<String> {
    let tables = lock.split("\n[[package]]\n").skip(1);
    let names =
        tables.filter_map(|table| Some(table.lines().next()?.strip_prefix("name = \"")?.strip_suffix('"')?.into()));
    let provided = lock.contains("\n[[provided]]\n").then(|| PLACEHOLDER.to_owned());
    names.chain(provided).collect()
}

/// Names of the packages that are installed and configured (`ii`), without the architecture that some carry.
fn installed(shown: &str) -> BTreeSet<String> {
    let lines = shown.lines().filter_map(|line| line.strip_prefix("ii "));
    lines.filter_map(|line| Some(line.split_whitespace().next()?.split(':').next()?.to_owned())).collect()
}

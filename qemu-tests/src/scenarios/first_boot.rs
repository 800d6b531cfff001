//! A host that nobody has told what it is.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use vm::guest::Start;

use crate::artifacts::{Artifacts, Image};
use crate::host::{TestHost, wait_waiting};
use crate::scan::Scanner;

pub(crate) fn waits_and_listens_on_nothing(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let mut host = TestHost::new(artifacts, Image::Minimal, dir)?;
    let scanner = Scanner::new("waits")?;
    let mut spec = host.spec(Start::Direct)?;
    spec.network = scanner.network();
    let mut machine = host.boot(&spec)?;
    let line = wait_waiting(&mut machine)?;
    ensure!(line.contains("host.toml"), "it does not say what it waits for: {line}");
    let open = scanner.open_ports(Duration::from_secs(120))?;
    ensure!(open.is_empty(), "ports are open: {open:?}");
    ensure!(!machine.serial().text()?.contains(" login:"), "there is a login on the console");
    machine.cut_power();
    Ok(())
}

//! Documents that must not make a host of anything.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use fs_err as fs;
use vm::guest::Start;

use crate::artifacts::{Artifacts, Image};
use crate::host::{TestHost, credential, wait_waiting};
use crate::operator::{Facts, Operator};
use crate::scan::Scanner;

/// Five mistakes: an unknown key, a bad address, a bad network, no key, a kind that does not exist.
const FIVE_MISTAKES: &str = r#"schema = 1
serial = 7
host = "any"
hostname = "web1.example.org"

[admin]
emali = "ops@example.org"
email = "ops at example.org"
ssh_keys = []
networks = ["192.0.2.0/33"]

[tls]
mode = "self-signed"

[[domain]]
name = "example.org"

[[domain.site]]
name = "www.example.org"
kind = "joomla"
"#;

pub(crate) fn with_every_reason(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let mut host = TestHost::new(artifacts, Image::Minimal, dir)?;
    let scanner = Scanner::new("refused")?;
    // On the ESP: a good document, signed by somebody whom the image does not know.
    let good = operator.document(dir, &Facts { hostname: "web1.example.org", serial: 1, wordpress: None })?;
    artifacts.casemate(&["keys", "init", &dir.join("foreign").to_string_lossy()], 0)?;
    let foreign = dir.join("foreign/operator.key");
    artifacts.casemate(
        &["personalise", &host.disk().to_string_lossy(), &good.to_string_lossy(), "--key", &foreign.to_string_lossy()],
        0,
    )?;
    // From the hypervisor: rightly signed, and full of mistakes.
    let mut spec = host.spec(Start::Direct)?;
    spec.network = scanner.network();
    spec.credentials = vec![
        credential("casemate.host", FIVE_MISTAKES.as_bytes().to_vec())?,
        credential("casemate.host.sig", artifacts.sign_as_operator(FIVE_MISTAKES.as_bytes())?)?,
    ];
    let mut machine = host.boot(&spec)?;
    wait_waiting(&mut machine)?;
    let reasons = ["emali", "ops at example.org", "ssh_keys", "192.0.2.0/33", "joomla"];
    for reason in reasons {
        wait_on_console(&mut machine, reason)?;
    }
    // The key that the image does not know is named, so that an operator can see which one was used.
    let key = fs::read_to_string(dir.join("foreign/operator.pub"))?;
    let id = bundle::Sha256Digest::of(key.trim().parse::<bundle::PublicKey>()?.as_bytes()).to_string();
    wait_on_console(&mut machine, id.get(..16).unwrap_or(&id))?;
    let open = scanner.open_ports(Duration::from_secs(120))?;
    ensure!(open.is_empty(), "ports are open: {open:?}");
    ensure!(!machine.serial().text()?.contains("casemate: personalised"), "a refused document personalised the host");
    machine.cut_power();
    Ok(())
}

/// The reasons come in one screen; their order is the agent's.
fn wait_on_console(machine: &mut vm::Machine, text: &str) -> Result<()> {
    let started = std::time::Instant::now();
    while !machine.serial().text()?.contains(text) {
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "the console never shows `{text}`:\n{}",
            machine.serial().text()?
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

//! Secure Boot: the firmware starts what our keys signed and nothing else.
//!
//! The host gets its document from the hypervisor: the document itself by `fw_cfg`, its signature by SMBIOS. Either alone is worth
//! nothing, so a host that is personalised has read both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::{ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};
use vm::credential::Channel;
use vm::guest::{Start, flip_in_uki};
use vm::{Credential, Firmware};

use crate::artifacts::{Artifacts, Image};
use crate::host::{REFUSED_BY_FIRMWARE, TestHost, credential, wait_personalised};
use crate::operator::{Facts, Operator};

/// Long enough for firmware, boot loader and a refusal; a boot that is not refused shows the kernel well before.
const REFUSAL: Duration = Duration::from_secs(240);

pub(crate) fn only_ours(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let mut host = TestHost::new(artifacts, Image::Minimal, dir)?;
    let facts = Facts { hostname: "secure.example.org", serial: 1, wordpress: None };
    let document = fs::read(operator.document(dir, &facts)?)?;

    let foreign = dir.join("foreign");
    artifacts.casemate(&["keys", "init", &foreign.to_string_lossy()], 0)?;
    let text = start(&mut host, &enrol(artifacts, &foreign, &dir.join("foreign.fd"))?)?;
    ensure!(refused(&text), "the firmware did not refuse keys of somebody else:\n{text}");

    let ours = enrol(artifacts, &artifacts.development_keys(), &dir.join("ours.fd"))?;
    let restore = flip_in_uki(host.disk())?;
    let text = start(&mut host, &ours)?;
    ensure!(refused(&text), "the firmware did not refuse a changed kernel image:\n{text}");
    restore.undo()?;

    let mut spec = with_keys(&host, &ours)?;
    let signature = artifacts.sign_as_operator(&document)?;
    spec.credentials = vec![
        Credential { channel: Channel::FwCfg, ..credential("casemate.host", document)? },
        credential("casemate.host.sig", signature)?,
    ];
    let mut machine = host.boot(&spec)?;
    let seen = wait_personalised(&mut machine)?;
    ensure!(seen.hostname.as_deref() == Some(facts.hostname), "the host calls itself {:?}", seen.hostname);
    artifacts.record_identity("secure", &seen, "secure")?;
    machine.cut_power();
    Ok(())
}

/// Boots for as long as a refusal takes; ends early when the kernel speaks or the refusal is shown.
fn start(host: &mut TestHost, vars: &Path) -> Result<String> {
    let spec = with_keys(host, vars)?;
    let mut machine = host.boot(&spec)?;
    let started = std::time::Instant::now();
    loop {
        let text = machine.serial().text()?;
        if refused(&text) || booted(&text) || started.elapsed() > REFUSAL {
            machine.cut_power();
            return Ok(text);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn with_keys(host: &TestHost, vars: &Path) -> Result<vm::MachineSpec> {
    let mut spec = host.spec(Start::Firmware)?;
    spec.firmware = Firmware::SecureBoot { code: Firmware::SECURE_CODE.into(), vars: vars.to_owned() };
    Ok(spec)
}

fn refused(text: &str) -> bool {
    REFUSED_BY_FIRMWARE.iter().any(|words| text.contains(words)) && !booted(text)
}

fn booted(text: &str) -> bool {
    text.contains("casemate: ") || text.contains("Linux version")
}

/// A variable store with the certificates of `keys` enrolled and Secure Boot on.
fn enrol(artifacts: &Artifacts, keys: &Path, target: &Path) -> Result<PathBuf> {
    const OWNER: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
    let tool =
        Tool::new("virt-fw-vars").args(["--input", Firmware::VARS, "--output", "/run/output/vars.fd", "--sb"]).args([
            "--set-pk",
            OWNER,
            "/run/keys/PK.crt",
            "--add-kek",
            OWNER,
            "/run/keys/KEK.crt",
            "--add-db",
            OWNER,
            "/run/keys/db.crt",
        ]);
    let output = target.with_extension("d");
    fs::create_dir_all(&output)?;
    let sandbox = Sandbox::new(artifacts.run_tree())
        .bind_read_only(keys.join("secureboot"), "/run/keys")
        .bind(&output, "/run/output");
    SandboxRunner::new(sandbox).run(&tool).remedied().context("cannot enrol keys")?;
    fs::rename(output.join("vars.fd"), target)?;
    Ok(target.to_owned())
}

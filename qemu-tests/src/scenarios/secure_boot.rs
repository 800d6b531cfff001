//! Secure Boot: the firmware starts what our keys signed and nothing else.
//!
//! The host gets its document from the hypervisor: the document itself by `fw_cfg`, its signature by SMBIOS. Either alone is worth
//! nothing, so a host that is personalised has read both. It takes no update that its firmware would refuse at the next start, and a newer boot loader
//! once the version that brings it is good.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::{ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};
use vm::credential::Channel;
use vm::guest::{Start, flip_in_uki};
use vm::{Firmware, Interface, MachineSpec};

use super::update::crafted;
use super::update::town::{Town, build};
use crate::artifacts::Artifacts;
use crate::host::REFUSED_BY_FIRMWARE;

/// Long enough for firmware, boot loader and a refusal; a boot that is not refused shows the kernel well before.
const REFUSAL: Duration = Duration::from_secs(240);

pub(crate) fn only_ours(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let repository = dir.join("repository");
    fs::create_dir_all(&repository)?;
    let mut town = Town::new(artifacts, dir, &repository)?;
    let (unsigned, signed) = (build(artifacts, dir, "0.1.9", None)?, build(artifacts, dir, "0.2.0", None)?);
    crafted::unsigned_kernel(artifacts, &unsigned)?;
    let [old, new] = crafted::newer_loader(artifacts, &signed)?;

    let foreign = dir.join("foreign");
    artifacts.casemate(&["keys", "init", &foreign.to_string_lossy()], 0)?;
    let text = start(&mut town, &enrol(artifacts, &foreign, &dir.join("foreign.fd"))?)?;
    ensure!(refused(&text), "the firmware did not refuse keys of somebody else:\n{text}");

    let ours = enrol(artifacts, &artifacts.development_keys(), &dir.join("ours.fd"))?;
    let restore = flip_in_uki(town.host.disk())?;
    let text = start(&mut town, &ours)?;
    ensure!(refused(&text), "the firmware did not refuse a changed kernel image:\n{text}");
    restore.undo()?;

    town.spec.firmware = with_keys(&ours);
    let document = town.spec.credentials.first_mut().context("the machine is given no document")?;
    document.channel = Channel::FwCfg;
    town.port = Interface::Usb;
    let (mut machine, seen) = town.boots(&[unsigned.join("bundle.tar"), signed.join("bundle.tar")])?;
    artifacts.record_identity("secure", &seen, "secure")?;
    town.refuses_the_stick(0, "Secure Boot would refuse the new kernel image: it is not signed")?;
    town.applies_the_stick(1)?;
    town.is_started_by("0.1.0", &old, &old)?;
    town.restarts(&mut machine)?;
    town.is_started_by("0.2.0", &old, &new)?;
    town.restarts(&mut machine)?;
    town.is_started_by("0.2.0", &new, &new)?;
    machine.cut_power();
    Ok(())
}

/// Boots for as long as a refusal takes; ends early when the kernel speaks or the refusal is shown.
fn start(town: &mut Town, vars: &Path) -> Result<String> {
    let spec = MachineSpec { firmware: with_keys(vars), ..town.host.spec(Start::Firmware)? };
    let mut machine = town.host.boot(&spec)?;
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

fn with_keys(vars: &Path) -> Firmware {
    Firmware::SecureBoot { code: Firmware::SECURE_CODE.into(), vars: vars.to_owned() }
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

//! Power cuts in the first boot: while the disk is made, while keys are made, while the host is personalised.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use vm::{Firmware, MachineSpec};

use crate::artifacts::{Artifacts, Image, say};
use crate::client::Client;
use crate::host::{PATIENCE, Start, TestHost};
use crate::operator::{Facts, Operator};

/// Where the power is cut: a line of the console, and how long after it.
const CUTS: [(&str, Duration); 3] = [
    // repart is at work: partitions, file system, table
    ("Starting casemate-disk.service", Duration::from_millis(1500)),
    // state is there, tmpfiles fills it
    ("Starting systemd-tmpfiles-setup.service", Duration::from_millis(500)),
    // the agent makes keys and renders
    ("Starting casemate-personalise.service", Duration::from_millis(1500)),
];

/// The same kernel and initrd, with a talkative PID 1: where the boot is cut must be visible.
fn talkative(host: &TestHost<'_>) -> Result<MachineSpec> {
    let mut spec = host.spec(Start::Direct)?;
    if let Firmware::DirectKernel { cmdline, .. } = &mut spec.firmware {
        *cmdline =
            cmdline.replace("systemd.show_status=error", "systemd.show_status=yes systemd.status_unit_format=name");
    }
    Ok(spec)
}

pub(crate) fn is_resumed(artifacts: &Artifacts) -> Result<()> {
    let dir = artifacts.scratch("power-cut")?;
    let operator = Operator::new(artifacts, &dir, "operator")?;
    let mut host = TestHost::new(artifacts, Image::Minimal, &dir)?;
    host.personalise(&operator.document(&dir, &Facts { hostname: "cut.example.org", serial: 1, wordpress: None })?)?;
    for (line, delay) in CUTS {
        let mut machine = host.boot(&talkative(&host)?)?;
        machine.wait_for_serial(line, PATIENCE).with_context(|| format!("the boot never comes to `{line}`"))?;
        std::thread::sleep(delay);
        let done = machine.serial().text()?.contains("casemate: personalised as");
        machine.cut_power();
        ensure!(!done, "the cut after `{line}` came too late: the host was personalised already");
        say(&format!("power-cut: cut {delay:?} after `{line}`"));
    }
    let (_machine, identity) = host.boot_healthy(Start::Direct)?;
    let client = Client::new(artifacts, &dir, host.ports);
    let machine_id = client.ssh_ok(&operator.key, "cat /run/machine-id")?;
    artifacts.record_identity("cut", &identity, &machine_id)?;
    ensure!(client.ssh_ok(&operator.key, "systemctl --failed --no-legend")?.trim().is_empty(), "units have failed");
    Ok(())
}

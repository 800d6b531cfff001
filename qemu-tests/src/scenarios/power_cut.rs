//! Power cuts in the first boot: while the disk is made, while keys are made, while the host is personalised.
//!
//! The document is on a seed volume, a second disk, and nowhere else.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use fs_err as fs;
use vm::guest::{Client, Start};
use vm::{Disk, Firmware, MachineSpec, Persistence};

use crate::artifacts::{Artifacts, Image, say};
use crate::host::{PERSONALISED, TestHost, wait_for};
use crate::operator::{Facts, Operator};
use crate::seed;

/// Where the power is cut: a line of the console, and how long after it.
const CUTS: [(&str, Duration); 3] = [
    // repart is at work: partitions, file system, table
    ("Starting casemate-disk.service", Duration::from_millis(1500)),
    // state is there, tmpfiles fills it
    ("Starting systemd-tmpfiles-setup.service", Duration::from_millis(500)),
    // the agent makes keys and renders
    ("Starting casemate-personalise.service", Duration::from_millis(1500)),
];

/// A host with a seed volume in a second slot, write-protected as a CD is.
fn with_seed(host: &TestHost, volume: &Path) -> Result<MachineSpec> {
    let mut spec = host.spec(Start::Direct)?;
    spec.disks.push(Disk { persistence: Persistence::ReadOnly, ..Disk::new(volume) });
    Ok(spec)
}

/// The same kernel and initrd, with a talkative PID 1: where the boot is cut must be visible.
fn talkative(mut spec: MachineSpec) -> MachineSpec {
    if let Firmware::DirectKernel { cmdline, .. } = &mut spec.firmware {
        *cmdline =
            cmdline.replace("systemd.show_status=error", "systemd.show_status=yes systemd.status_unit_format=name");
    }
    spec
}

pub(crate) fn is_resumed(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let mut host = TestHost::new(artifacts, Image::Minimal, dir)?;
    let facts = Facts { hostname: "cut.example.org", serial: 1, wordpress: None };
    let document = fs::read(operator.document(dir, &facts)?)?;
    let signature = artifacts.sign_as_operator(&document)?;
    let volume = seed::volume(artifacts, dir, &[("host.toml", &document), ("host.toml.sig", &signature)])?;
    for (line, delay) in CUTS {
        let mut machine = host.boot(&talkative(with_seed(&host, &volume)?))?;
        wait_for(&mut machine, line, &[])?;
        std::thread::sleep(delay);
        let done = machine.serial().text()?.contains(PERSONALISED);
        machine.cut_power();
        ensure!(!done, "the cut after `{line}` came too late: the host was personalised already");
        say(&format!("power-cut: cut {delay:?} after `{line}`"));
    }
    let (_machine, seen) = host.boot_healthy(&with_seed(&host, &volume)?)?;
    ensure!(seen.hostname.as_deref() == Some(facts.hostname), "the host calls itself {:?}", seen.hostname);
    let client = Client::new(artifacts.run_tree(), dir, host.ports());
    let machine_id = client.ssh_ok(&operator.key, "cat /run/machine-id")?;
    artifacts.record_identity("cut", &seen, &machine_id)?;
    ensure!(client.ssh_ok(&operator.key, "systemctl --failed --no-legend")?.trim().is_empty(), "units have failed");
    // The volume is read and let go: nobody on the host sees it.
    let mounts = client.ssh_ok(&operator.key, "sudo -n findmnt --noheadings --types vfat || true")?;
    ensure!(mounts.trim().is_empty(), "the seed volume or the ESP stays mounted: {mounts}");
    Ok(())
}

//! A host under test: a disk that was made from an image, and the machine that is plugged into it for a while.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use vm::guest::{Console, Guest, Ports, Seen, Start, make_disk, tail, until_settled};
use vm::{Credential, Machine, MachineSpec, Outbound};

use crate::artifacts::{Artifacts, Image, say};
use crate::flash;

/// The longest time to a personalised host: an emulated machine beside another one, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);
/// The longest time to a healthy one.
const HEALTH: Duration = Duration::from_secs(1800);
/// The smallest disk that is supported.
const DISK_BYTES: u64 = 8 << 30;
/// Memory of a machine in MiB.
const MEMORY: u32 = 1024;

/// A disk and what belongs to it.
pub(crate) struct TestHost {
    guest: Guest,
    boots: u32,
}

impl TestHost {
    /// A disk of the smallest size with a copy of the image.
    pub(crate) fn new(artifacts: &Artifacts, image: Image, dir: &Path) -> Result<Self> {
        Self::of_output(artifacts, &artifacts.image(image), dir)
    }

    /// The same of an image that a scenario has built.
    pub(crate) fn of_output(artifacts: &Artifacts, output: &Path, dir: &Path) -> Result<Self> {
        let host = Self::of(artifacts, output.to_owned(), dir)?;
        make_disk(&output.join("disk.raw"), host.disk(), DISK_BYTES)?;
        Ok(host)
    }

    /// A disk of `bytes` that `casemate flash` writes as it writes any: as a block device, with a document.
    pub(crate) fn flashed(
        artifacts: &Artifacts,
        image: Image,
        dir: &Path,
        bytes: u64,
        document: &Path,
    ) -> Result<Self> {
        let host = Self::of(artifacts, artifacts.image(image), dir)?;
        let device = flash::device(artifacts, host.disk(), bytes)?;
        let (output, document) = (artifacts.image(image), document.to_string_lossy());
        let shown = [output.to_string_lossy(), device.path().to_string_lossy()];
        let arguments = ["flash", &*shown[0], &*shown[1], "--host", &*document, "--untested", "--yes"];
        let told = artifacts.casemate(&arguments, 0)?;
        ensure!(told.contains("read back and compared"), "`casemate flash` does not say that it compared:\n{told}");
        Ok(host)
    }

    fn of(artifacts: &Artifacts, output: PathBuf, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let guest = Guest {
            output,
            tree: artifacts.run_tree().to_owned(),
            dir: dir.to_owned(),
            disk: dir.join("disk.raw"),
            ports: Ports::free()?,
            memory: MEMORY,
            outbound: Outbound::Blocked,
        };
        Ok(Self { guest, boots: 0 })
    }

    /// The disk.
    pub(crate) fn disk(&self) -> &Path {
        &self.guest.disk
    }

    /// Ports that lead in.
    pub(crate) fn ports(&self) -> Ports {
        self.guest.ports
    }

    /// The image that slot A was made from.
    pub(crate) fn root(&self) -> PathBuf {
        self.guest.output.join("root.erofs")
    }

    /// The description of the machine, for scenarios that change it before they start it.
    pub(crate) fn spec(&self, start: Start) -> Result<MachineSpec> {
        // Beside another machine on two cores an emulated second processor costs more than it does, and now and then loses a timer for good.
        Ok(MachineSpec { cpus: 1, ..self.guest.spec(start)? })
    }

    /// Switches the machine on.
    pub(crate) fn boot(&mut self, spec: &MachineSpec) -> Result<Machine> {
        self.boots += 1;
        let log = format!("boot-{}", self.boots);
        let machine = self.guest.start_as(spec, &log)?;
        say(&format!("{}: power on, log in {}", self.name(), self.guest.log_dir(&log).display()));
        Ok(machine)
    }

    /// Switches the machine on and waits until it says that it is healthy.
    pub(crate) fn boot_healthy(&mut self, spec: &MachineSpec) -> Result<(Machine, Seen)> {
        let mut machine = self.boot(spec)?;
        let seen = until_settled(&mut machine, &mut Console::default(), HEALTH, &|_| ())?;
        ensure!(seen.is_healthy(), "the host is not healthy: {}", seen.unhealthy.join("; "));
        say(&format!("{}: healthy after {:.0} s", self.name(), machine.uptime().as_secs_f64()));
        Ok((machine, seen))
    }

    fn name(&self) -> String {
        self.guest.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// What a host prints when it has become what its document says.
pub(crate) const PERSONALISED: &str = "casemate: personalised as ";
/// What a host prints when it has no document that it may use; the reason follows.
pub(crate) const WAITING: &str = "casemate: waiting: ";
/// What OVMF and systemd-boot print when a signature is missing or wrong.
pub(crate) const REFUSED_BY_FIRMWARE: [&str; 4] =
    ["Access Denied", "Security Violation", "access denied", "Security Policy Violation"];

/// Waits for `wanted` on the console. What shows that it will never come ends the wait: one of `never`, a panic, a restart.
pub(crate) fn wait_for(machine: &mut Machine, wanted: &str, never: &[&str]) -> Result<()> {
    let started = std::time::Instant::now();
    // Firmware may restart before it has started anything.
    let restarts = machine.reset_count();
    loop {
        let text = machine.serial().text()?;
        if text.contains(wanted) {
            return Ok(());
        }
        let shown =
            never.iter().find(|words| text.contains(**words)).map(|words| format!("the console shows `{words}`"));
        let lost = shown
            .or_else(|| machine.has_panicked().then(|| "the guest's kernel gave up".to_owned()))
            .or_else(|| (machine.reset_count() > restarts).then(|| "the host restarted".to_owned()))
            .or_else(|| (started.elapsed() > PATIENCE).then(|| format!("{} s are over", PATIENCE.as_secs())));
        if let Some(reason) = lost {
            // A machine that stands still on a full disk says nothing on its console.
            let state = machine.qmp().execute("query-status", None);
            let state = state.map_or_else(|error| error.to_string(), |status| status.to_string());
            bail!("`{wanted}` does not come: {reason}; QEMU says {state}; the console ends with{}", tail(&text));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until the host says that it waits for a document; returns the line.
pub(crate) fn wait_waiting(machine: &mut Machine) -> Result<String> {
    wait_for(machine, WAITING, &[PERSONALISED]).context("the host does not say that it waits")?;
    let text = machine.serial().text()?;
    Ok(text.lines().find(|line| line.contains(WAITING)).unwrap_or_default().to_owned())
}

/// A credential that QEMU hands to the guest through SMBIOS.
pub(crate) fn credential(name: &str, bytes: Vec<u8>) -> Result<Credential> {
    Ok(Credential::smbios(name.parse().map_err(|error| anyhow::anyhow!("{error}"))?, bytes))
}

//! The machine that a guest runs in: one disk, ports that lead in, an image's output directory to start from.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use tools::ResultExt as _;

use super::{Ports, tail};
use crate::accelerator::{Accelerator, Verdict};
use crate::machine::Machine;
use crate::spec::{Disk, Firmware, MachineSpec, Network, Outbound};

/// How the machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Firmware, boot loader, signed kernel image.
    Firmware,
    /// QEMU loads kernel and initrd of the output directory itself.
    Direct,
}

/// A disk and everything that is needed to switch it on.
#[derive(Debug)]
pub struct Guest {
    /// The image's output directory.
    pub output: PathBuf,
    /// The tree that holds QEMU and firmware.
    pub tree: PathBuf,
    /// Where variables, logs and sockets go.
    pub dir: PathBuf,
    /// The disk.
    pub disk: PathBuf,
    /// Ports that lead in.
    pub ports: Ports,
    /// Memory in MiB.
    pub memory: u32,
    /// Whether the guest reaches the world.
    pub outbound: Outbound,
}

/// What runs the guest, in one line; QEMU's own words can fill a screen.
pub fn accelerator_text(verdict: &Verdict) -> String {
    let reason = verdict.reason.split(": ").next().unwrap_or_default().trim();
    match verdict.accelerator {
        Accelerator::Kvm => format!("kvm: {reason}"),
        Accelerator::Tcg => format!("emulation, which is slow: {reason}"),
    }
}

impl Guest {
    /// Switches the machine on; its logs are in the folder `name` of the guest's directory.
    pub fn start(&self, start: Start, name: &str) -> Result<Machine> {
        self.start_as(&self.spec(start)?, name)
    }

    /// Switches on a machine that differs from [`Self::spec`].
    pub fn start_as(&self, spec: &MachineSpec, name: &str) -> Result<Machine> {
        let dir = self.log_dir(name);
        Machine::start(spec, &self.tree, &dir).remedied().with_context(|| {
            let said = fs::read_to_string(dir.join("qemu.log")).unwrap_or_default();
            format!("the machine does not start; QEMU says{}", tail(&said))
        })
    }

    /// Where the logs of a start are.
    pub fn log_dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The machine as it is started, with what runs its instructions best here.
    pub fn spec(&self, start: Start) -> Result<MachineSpec> {
        let mut spec = self.plan(start)?;
        spec.accelerator = Accelerator::probe(&self.tree, &self.output.join("linux")).accelerator;
        Ok(spec)
    }

    fn plan(&self, start: Start) -> Result<MachineSpec> {
        let firmware = match start {
            Start::Firmware => Firmware::Uefi { code: Firmware::CODE.into(), vars: self.variables()? },
            Start::Direct => direct(&self.output)?,
        };
        let mut spec = MachineSpec::new(firmware);
        spec.memory_mib = self.memory;
        spec.disks = vec![Disk::new(&self.disk)];
        spec.network = Network::User { forwards: self.ports.forwards(), outbound: self.outbound };
        Ok(spec)
    }

    /// The guest's own copy of the firmware's variables.
    fn variables(&self) -> Result<PathBuf> {
        let path = self.dir.join("vars.fd");
        if !path.exists() {
            fs::write(&path, fs::read(self.tree.join(Firmware::VARS.trim_start_matches('/')))?)?;
        }
        Ok(path)
    }
}

fn direct(output: &Path) -> Result<Firmware> {
    let cmdline = fs::read_to_string(output.join("cmdline"))?.trim().to_owned();
    Ok(Firmware::DirectKernel { kernel: output.join("linux"), initrd: Some(output.join("initrd.cpio.zst")), cmdline })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(dir: &Path) -> Guest {
        Guest {
            output: dir.to_owned(),
            tree: dir.join("tree"),
            dir: dir.to_owned(),
            disk: dir.join("disk.raw"),
            ports: Ports { https: 8443, http: 8080, ssh: 8022 },
            memory: 2048,
            outbound: Outbound::Blocked,
        }
    }

    #[test]
    fn firmware_start_changes_only_its_own_copy_of_the_variables() {
        let dir = tempfile::tempdir().unwrap();
        let guest = guest(dir.path());
        let store = guest.tree.join(Firmware::VARS.trim_start_matches('/'));
        fs::create_dir_all(store.parent().unwrap()).unwrap();
        fs::write(&store, "empty").unwrap();
        let spec = guest.plan(Start::Firmware).unwrap();
        let Firmware::Uefi { vars, .. } = &spec.firmware else { panic!("{:?}", spec.firmware) };
        assert!(*vars != store && fs::read_to_string(vars).unwrap() == "empty");
        // What the firmware has written is kept for the next start.
        fs::write(vars, "boot order").unwrap();
        guest.plan(Start::Firmware).unwrap();
        assert_eq!(fs::read_to_string(vars).unwrap(), "boot order");
    }

    #[test]
    fn the_reason_for_emulation_takes_one_line() {
        let reason = "KVM is there but runs no guest: `qemu -accel kvm` ended with signal 6\n  | assertion".to_owned();
        let text = accelerator_text(&Verdict { accelerator: Accelerator::Tcg, reason });
        assert_eq!(text, "emulation, which is slow: KVM is there but runs no guest");
    }

    #[test]
    fn direct_start_uses_the_signed_command_line_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cmdline"), "roothash=00 ro\n").unwrap();
        let spec = guest(dir.path()).plan(Start::Direct).unwrap();
        let Firmware::DirectKernel { cmdline, .. } = &spec.firmware else { panic!("{:?}", spec.firmware) };
        assert_eq!((cmdline.as_str(), spec.memory_mib, spec.disks.len()), ("roothash=00 ro", 2048, 1));
    }
}

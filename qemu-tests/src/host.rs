//! A host under test: a disk that was flashed from an image, and the machine that is plugged into it for a while.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;
use tools::{HostRunner, ResultExt as _, Runner as _, Tool};
use vm::{Accelerator, Credential, Disk, Firmware, Forward, Machine, MachineSpec, Network, Outbound};

use crate::artifacts::{Artifacts, Image, say};

/// The longest time to a personalised host: an emulated machine beside another one, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);
/// The smallest disk that is supported.
const DISK_BYTES: u64 = 8 << 30;

/// How the machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// QEMU loads kernel and initrd: where the firmware is not the claim.
    Direct,
    /// Firmware, boot loader, signed kernel image.
    Uefi,
}

/// A disk and what belongs to it.
pub(crate) struct TestHost<'a> {
    artifacts: &'a Artifacts,
    image: Image,
    pub(crate) dir: PathBuf,
    pub(crate) disk: PathBuf,
    pub(crate) ports: Ports,
    boots: u32,
}

/// Ports of the loopback address that lead into the guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) ssh: u16,
    pub(crate) http: u16,
    pub(crate) https: u16,
}

impl<'a> TestHost<'a> {
    /// "Flashes" the image onto a new disk of the smallest size.
    pub(crate) fn new(artifacts: &'a Artifacts, image: Image, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let disk = dir.join("disk.raw");
        copy_sparse(&artifacts.image(image).join("disk.raw"), &disk)?;
        fs::OpenOptions::new().write(true).open(&disk)?.set_len(DISK_BYTES)?;
        Ok(Self { artifacts, image, dir: dir.to_owned(), disk, ports: Ports::free()?, boots: 0 })
    }

    /// Puts a document on the EFI system partition, signed by the development operator.
    pub(crate) fn personalise(&self, document: &Path) -> Result<()> {
        let arguments = ["personalise", &self.disk.to_string_lossy(), &document.to_string_lossy()];
        self.artifacts.casemate(&arguments, 0).map(drop)
    }

    /// The description of the machine, for scenarios that change it before they start it.
    pub(crate) fn spec(&self, start: Start) -> Result<MachineSpec> {
        let output = self.artifacts.image(self.image);
        let firmware = match start {
            Start::Direct => Firmware::DirectKernel {
                kernel: output.join("linux"),
                initrd: Some(output.join("initrd.cpio.zst")),
                cmdline: fs::read_to_string(output.join("cmdline"))?,
            },
            Start::Uefi => {
                let vars = self.dir.join("vars.fd");
                if !vars.exists() {
                    fs::copy(self.artifacts.run_tree().join(Firmware::VARS.trim_start_matches('/')), &vars)?;
                }
                Firmware::Uefi { code: Firmware::CODE.into(), vars }
            }
        };
        let forwards = [(self.ports.ssh, 22), (self.ports.http, 80), (self.ports.https, 443)];
        let mut spec = MachineSpec::new(firmware);
        spec.disks = vec![Disk::new(&self.disk)];
        spec.network = Network::User {
            forwards: forwards.map(|(host_port, guest_port)| Forward { host_port, guest_port }).into(),
            outbound: Outbound::Blocked,
        };
        spec.accelerator = Accelerator::probe(self.artifacts.run_tree()).accelerator;
        Ok(spec)
    }

    /// Switches the machine on.
    pub(crate) fn boot(&mut self, spec: &MachineSpec) -> Result<Machine> {
        self.boots += 1;
        let dir = self.dir.join(format!("boot-{}", self.boots));
        let machine = Machine::start(spec, self.artifacts.run_tree(), &dir).remedied()?;
        say(&format!("{}: power on, log in {}", self.dir.file_name().unwrap_or_default().display(), dir.display()));
        Ok(machine)
    }

    /// Switches the machine on and waits until it says that it is healthy.
    pub(crate) fn boot_healthy(&mut self, start: Start) -> Result<(Machine, Identity)> {
        let mut machine = self.boot(&self.spec(start)?)?;
        let identity = wait_personalised(&mut machine)?;
        machine.wait_for_serial("casemate: healthy", PATIENCE).context("the host does not become healthy")?;
        say(&format!(
            "{}: healthy after {:.0} s",
            self.dir.file_name().unwrap_or_default().display(),
            machine.uptime().as_secs_f64()
        ));
        Ok((machine, identity))
    }
}

impl Ports {
    /// Three ports that nobody uses at this moment.
    fn free() -> Result<Self> {
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
        let mut ports = Vec::new();
        for listener in &listeners {
            let listener = listener.as_ref().map_err(|error| anyhow::anyhow!("no free port: {error}"))?;
            ports.push(listener.local_addr()?.port());
        }
        Ok(Self { ssh: ports[0], http: ports[1], https: ports[2] })
    }
}

/// What a host shows of its identity on the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The line that only a personalised host prints.
    pub(crate) line: String,
    /// Fingerprints of the ssh host keys.
    pub(crate) ssh_keys: Vec<String>,
    /// Fingerprints of the certificates.
    pub(crate) certificates: Vec<String>,
}

impl Identity {
    /// Reads the identity from a console; `line` is the one that says that the host is personalised.
    pub(crate) fn read(line: &str, console: &str) -> Self {
        let after = |prefix: &str| -> Vec<String> {
            let mut found: Vec<String> =
                console.lines().filter_map(|line| Some(line.split_once(prefix)?.1.trim().to_owned())).collect();
            found.sort();
            found.dedup();
            found
        };
        let line = line.split_once("casemate: ").map_or(line, |(_, rest)| rest).trim().to_owned();
        Self { line, ssh_keys: after("casemate: ssh-key "), certificates: after("casemate: certificate ") }
    }
}

/// Waits for the agent's line and reads the identity beside it.
pub(crate) fn wait_personalised(machine: &mut Machine) -> Result<Identity> {
    let line =
        machine.wait_for_serial("casemate: personalised as ", PATIENCE).context("the host is not personalised")?;
    Ok(Identity::read(&line, &machine.serial().text()?))
}

/// A credential that QEMU hands to the guest through SMBIOS.
pub(crate) fn credential(name: &str, bytes: Vec<u8>) -> Result<Credential> {
    Ok(Credential::smbios(name.parse().map_err(|error| anyhow::anyhow!("{error}"))?, bytes))
}

/// Copies an image with its holes.
pub(crate) fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let tool = Tool::new("cp").args(["--sparse=always", "--"]).args([from.as_os_str(), to.as_os_str()]);
    HostRunner::new().run(&tool).remedied().map(drop)
}

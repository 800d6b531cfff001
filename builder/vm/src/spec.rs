//! Description of a machine: what is plugged in, as plain values.
//!
//! Says nothing of QEMU's options; [`crate::arguments`] turns it into a command.

use std::path::PathBuf;

use crate::accelerator::Accelerator;
use crate::credential::Credential;

/// The port a disk is plugged into, which decides its driver and name in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// virtio-blk: `/dev/vda`.
    VirtioBlk,
    /// virtio-scsi: `/dev/sda`.
    VirtioScsi,
    /// `NVMe`: `/dev/nvme0n1`.
    Nvme,
    /// SATA: `/dev/sda`.
    Ahci,
    /// A stick in a USB 3 port: `/dev/sda`.
    Usb,
}

/// What becomes of the guest's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// They go into the file.
    Kept,
    /// They are thrown away at the end; the file is not touched.
    Snapshot,
    /// The guest is told that the disk cannot be written.
    ReadOnly,
}

/// A raw disk image, or a device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The file on the host.
    pub path: PathBuf,
    /// Where it is plugged in.
    pub interface: Interface,
    /// What becomes of writes.
    pub persistence: Persistence,
    /// A file of the host in which writes and flushes are recorded as well ([`crate::replay`]); only for writes that are kept.
    pub log: Option<PathBuf>,
}

impl Disk {
    /// A virtio disk whose writes are kept.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), interface: Interface::VirtioBlk, persistence: Persistence::Kept, log: None }
    }
}

/// How the machine finds its kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// UEFI without Secure Boot. `code` is a path in the QEMU tree, `vars` a writable copy on the host.
    Uefi {
        /// Such as [`Firmware::CODE`].
        code: PathBuf,
        /// Copy of [`Firmware::VARS`]; the guest changes it.
        vars: PathBuf,
    },
    /// UEFI that enforces signatures once keys are enrolled in `vars`.
    SecureBoot {
        /// Such as [`Firmware::SECURE_CODE`].
        code: PathBuf,
        /// Variable store on the host, with or without keys.
        vars: PathBuf,
    },
    /// No firmware work: QEMU loads the kernel itself.
    DirectKernel {
        /// Kernel image on the host.
        kernel: PathBuf,
        /// Initrd on the host.
        initrd: Option<PathBuf>,
        /// Kernel command line.
        cmdline: String,
    },
}

impl Firmware {
    /// Debian's OVMF code without Secure Boot, as a path in the QEMU tree.
    pub const CODE: &'static str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
    /// Debian's OVMF code with Secure Boot and SMM.
    pub const SECURE_CODE: &'static str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
    /// Debian's empty variable store.
    pub const VARS: &'static str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
}

/// A TCP port of the host's loopback address that leads into the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Port on 127.0.0.1 of the host.
    pub host_port: u16,
    /// Port in the guest.
    pub guest_port: u16,
}

/// Whether the guest may reach the world through the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// Only forwarded connections work.
    Blocked,
    /// The guest reaches what the host reaches.
    Allowed,
}

/// The guest's network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// No card.
    None,
    /// QEMU's own network stack.
    User {
        /// Ports that lead in.
        forwards: Vec<Forward>,
        /// What leads out.
        outbound: Outbound,
    },
    /// An existing tap interface.
    Tap {
        /// Its name.
        name: String,
        /// The network namespace that holds it; the host's when absent.
        namespace: Option<PathBuf>,
    },
}

/// A whole machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSpec {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// Disks in boot order.
    pub disks: Vec<Disk>,
    /// Where the kernel comes from.
    pub firmware: Firmware,
    /// The network card.
    pub network: Network,
    /// What the guest's systemd is handed.
    pub credentials: Vec<Credential>,
    /// What runs the guest's instructions.
    pub accelerator: Accelerator,
    /// Whether a hardware watchdog (i6300esb) is plugged in.
    pub watchdog: bool,
}

impl MachineSpec {
    /// A machine with 1 GiB, two processors, nothing plugged in, emulated.
    pub fn new(firmware: Firmware) -> Self {
        Self {
            memory_mib: 1024,
            cpus: 2,
            disks: Vec::new(),
            firmware,
            network: Network::None,
            credentials: Vec::new(),
            accelerator: Accelerator::Tcg,
            watchdog: false,
        }
    }
}

//! Turns the description of a machine into QEMU's command line and the files it needs to see.
//!
//! Pure: no file is opened, no port is taken. Inside the sandbox every host file has a plain name below
//! `/run/machine`, so no path of the host can contain a character that QEMU's option syntax would read.

use std::path::{Path, PathBuf};

use tools::{Access, Bind, Tool};

use crate::accelerator::Accelerator;
use crate::credential::Channel;
use crate::spec::{Disk, Firmware, Interface, MachineSpec, Network, Outbound, Persistence};

/// The machine's own directory inside the sandbox: sockets, log, scratch.
pub const WORK: &str = "/run/machine";
/// Name of the control socket in the machine's directory.
pub const QMP_SOCKET: &str = "qmp.sock";
/// Name of the serial log in the machine's directory.
pub const SERIAL_LOG: &str = "serial.log";
/// Name of the socket for typing on the serial line.
pub const SERIAL_SOCKET: &str = "serial.sock";

/// A command for the sandbox and what must be shown to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// QEMU with all its arguments.
    pub tool: Tool,
    /// Host files, each under its plain name.
    pub binds: Vec<Bind>,
    /// Files to write into the machine's directory first: name and content.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Plan {
    /// Plans the start of a machine.
    pub fn new(spec: &MachineSpec) -> Self {
        // QEMU keeps the writes of a snapshot in $TMPDIR; the tree's own /var/tmp is read-only.
        let tool = Tool::new("qemu-system-x86_64").env("TMPDIR", WORK);
        let mut plan = Self { tool, binds: Vec::new(), files: Vec::new() };
        plan.add_base(spec);
        plan.add_firmware(&spec.firmware);
        plan.add_disks(&spec.disks);
        plan.add_network(&spec.network);
        plan.add_credentials(spec);
        if spec.watchdog {
            plan.add(["-device", "i6300esb", "-action", "watchdog=reset"]);
        }
        plan
    }

    fn add<S: Into<String>>(&mut self, words: impl IntoIterator<Item = S>) {
        let tool = std::mem::replace(&mut self.tool, Tool::new(""));
        self.tool = tool.args(words.into_iter().map(Into::into));
    }

    /// Shows a host file under a plain name and returns its path inside.
    fn show(&mut self, source: &Path, name: &str, access: Access) -> String {
        let target = format!("/run/files/{name}");
        self.binds.push(Bind { source: source.to_owned(), target: target.clone().into(), access });
        target
    }

    fn add_base(&mut self, spec: &MachineSpec) {
        let smm = match spec.firmware {
            Firmware::SecureBoot { .. } => "q35,smm=on",
            _ => "q35",
        };
        self.add(["-nodefaults", "-no-user-config", "-display", "none", "-machine", smm]);
        self.add(spec.accelerator.options());
        if spec.accelerator == Accelerator::Kvm {
            let device = PathBuf::from("/dev/kvm");
            self.binds.push(Bind { source: device.clone(), target: device, access: Access::Writable });
        }
        self.add(["-m".to_owned(), spec.memory_mib.to_string(), "-smp".into(), spec.cpus.to_string()]);
        self.add(["-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng0"]);
        // A panic is an event for us; what follows it is the guest's decision (panic= on its command line).
        self.add(["-device", "pvpanic", "-action", "panic=none,reboot=reset,shutdown=poweroff"]);
        self.add([
            "-chardev".to_owned(),
            format!(
                "socket,id=serial0,path={WORK}/{SERIAL_SOCKET},server=on,wait=off,\
                 logfile={WORK}/{SERIAL_LOG},logappend=on"
            ),
            "-serial".into(),
            "chardev:serial0".into(),
        ]);
        // `wait=on`: the guest does not start before we listen, so no event can be missed.
        self.add(["-qmp".to_owned(), format!("unix:{WORK}/{QMP_SOCKET},server=on,wait=on")]);
    }

    fn add_firmware(&mut self, firmware: &Firmware) {
        match firmware {
            Firmware::Uefi { code, vars } => self.add_flash(code, vars),
            Firmware::SecureBoot { code, vars } => {
                // Without this the guest's kernel could write the variable store and enrol keys.
                self.add(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
                self.add_flash(code, vars);
            }
            Firmware::DirectKernel { kernel, initrd, cmdline } => {
                let kernel = self.show(kernel, "kernel", Access::ReadOnly);
                self.add(["-kernel".to_owned(), kernel, "-append".into(), cmdline.clone()]);
                if let Some(initrd) = initrd {
                    let initrd = self.show(initrd, "initrd", Access::ReadOnly);
                    self.add(["-initrd".to_owned(), initrd]);
                }
            }
        }
    }

    fn add_flash(&mut self, code: &Path, vars: &Path) {
        let vars = self.show(vars, "vars", Access::Writable);
        let code = escape(&code.to_string_lossy());
        self.add(["-drive".to_owned(), format!("if=pflash,format=raw,unit=0,readonly=on,file={code}")]);
        self.add(["-drive".to_owned(), format!("if=pflash,format=raw,unit=1,file={vars}")]);
    }

    fn add_disks(&mut self, disks: &[Disk]) {
        if disks.iter().any(|disk| disk.interface == Interface::VirtioScsi) {
            self.add(["-device", "virtio-scsi-pci,id=scsi0"]);
        }
        if disks.iter().any(|disk| disk.interface == Interface::Usb) {
            self.add(["-device", "qemu-xhci,id=usb0"]);
        }
        for (number, disk) in disks.iter().enumerate() {
            let access = match disk.persistence {
                Persistence::Kept => Access::Writable,
                Persistence::Snapshot | Persistence::ReadOnly => Access::ReadOnly,
            };
            let file = self.show(&disk.path, &format!("disk{number}"), access);
            let mode = match disk.persistence {
                Persistence::Kept => "",
                Persistence::Snapshot => ",snapshot=on",
                Persistence::ReadOnly => ",readonly=on",
            };
            match &disk.log {
                None => {
                    let drive = format!("if=none,id=disk{number},format=raw,discard=unmap,file={file}{mode}");
                    self.add(["-drive".to_owned(), drive]);
                }
                Some(log) => self.add_recorder(number, &file, log),
            }
            self.add(["-device".to_owned(), device(number, disk)]);
        }
    }

    /// A disk whose writes and flushes are recorded. The number of entries is written with each flush.
    fn add_recorder(&mut self, number: usize, file: &str, log: &Path) {
        let log = self.show(log, &format!("log{number}"), Access::Writable);
        self.add([
            "-blockdev".to_owned(),
            format!("driver=file,node-name=disk{number}-file,filename={file},discard=unmap"),
            "-blockdev".into(),
            format!("driver=raw,node-name=disk{number}-raw,file=disk{number}-file,discard=unmap"),
            "-blockdev".into(),
            format!("driver=file,node-name=disk{number}-log,filename={log}"),
            "-blockdev".into(),
            format!("driver=blklogwrites,node-name=disk{number},file=disk{number}-raw,log=disk{number}-log,log-sector-size=512"),
        ]);
    }

    fn add_network(&mut self, network: &Network) {
        let backend = match network {
            Network::None => {
                self.add(["-nic", "none"]);
                return;
            }
            Network::User { forwards, outbound } => {
                let restrict = if *outbound == Outbound::Blocked { "on" } else { "off" };
                let rules: String = forwards
                    .iter()
                    .flat_map(|forward| {
                        let (host, guest) = (forward.host_port.to_string(), forward.guest_port.to_string());
                        [",hostfwd=tcp:127.0.0.1:".to_owned(), host, "-:".into(), guest]
                    })
                    .collect();
                format!("user,id=net0,restrict={restrict}{rules}")
            }
            Network::Tap { name, .. } => {
                let device = PathBuf::from("/dev/net/tun");
                self.binds.push(Bind { source: device.clone(), target: device, access: Access::Writable });
                format!("tap,id=net0,ifname={},script=no,downscript=no", escape(name))
            }
        };
        // Without an option ROM the firmware does not wait for a network boot.
        let card = "virtio-net-pci,netdev=net0,romfile=".to_owned();
        self.add(["-netdev".to_owned(), backend, "-device".into(), card]);
    }

    fn add_credentials(&mut self, spec: &MachineSpec) {
        for (number, credential) in spec.credentials.iter().enumerate() {
            let name = format!("credential{number}");
            self.add(credential.option(&format!("{WORK}/{name}")));
            if credential.channel == Channel::FwCfg {
                self.files.push((name, credential.bytes.clone()));
            }
        }
    }
}

/// The device of a disk; the boot order is the order of the list. QEMU takes place 0 for a kernel that it loads itself.
fn device(number: usize, disk: &Disk) -> String {
    let kind = match disk.interface {
        // The recorder puts a header before what is written: requests that QEMU merged into the largest that the host takes would be too large by one
        // piece, and the guest would see an I/O error.
        Interface::VirtioBlk if disk.log.is_some() => "virtio-blk-pci,request-merging=off".to_owned(),
        Interface::VirtioBlk => "virtio-blk-pci".to_owned(),
        Interface::VirtioScsi => "scsi-hd,bus=scsi0.0".to_owned(),
        Interface::Nvme => "nvme".to_owned(),
        Interface::Ahci => format!("ide-hd,bus=ide.{number}"),
        Interface::Usb => "usb-storage,bus=usb0.0".to_owned(),
    };
    let place = number + 1;
    format!("{kind},drive=disk{number},serial=disk{number},bootindex={place}")
}

/// In QEMU's option syntax a comma is doubled.
fn escape(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Credential;
    use crate::spec::Forward;

    fn direct() -> MachineSpec {
        MachineSpec::new(Firmware::DirectKernel {
            kernel: "/host/k,1".into(),
            initrd: Some("/host/i".into()),
            cmdline: "console=ttyS0 quiet".into(),
        })
    }

    fn shown(spec: &MachineSpec) -> String {
        Plan::new(spec).tool.to_string()
    }

    #[test]
    fn direct_kernel_boot_names_only_files_of_the_sandbox() {
        let plan = Plan::new(&direct());
        let text = plan.tool.to_string();
        assert!(text.contains("-kernel /run/files/kernel -append 'console=ttyS0 quiet' -initrd /run/files/initrd"));
        assert!(!text.contains("/host"), "{text}");
        let pairs: Vec<_> = plan.binds.iter().map(|bind| (bind.source.to_str().unwrap(), bind.access)).collect();
        assert_eq!(pairs, [("/host/k,1", Access::ReadOnly), ("/host/i", Access::ReadOnly)]);
    }

    #[test]
    fn secure_boot_needs_smm_and_a_protected_variable_store() {
        let (code, vars) = (Firmware::SECURE_CODE.into(), "/v".into());
        let text = shown(&MachineSpec::new(Firmware::SecureBoot { code, vars }));
        assert!(text.contains("-machine q35,smm=on"));
        assert!(text.contains("-global driver=cfi.pflash01,property=secure,value=on"));
        let flash = "unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
        assert!(text.contains(flash) && text.contains("unit=1,file=/run/files/vars"), "{text}");
    }

    #[test]
    fn plain_uefi_has_no_secure_flash() {
        let (code, vars) = (Firmware::CODE.into(), "/v".into());
        let text = shown(&MachineSpec::new(Firmware::Uefi { code, vars }));
        assert!(text.contains("pflash") && !text.contains("secure,value") && !text.contains("smm"), "{text}");
    }

    #[test]
    fn each_interface_and_persistence_has_its_option() {
        let mut spec = direct();
        for (interface, persistence) in [
            (Interface::VirtioBlk, Persistence::Kept),
            (Interface::VirtioScsi, Persistence::Snapshot),
            (Interface::Nvme, Persistence::ReadOnly),
            (Interface::Ahci, Persistence::Kept),
            (Interface::Usb, Persistence::ReadOnly),
        ] {
            spec.disks.push(Disk { path: "/d".into(), interface, persistence, log: None });
        }
        let plan = Plan::new(&spec);
        let text = plan.tool.to_string();
        for part in [
            "file=/run/files/disk0 -device virtio-blk-pci,drive=disk0,serial=disk0,bootindex=1",
            "file=/run/files/disk1,snapshot=on -device scsi-hd,bus=scsi0.0,drive=disk1",
            "file=/run/files/disk2,readonly=on -device nvme,drive=disk2",
            "file=/run/files/disk3 -device ide-hd,bus=ide.3,drive=disk3",
            "file=/run/files/disk4,readonly=on -device usb-storage,bus=usb0.0,drive=disk4",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let access: Vec<_> = plan.binds.iter().skip(2).map(|bind| bind.access).collect();
        assert_eq!(access, [Access::Writable, Access::ReadOnly, Access::ReadOnly, Access::Writable, Access::ReadOnly]);
    }

    #[test]
    fn a_recorded_disk_is_written_through_its_recorder_and_request_by_request() {
        let mut spec = direct();
        let recorded = Disk { log: Some("/w.log".into()), ..Disk::new("/d.raw") };
        spec.disks = vec![recorded, Disk::new("/e.raw")];
        let text = shown(&spec);
        assert!(text.contains("driver=blklogwrites,node-name=disk0,file=disk0-raw,log=disk0-log,log-sector-size=512"));
        assert!(text.contains("virtio-blk-pci,request-merging=off,drive=disk0"), "{text}");
        assert!(text.contains("virtio-blk-pci,drive=disk1") && !text.contains("node-name=disk1"), "{text}");
    }

    #[test]
    fn user_network_listens_on_loopback_only_and_blocks_the_way_out() {
        let mut spec = direct();
        let forwards = vec![Forward { host_port: 2222, guest_port: 22 }, Forward { host_port: 8443, guest_port: 443 }];
        spec.network = Network::User { forwards, outbound: Outbound::Blocked };
        let expected =
            "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=tcp:127.0.0.1:8443-:443 -device";
        assert!(shown(&spec).contains(expected), "{}", shown(&spec));
    }

    #[test]
    fn a_machine_without_network_has_no_card() {
        let text = shown(&direct());
        assert!(text.contains("-nic none") && !text.contains("virtio-net"));
    }

    #[test]
    fn kvm_shows_its_device_and_tcg_does_not() {
        let mut spec = direct();
        assert!(!Plan::new(&spec).binds.iter().any(|bind| bind.source.ends_with("kvm")));
        spec.accelerator = Accelerator::Kvm;
        assert!(Plan::new(&spec).binds.iter().any(|bind| bind.source.ends_with("kvm")));
        assert!(shown(&spec).contains("-accel kvm -cpu host"));
    }

    #[test]
    fn fw_cfg_credentials_are_files_and_smbios_ones_are_not() {
        let mut spec = direct();
        spec.credentials.push(Credential::smbios("a".parse().unwrap(), "x"));
        spec.credentials.push(Credential::fw_cfg("b".parse().unwrap(), "y"));
        let plan = Plan::new(&spec);
        assert_eq!(plan.files, [("credential1".to_owned(), b"y".to_vec())]);
        let text = plan.tool.to_string();
        assert!(text.contains("name=opt/io.systemd.credentials/b,file=/run/machine/credential1"), "{text}");
        assert!(text.contains("io.systemd.credential.binary:a=eA=="), "{text}");
    }
}

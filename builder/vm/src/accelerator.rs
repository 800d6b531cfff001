//! What runs the guest's instructions: the processor, if it really does, or QEMU's emulation.
//!
//! That `/dev/kvm` opens proves nothing: some hosts offer a KVM on which QEMU aborts or the guest stands
//! still. So a guest of one sector is run and must say its word and leave with its own status.

use std::fmt;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use tools::{PathError, Runner, Sandbox, SandboxRunner, Tool};

/// What the guest writes to its serial port.
const WORD: &str = "casemate-probe\r\n";
/// QEMU's status when the guest writes 0x10 to the debug-exit port: `(0x10 << 1) | 1`.
const STATUS: i32 = 33;
/// A guest that needs longer than this is of no use as an accelerator.
const LIMIT: Duration = Duration::from_secs(5);
/// Where the sector lies inside the sandbox.
const SECTOR: &str = "/run/probe/sector";

/// How guest instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor of the host.
    Kvm,
    /// By emulation, ten to thirty times slower.
    Tcg,
}

/// The choice and its reason, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What to use.
    pub accelerator: Accelerator,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

impl Accelerator {
    /// The best accelerator that works here; tried once per process.
    pub fn probe(qemu_tree: &Path) -> &'static Verdict {
        static VERDICT: OnceLock<Verdict> = OnceLock::new();
        VERDICT.get_or_init(|| {
            if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
                return emulate(format!("`/dev/kvm` cannot be opened: {error}"));
            }
            probe_in_sandbox(qemu_tree).unwrap_or_else(|error| emulate(error.to_string()))
        })
    }

    /// QEMU's words for this accelerator and its processor.
    pub(crate) fn options(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

fn probe_in_sandbox(qemu_tree: &Path) -> Result<Verdict, PathError> {
    use tools::fs::AtPath;
    let scratch = tempfile::tempdir().at("create a directory in", std::env::temp_dir())?;
    tools::fs::write(&scratch.path().join("sector"), boot_sector())?;
    let sandbox = Sandbox::new(qemu_tree).bind("/dev/kvm", "/dev/kvm").bind(scratch.path(), "/run/probe");
    Ok(judge_kvm(&SandboxRunner::new(sandbox)))
}

/// Runs the guest and takes KVM only if it did exactly what it should.
fn judge_kvm(runner: &dyn Runner) -> Verdict {
    match runner.run(&probe_tool(Accelerator::Kvm)) {
        Ok(output) if output.stdout_text().contains(WORD) => {
            Verdict { accelerator: Accelerator::Kvm, reason: "a guest ran under KVM".into() }
        }
        Ok(_) => emulate("KVM ran a guest to its end, but its word did not come".into()),
        Err(error) => emulate(format!("KVM is there but runs no guest: {error}")),
    }
}

fn emulate(reason: String) -> Verdict {
    Verdict { accelerator: Accelerator::Tcg, reason }
}

fn probe_tool(accelerator: Accelerator) -> Tool {
    Tool::new("qemu-system-x86_64")
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-m", "16"])
        .args(accelerator.options())
        .args(["-drive", &format!("if=ide,format=raw,file={SECTOR}")])
        .args(["-chardev", "stdio,id=s,signal=off", "-serial", "chardev:s"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        .timeout(LIMIT)
        .accept(&[STATUS])
}

/// A boot sector in 16-bit code: writes [`WORD`] to the first serial port, then 0x10 to port 0xf4.
fn boot_sector() -> Vec<u8> {
    const CODE: [u8; 29] = [
        0xfa, // cli
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xfc, // cld
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xbe, 0x1d, 0x7c, // mov si, 0x7c00 + 29: the word after this code
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x03, // jz done
        0xee, // out dx, al
        0xeb, 0xf8, // jmp next
        0xba, 0xf4, 0x00, // done: mov dx, 0xf4
        0xb0, 0x10, // mov al, 0x10
        0xee, // out dx, al
        0xf4, // hlt
        0xeb, 0xfd, // jmp to the hlt
    ];
    let mut sector = CODE.to_vec();
    sector.extend_from_slice(WORD.as_bytes());
    sector.resize(510, 0);
    sector.extend_from_slice(&[0x55, 0xaa]);
    sector
}

#[cfg(test)]
mod tests {
    use tools::RecordingRunner;

    use super::*;

    #[test]
    fn takes_kvm_when_the_guest_says_its_word_and_leaves() {
        let runner = RecordingRunner::new().answer(STATUS, WORD, "");
        assert_eq!(judge_kvm(&runner).accelerator, Accelerator::Kvm);
        assert!(runner.commands()[0].contains("-accel kvm -cpu host"));
    }

    #[test]
    fn emulates_when_qemu_aborts_or_the_word_is_missing() {
        for (status, text, said) in
            [(134, "", "Assertion `ret == nmsrs' failed"), (STATUS, "", ""), (0, WORD, ""), (STATUS, "casemate-pr", "")]
        {
            let verdict = judge_kvm(&RecordingRunner::new().answer(status, text, said));
            assert_eq!(verdict.accelerator, Accelerator::Tcg, "{status} {text}");
            assert!(verdict.reason.contains(said));
        }
    }

    #[test]
    fn sector_is_bootable_and_its_word_lies_where_the_code_looks() {
        let sector = boot_sector();
        assert_eq!((sector.len(), &sector[510..]), (512, [0x55, 0xaa].as_slice()));
        let address = usize::from(u16::from_le_bytes([sector[10], sector[11]])) - 0x7c00;
        assert!(sector[address..].starts_with(WORD.as_bytes()));
    }
}

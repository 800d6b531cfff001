//! What runs the guest's instructions: the processor, if it really does, or QEMU's emulation.
//!
//! That `/dev/kvm` opens proves nothing, nor that a guest of a few instructions runs: some hosts offer a KVM on which QEMU aborts, firmware
//! ends in an instruction that the host cannot do, or a kernel stands still. So a real guest is run: firmware starts the image's own kernel
//! on two processors, and that must come to its own end, a panic because nobody gave it a root.

use std::fmt;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use tools::{PathError, Runner, Sandbox, SandboxRunner, Tool};

use crate::spec::Firmware;

/// What the kernel writes to its serial port last.
const WORD: &str = "Kernel panic - not syncing: VFS";
/// A guest that needs longer than this is of no use as an accelerator: emulation needs five seconds.
const LIMIT: Duration = Duration::from_secs(20);
/// What the guest is made of, inside the sandbox.
const KERNEL: &str = "/run/probe/linux";
const VARS: &str = "/run/probe/vars.fd";

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
    /// The best accelerator that works here, tried with this kernel; once per process.
    pub fn probe(qemu_tree: &Path, kernel: &Path) -> &'static Verdict {
        static VERDICT: OnceLock<Verdict> = OnceLock::new();
        VERDICT.get_or_init(|| {
            if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
                return emulate(format!("`/dev/kvm` cannot be opened: {error}"));
            }
            probe_in_sandbox(qemu_tree, kernel).unwrap_or_else(|error| emulate(error.to_string()))
        })
    }

    /// QEMU's words for this accelerator and its processor.
    pub(crate) fn options(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // Without what makes moving strings fast on a real processor: emulated, it moves one byte after the other.
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max,erms=off,fsrm=off,fsrs=off,fzrm=off"],
        }
    }
}

fn probe_in_sandbox(qemu_tree: &Path, kernel: &Path) -> Result<Verdict, PathError> {
    use tools::fs::AtPath;
    let scratch = tempfile::tempdir().at("create a directory in", std::env::temp_dir())?;
    let vars = tools::fs::read(&qemu_tree.join(Firmware::VARS.trim_start_matches('/')))?;
    tools::fs::write(&scratch.path().join("vars.fd"), &vars)?;
    tools::fs::write(&scratch.path().join("linux"), &tools::fs::read(kernel)?)?;
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
    let code = format!("if=pflash,format=raw,unit=0,readonly=on,file={}", Firmware::CODE);
    Tool::new("qemu-system-x86_64")
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-m", "256", "-smp", "2"])
        .args(accelerator.options())
        .args(["-drive", &code, "-drive", &format!("if=pflash,format=raw,unit=1,file={VARS}")])
        // The kernel restarts at once after its panic, and QEMU ends instead.
        .args(["-kernel", KERNEL, "-append", "console=ttyS0 panic=-1", "-no-reboot"])
        .args(["-chardev", "stdio,id=s,signal=off", "-serial", "chardev:s"])
        .timeout(LIMIT)
}

#[cfg(test)]
mod tests {
    use tools::RecordingRunner;

    use super::*;

    #[test]
    fn takes_kvm_when_the_guest_says_its_word_and_leaves() {
        let runner = RecordingRunner::new().answer(0, WORD, "");
        assert_eq!(judge_kvm(&runner).accelerator, Accelerator::Kvm);
        assert!(runner.commands()[0].contains("-accel kvm -cpu host"));
    }

    #[test]
    fn emulates_when_qemu_aborts_or_the_word_is_missing() {
        let panic = "Kernel panic - not syncing: Fatal exception";
        for (status, text, said) in
            [(134, "", "Assertion `ret == nmsrs' failed"), (0, "", ""), (1, WORD, ""), (0, panic, "")]
        {
            let verdict = judge_kvm(&RecordingRunner::new().answer(status, text, said));
            assert_eq!(verdict.accelerator, Accelerator::Tcg, "{status} {text}");
            assert!(verdict.reason.contains(said));
        }
    }
}

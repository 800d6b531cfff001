//! Boots a disk or a kernel in QEMU until a word comes on the serial line: for trying by hand.
//!
//! A pattern with `!` before it is awaited past a panic.
//! `cargo run -p vm --example machine -- QEMU-TREE DIRECTORY PATTERN SECONDS (disk FILE VARS | kernel FILE INITRD CMDLINE)`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tools::{ResultExt, failure::HintExt};
use vm::{Accelerator, Disk, Firmware, Forward, Machine, MachineSpec, Network, Outbound, Persistence};

fn main() -> ExitCode {
    tools::enter_if_requested();
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => tools::report(&error),
    }
}

fn run(args: &[String]) -> anyhow::Result<()> {
    let [tree, directory, pattern, seconds, what @ ..] = args else {
        return Err(tools::Failure::refused("too few words").hint("see the head of this file").into());
    };
    let (tree, mut out) = (Path::new(tree), std::io::stdout());
    let mut spec = MachineSpec::new(firmware(what)?);
    if let [kind, file, ..] = what
        && kind == "disk"
    {
        spec.disks.push(Disk { persistence: Persistence::Snapshot, ..Disk::new(file) });
    }
    // KVM is tried with a kernel; a disk alone is emulated.
    spec.accelerator = match &spec.firmware {
        Firmware::DirectKernel { kernel, .. } => Accelerator::probe(tree, kernel).accelerator,
        _ => Accelerator::Tcg,
    };
    writeln!(out, "run by {}", spec.accelerator)?;
    let forwards = vec![Forward { host_port: 22022, guest_port: 22 }];
    spec.network = Network::User { forwards, outbound: Outbound::Blocked };
    let mut machine = Machine::start(&spec, tree, Path::new(directory)).remedied()?;
    let limit = Duration::from_secs(seconds.parse()?);
    let line = match pattern.strip_prefix('!') {
        Some(pattern) => machine.wait_for_serial_past_panic(pattern, limit),
        None => machine.wait_for_serial(pattern, limit),
    };
    let line = line.or_refuse("see serial.log in the directory")?;
    let (time, resets) = (machine.uptime().as_secs_f64(), machine.reset_count());
    writeln!(out, "`{line}` after {time:.1} s, {resets} resets, panicked: {}", machine.has_panicked())?;
    machine.cut_power();
    Ok(())
}

fn firmware(what: &[String]) -> anyhow::Result<Firmware> {
    match what {
        [kind, _, vars] if kind == "disk" => Ok(Firmware::Uefi { code: Firmware::CODE.into(), vars: vars.into() }),
        [kind, kernel, initrd, cmdline] if kind == "kernel" => Ok(Firmware::DirectKernel {
            kernel: kernel.into(),
            initrd: Some(initrd.into()).filter(|_| !initrd.is_empty()),
            cmdline: cmdline.clone(),
        }),
        _ => Err(tools::Failure::refused("neither a disk nor a kernel").hint("see the head of this file").into()),
    }
}

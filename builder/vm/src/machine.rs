//! A running machine: started, watched, powered off or cut off.
//!
//! QEMU runs in the sandbox of its own tree and dies with this process, or when the value is dropped.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use tools::fs::AtPath;
use tools::{Launcher, PathError, Remedy, Running, Sandbox, SandboxRunner, ToolError};

use crate::arguments::{Plan, QMP_SOCKET, SERIAL_LOG, SERIAL_SOCKET, WORK};
use crate::qmp::{Event, Qmp, QmpError};
use crate::serial::{OnPanic, SerialError, SerialLog};
use crate::spec::{MachineSpec, Network};

/// How long QEMU may take to open its control socket, and to answer on it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Name of QEMU's own output in the machine's directory.
const QEMU_LOG: &str = "qemu.log";

/// Why a machine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// QEMU could not be started.
    #[error("cannot start the machine")]
    Start(#[from] ToolError),
    /// A file of the machine.
    #[error("cannot prepare the machine")]
    File(#[from] PathError),
    /// QEMU ended at once.
    #[error("the machine ended with status {status} before it could be spoken to: {log}")]
    Ended {
        /// Exit status of QEMU.
        status: i32,
        /// What it said.
        log: String,
    },
    /// QEMU runs but does not answer.
    #[error("the machine opened no control socket within {PATIENCE:?}")]
    Unreachable,
    /// The guest did not end in time.
    #[error("the machine did not end within {0:?}")]
    StillRunning(Duration),
    /// The conversation failed.
    #[error(transparent)]
    Qmp(#[from] QmpError),
}

impl Remedy for MachineError {
    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Start(error) => return error.remedy(),
            Self::File(error) => return error.remedy(),
            Self::Ended { .. } => "see that the named files exist and the forwarded ports are free".into(),
            Self::Unreachable | Self::StillRunning(_) | Self::Qmp(_) => {
                "see the serial log and `qemu.log` in the machine's directory".into()
            }
        })
    }

    fn exit_kind(&self) -> tools::ExitKind {
        tools::ExitKind::Environment
    }
}

/// A machine in flight; dropping it cuts its power.
#[derive(Debug)]
pub struct Machine {
    running: Running,
    qmp: Qmp,
    serial: SerialLog,
    directory: PathBuf,
    started: Instant,
}

impl Machine {
    /// Starts the machine with QEMU from `qemu_tree`; logs and sockets are kept in `directory`, one per start.
    pub fn start(spec: &MachineSpec, qemu_tree: &Path, directory: &Path) -> Result<Self, MachineError> {
        let plan = Plan::new(spec);
        tools::fs::create_dir_all(directory)?;
        for name in [QMP_SOCKET, SERIAL_SOCKET, SERIAL_LOG] {
            tools::fs::remove_file_if_exists(&directory.join(name))?;
        }
        for (name, bytes) in &plan.files {
            tools::fs::write(&directory.join(name), bytes)?;
        }
        let sandbox = Sandbox::new(qemu_tree).network(sandbox_network(&spec.network)).bind(directory, WORK);
        let runner = SandboxRunner::new(sandbox.binds(plan.binds));
        let started = Instant::now();
        let mut running = runner.launch(&plan.tool, &directory.join(QEMU_LOG))?;
        let qmp = Qmp::over(connect(directory, &mut running)?, PATIENCE)?;
        let serial = SerialLog::new(directory.join(SERIAL_LOG));
        Ok(Self { running, qmp, serial, directory: directory.to_owned(), started })
    }

    /// Waits for a line on the serial console; a panic of the guest fails the wait at once.
    pub fn wait_for_serial(&mut self, pattern: &str, limit: Duration) -> Result<String, SerialError> {
        self.wait_serial(pattern, limit, OnPanic::Fail)
    }

    /// Waits for a line on the serial console where the guest is meant to panic.
    pub fn wait_for_serial_past_panic(&mut self, pattern: &str, limit: Duration) -> Result<String, SerialError> {
        self.wait_serial(pattern, limit, OnPanic::Ignore)
    }

    fn wait_serial(&mut self, pattern: &str, limit: Duration, on_panic: OnPanic) -> Result<String, SerialError> {
        let running = &mut self.running;
        self.serial.wait_for(pattern, limit, on_panic, || running.try_status().is_none())
    }

    /// Opens the serial line for typing; what the guest writes is in the log as well.
    pub fn open_serial(&self) -> Result<UnixStream, PathError> {
        connect_in(&self.directory, SERIAL_SOCKET)
    }

    /// The serial log.
    pub fn serial(&self) -> &SerialLog {
        &self.serial
    }

    /// The control conversation, for commands without a method here.
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// Time since the power was switched on.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// How often the guest has reset itself.
    pub fn reset_count(&self) -> usize {
        self.qmp.events().iter().filter(|event| is_guest_reset(event)).count()
    }

    /// Whether the guest's kernel has reported a panic.
    pub fn has_panicked(&self) -> bool {
        self.qmp.events().iter().any(|event| event.name == "GUEST_PANICKED")
    }

    /// Presses the power button and waits for the guest to end in good order.
    pub fn power_off(&mut self, limit: Duration) -> Result<i32, MachineError> {
        match self.qmp.execute("system_powerdown", None) {
            Ok(_) | Err(QmpError::Closed { .. }) => self.wait_exit(limit),
            Err(error) => Err(error.into()),
        }
    }

    /// Cuts the power: nothing in the guest gets another instruction. What it had written stays written.
    pub fn cut_power(&mut self) {
        self.running.kill();
    }

    /// Waits until the machine has ended by itself; returns QEMU's status.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<i32, MachineError> {
        self.running.wait_timeout(limit).ok_or(MachineError::StillRunning(limit))
    }
}

fn is_guest_reset(event: &Event) -> bool {
    event.name == "RESET" && event.data.get("guest").and_then(serde_json::Value::as_bool) == Some(true)
}

/// User networking is done by QEMU itself with ordinary sockets of the host.
fn sandbox_network(network: &Network) -> tools::Network {
    match network {
        Network::None => tools::Network::None,
        Network::Tap { namespace: Some(path), .. } => tools::Network::Namespace(path.clone()),
        Network::User { .. } | Network::Tap { namespace: None, .. } => tools::Network::Host,
    }
}

fn connect(directory: &Path, running: &mut Running) -> Result<UnixStream, MachineError> {
    let started = Instant::now();
    loop {
        if let Ok(stream) = connect_in(directory, QMP_SOCKET) {
            return Ok(stream);
        }
        if let Some(status) = running.try_status() {
            let log = tools::fs::read(&directory.join(QEMU_LOG))?;
            return Err(MachineError::Ended { status, log: String::from_utf8_lossy(&log).trim().to_owned() });
        }
        if started.elapsed() > PATIENCE {
            return Err(MachineError::Unreachable);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Connects to a socket in a directory whose path may be longer than a socket address can hold (108 bytes).
fn connect_in(directory: &Path, name: &str) -> Result<UnixStream, PathError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = File::from(rustix::fs::open(directory, flags, Mode::empty()).at("open directory", directory)?);
    let short = format!("/proc/self/fd/{}/{name}", handle.as_raw_fd());
    UnixStream::connect(short).at("connect to", directory.join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use serde_json::json;

    use super::*;

    #[test]
    fn only_resets_by_the_guest_count() {
        let event = |guest: bool| Event { name: "RESET".into(), data: json!({ "guest": guest }) };
        assert!(is_guest_reset(&event(true)) && !is_guest_reset(&event(false)));
    }

    #[test]
    fn reaches_a_socket_below_a_very_long_path() {
        let scratch = tempfile::tempdir().unwrap();
        let deep = scratch.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let current = std::fs::File::open(&deep).unwrap();
        let _listener = UnixListener::bind(format!("/proc/self/fd/{}/s", current.as_raw_fd())).unwrap();
        connect_in(&deep, "s").unwrap();
        assert_eq!(connect_in(&deep, "t").unwrap_err().path, deep.join("t"));
    }
}

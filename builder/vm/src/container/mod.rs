//! A root tree booted as a container, at native speed, by systemd-nspawn from the tools tree.
//!
//! nspawn leaves the container's PID 1 behind when it is killed; here it runs in a sandbox whose end takes
//! everything along. The network is a namespace made by the caller, or one with only `lo`.

mod error;
mod machine_id;
mod plan;
mod spec;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tools::{JoinRunner, Launcher, Output, Runner, Running, SandboxRunner, Tool, ToolError};

pub use error::ContainerError;
pub use machine_id::{MachineId, MachineIdError};
pub use spec::{ContainerSpec, RootMode};

use crate::cgroup::Cgroup;
use crate::serial::{OnPanic, SerialError, SerialLog};

/// Time between two looks at a container that starts.
const INTERVAL: Duration = Duration::from_millis(100);
/// Name of nspawn's and the container's console output in the container's directory.
const CONSOLE_LOG: &str = "console.log";

/// A container in flight; dropping it kills everything inside.
#[derive(Debug)]
pub struct Container {
    // Dropped in this order: first the processes, then their group.
    running: Running,
    group: Cgroup,
    console: SerialLog,
    leader: i32,
    started: Instant,
}

impl Container {
    /// Starts the container and waits until it has a PID 1; `directory` keeps its console log.
    pub fn start(
        spec: &ContainerSpec,
        tools_tree: &Path,
        directory: &Path,
        limit: Duration,
    ) -> Result<Self, ContainerError> {
        tools::fs::create_dir_all(directory)?;
        let group = Cgroup::new()?;
        let (sandbox, tool) = plan::plan(spec, tools_tree, group.path());
        let sandbox = plan::hand_over(&spec.credentials, directory, sandbox)?;
        let console = SerialLog::new(directory.join(CONSOLE_LOG));
        let running = SandboxRunner::new(sandbox).launch(&tool, console.path())?;
        let mut container = Self { running, group, console, leader: 0, started: Instant::now() };
        container.leader = container.poll(limit, |container| match find_leader(container.group.path()) {
            Some(leader) => Ok(leader),
            None => Err("not started".into()),
        })?;
        Ok(container)
    }

    /// Waits until systemd has nothing more to start; returns `running` or `degraded`.
    pub fn wait_booted(&mut self, limit: Duration) -> Result<String, ContainerError> {
        let tool = Tool::new("systemctl").arg("is-system-running").accept(&(0..=255).collect::<Vec<_>>());
        self.poll(limit, |container| {
            let state = container.exec(&tool).map_or_else(|_| "not started".into(), |output| output.stdout_text());
            match state.trim() {
                booted @ ("running" | "degraded" | "maintenance") => Ok(booted.to_owned()),
                other => Err(other.to_owned()),
            }
        })
    }

    /// Waits for a line on the container's console.
    pub fn wait_for_console(&mut self, pattern: &str, limit: Duration) -> Result<String, SerialError> {
        let running = &mut self.running;
        self.console.wait_for(pattern, limit, OnPanic::Fail, || running.try_status().is_none())
    }

    /// What the container has written to its console.
    pub fn console(&self) -> &SerialLog {
        &self.console
    }

    /// Time since it was started.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs a program of the container inside it, as root.
    pub fn exec(&self, tool: &Tool) -> Result<Output, ToolError> {
        self.runner().run(tool)
    }

    /// A runner for programs of the container.
    pub fn runner(&self) -> JoinRunner {
        JoinRunner::new(self.leader)
    }

    /// The container's PID 1, as numbered on the host.
    pub fn leader(&self) -> i32 {
        self.leader
    }

    /// The path of the container's network namespace.
    pub fn network(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.leader).into()
    }

    /// Asks systemd to power off and waits for the end.
    pub fn power_off(&mut self, limit: Duration) -> Result<i32, ContainerError> {
        // The answer may be lost with the container that gives it.
        let _ = self.exec(&Tool::new("systemctl").arg("poweroff").accept(&(0..=255).collect::<Vec<_>>()));
        let log = self.log();
        self.running.wait_timeout(limit).ok_or(ContainerError::TimedOut { state: "stopping".into(), limit, log })
    }

    /// Kills everything inside at once.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    fn log(&self) -> String {
        self.console.text().unwrap_or_default().trim().to_owned()
    }

    /// Looks again and again; the error of a look is the state to report when the time is over.
    fn poll<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(&Self) -> Result<T, String>,
    ) -> Result<T, ContainerError> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.running.try_status() {
                return Err(ContainerError::Ended { status, log: self.log() });
            }
            match look(self) {
                Ok(found) => return Ok(found),
                Err(state) if started.elapsed() >= limit => {
                    return Err(ContainerError::TimedOut { state, limit, log: self.log() });
                }
                Err(_) => thread::sleep(INTERVAL),
            }
        }
    }
}

/// PID 1 of the container: in its first group, the process that has number 1 in its own namespace.
fn find_leader(group: &Path) -> Option<i32> {
    let list = std::fs::read_to_string(group.join("payload/init.scope/cgroup.procs")).ok()?;
    let is_first = |id: &&str| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        is_namespace_init(&status)
    };
    list.lines().find(is_first)?.parse().ok()
}

/// The last number of `NSpid` is the one in the innermost namespace (`proc_pid_status(5)`).
fn is_namespace_init(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.and_then(|numbers| numbers.split_whitespace().last()) == Some("1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_is_known_by_its_innermost_number() {
        assert!(is_namespace_init("Name:\tsystemd\nNSpid:\t812\t7\t1\n"));
        assert!(!is_namespace_init("NSpid:\t1\t12\n") && !is_namespace_init("") && !is_namespace_init("NSpid:\n"));
    }
}

//! A root tree booted as a container, at native speed, by systemd-nspawn from the tools tree.
//!
//! nspawn leaves the container's PID 1 behind when it is killed; here it runs in a sandbox whose end takes
//! everything along. The network is a namespace made by the caller, or one with only `lo`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use tools::{
    Access, Bind, JoinRunner, Launcher, Network, Output, PathError, Runner, Running, Sandbox, SandboxRunner, Tool,
    ToolError,
};

use crate::cgroup::Cgroup;
use crate::credential::Credential;
use crate::serial::{OnPanic, SerialError, SerialLog};

/// Time between two looks at a container that starts.
const INTERVAL: Duration = Duration::from_millis(100);
/// Name of nspawn's and the container's console output in the container's directory.
const CONSOLE_LOG: &str = "console.log";
/// Where credentials lie, in the container's directory and below [`INSIDE`].
const CREDENTIALS: &str = "credentials";
/// Where the container's directory lies inside the sandbox.
const INSIDE: &str = "/run/container";
/// Where the root tree lies inside the sandbox.
const ROOT: &str = "/run/container/root";

/// A machine id: 32 hexadecimal digits, not all zero (machine-id(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineId(String);

/// A text that is no machine id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no machine id, use 32 lower case hexadecimal digits that are not all zero")]
pub struct MachineIdError(String);

impl FromStr for MachineId {
    type Err = MachineIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if digits && text.bytes().any(|b| b != b'0') { Ok(Self(text.into())) } else { Err(MachineIdError(text.into())) }
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the root tree is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootMode {
    /// As on a real host: only what is bound or in memory can be written.
    ReadOnly,
    /// Writes go to memory and are lost at the end.
    Volatile,
}

/// A container to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSpec {
    /// The root tree on the host; never written.
    pub root: PathBuf,
    /// How it is mounted.
    pub mode: RootMode,
    /// Host directories seen inside, such as the state at `/var`.
    pub binds: Vec<Bind>,
    /// The id that PID 1 finds.
    pub machine_id: MachineId,
    /// A network namespace by path; without it one that has only `lo`.
    pub network: Option<PathBuf>,
    /// Named bytes for PID 1 and its units; the channel is for machines and means nothing here.
    pub credentials: Vec<Credential>,
    /// Words for PID 1, in the form of a kernel command line.
    pub init_args: Vec<String>,
    /// Capabilities beyond nspawn's own list, such as `CAP_SYS_MODULE`.
    pub capabilities: Vec<String>,
}

impl ContainerSpec {
    /// A read-only container without network.
    pub fn new(root: impl Into<PathBuf>, machine_id: MachineId) -> Self {
        Self {
            root: root.into(),
            mode: RootMode::ReadOnly,
            binds: Vec::new(),
            machine_id,
            network: None,
            credentials: Vec::new(),
            init_args: Vec::new(),
            capabilities: Vec::new(),
        }
    }
}

/// Why a container cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// A program failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file of the container.
    #[error("cannot prepare the container")]
    File(#[from] PathError),
    /// It ended while it was needed.
    #[error("the container ended with status {status}: {log}")]
    Ended {
        /// Exit status of nspawn.
        status: i32,
        /// What it said.
        log: String,
    },
    /// It did not come up, or not go down.
    #[error("the container is `{state}` after {limit:?}: {log}")]
    TimedOut {
        /// What systemd says of itself, or `not started`.
        state: String,
        /// The limit.
        limit: Duration,
        /// What nspawn said.
        log: String,
    },
}

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
        let (mut sandbox, tool) = plan(spec, tools_tree, group.path());
        if !spec.credentials.is_empty() {
            let credentials = directory.join(CREDENTIALS);
            write_credentials(&spec.credentials, &credentials)?;
            sandbox = sandbox.bind_read_only(credentials, format!("{INSIDE}/{CREDENTIALS}"));
        }
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

/// One file for each, by its number: a name can be anything that systemd accepts.
fn write_credentials(credentials: &[Credential], directory: &Path) -> Result<(), PathError> {
    tools::fs::create_dir_all(directory)?;
    let mut numbered = credentials.iter().enumerate();
    numbered
        .try_for_each(|(number, credential)| tools::fs::write(&directory.join(number.to_string()), &credential.bytes))
}

/// The sandbox and the command, without touching anything.
fn plan(spec: &ContainerSpec, tools_tree: &Path, group: &Path) -> (Sandbox, Tool) {
    let network = spec.network.clone().map_or(Network::None, Network::Namespace);
    let mut sandbox = Sandbox::new(tools_tree).network(network).cgroup(group).bind_read_only(&spec.root, ROOT);
    // `--link-journal=no`: the sandbox has no machine id. `--keep-unit`: there is no systemd to ask.
    // `--console=read-only`: a terminal of its own at `/dev/console`, which a program can open by name.
    // The network namespace is the sandbox's own, so the container may manage it: networkd asks for the capability.
    let mut tool = Tool::new("systemd-nspawn")
        .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--link-journal=no", "--console=read-only"])
        .args([
            "--network-namespace-path=/proc/1/ns/net",
            "--capability=CAP_NET_ADMIN",
            "--resolv-conf=off",
            "--timezone=off",
        ])
        .arg(format!("--directory={ROOT}"))
        .arg(format!("--uuid={}", spec.machine_id))
        .arg("--machine=casemate");
    tool = match spec.mode {
        RootMode::ReadOnly => tool.arg("--read-only"),
        RootMode::Volatile => tool.arg("--volatile=overlay"),
    };
    for capability in &spec.capabilities {
        tool = tool.arg(format!("--capability={capability}"));
    }
    for (number, credential) in spec.credentials.iter().enumerate() {
        let name = &credential.name;
        tool = tool.arg(format!("--load-credential={name}:{INSIDE}/{CREDENTIALS}/{number}"));
    }
    for (number, bind) in spec.binds.iter().enumerate() {
        let inside = format!("{INSIDE}/bind{number}");
        let option = if bind.access == Access::ReadOnly { "--bind-ro" } else { "--bind" };
        tool = tool.arg(format!("{option}={inside}:{}", bind.target.display()));
        sandbox = sandbox.bind(&bind.source, inside);
    }
    (sandbox, tool.args(&spec.init_args))
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

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn spec() -> ContainerSpec {
        ContainerSpec::new("/host/root", ID.parse().unwrap())
    }

    #[test]
    fn command_boots_the_tree_read_only_with_the_given_identity() {
        let (_, tool) = plan(&spec(), Path::new("/tree"), Path::new("/group"));
        let text = tool.to_string();
        for part in ["--read-only", "--link-journal=no", "--directory=/run/container/root", &format!("--uuid={ID}")] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("/host"));
    }

    #[test]
    fn binds_keep_order_and_access_and_init_words_come_last() {
        let bind = |target: &str, access| Bind { source: "/s".into(), target: target.into(), access };
        let mut spec = spec();
        spec.binds = vec![bind("/var", Access::Writable), bind("/opt", Access::ReadOnly)];
        spec.init_args = vec!["systemd.log_level=info".into()];
        let text = plan(&spec, Path::new("/tree"), Path::new("/group")).1.to_string();
        let expected = "--bind=/run/container/bind0:/var --bind-ro=/run/container/bind1:/opt systemd.log_level=info";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn credentials_are_named_on_the_command_line_and_their_bytes_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut spec = spec();
        spec.credentials = ["a.one", "b"].map(|name| Credential::smbios(name.parse().unwrap(), "secret")).into();
        let text = plan(&spec, Path::new("/tree"), Path::new("/group")).1.to_string();
        for part in ["a.one:/run/container/credentials/0", "b:/run/container/credentials/1"] {
            assert!(text.contains(&format!("--load-credential={part}")), "{part} in {text}");
        }
        assert!(!text.contains("secret"));
        write_credentials(&spec.credentials, directory.path()).unwrap();
        assert_eq!(std::fs::read(directory.path().join("1")).unwrap(), b"secret");
    }

    #[test]
    fn refuses_what_is_no_machine_id() {
        for text in ["", "0", &"0".repeat(32), &ID.to_uppercase(), &ID[1..], "0123456789abcdef0123456789abcdeg"] {
            assert!(text.parse::<MachineId>().is_err(), "{text}");
        }
    }

    #[test]
    fn init_is_known_by_its_innermost_number() {
        assert!(is_namespace_init("Name:\tsystemd\nNSpid:\t812\t7\t1\n"));
        assert!(!is_namespace_init("NSpid:\t1\t12\n") && !is_namespace_init("") && !is_namespace_init("NSpid:\n"));
    }
}

//! Programs of a bootstrapped tree, shut in with nothing of the host but what is named.
//!
//! A program that uses this calls [`enter_if_requested`] first thing in `main`: the sandbox is made by
//! running the same binary again (twice) with a private first argument, because without unsafe code a
//! process can only prepare namespaces for what it executes. Nothing mounted here is ever seen by the host,
//! and everything inside dies with the builder.

mod enter;
mod helper;
mod init;
mod join;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::output::{Output, ToolError};
use crate::runner::{LineSink, Runner};
use crate::running::{Launcher, Running};
use crate::tool::Tool;

use helper::{Call, Helper};

pub use enter::enter_if_requested;
pub use join::JoinRunner;

/// First argument that asks for a new set of namespaces.
const STAGE_OUTER: &str = "__sandbox";
/// First argument of the process that is PID 1 inside.
const STAGE_INIT: &str = "__sandbox-init";
/// First argument that asks to join the namespaces of a running process.
const STAGE_JOIN: &str = "__sandbox-join";
/// Before the description. Spelled as an option: a binary that does not know us refuses it.
const SPEC_OPTION: &str = "--spec=";
/// Exit status of a helper that could not make the sandbox.
const STATUS_SETUP: i32 = 125;
/// Exit status of a helper that found no such program in the tree.
const STATUS_NOT_FOUND: i32 = 127;
/// Start of the helper's own line on standard error.
const MARK: &str = "casemate-sandbox: ";

/// Whether a tree may be changed by the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Writing fails with "read-only file system".
    ReadOnly,
    /// The program writes into the directory itself.
    Writable,
}

/// What the program can reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A namespace of its own with only `lo`.
    None,
    /// The network of the build machine.
    Host,
    /// An existing namespace, by a path such as `/proc/PID/ns/net`.
    Namespace(PathBuf),
}

/// A file or directory of the host that is seen inside; mounts below it come along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The path on the host.
    pub source: PathBuf,
    /// The absolute path inside.
    pub target: PathBuf,
    /// Whether it may be written; mounts below it keep their own flag.
    pub access: Access,
}

/// Description of a sandbox: a tree and what else is to be seen in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    root: PathBuf,
    access: Access,
    binds: Vec<Bind>,
    tmpfs: Vec<PathBuf>,
    network: Network,
    cgroup: Option<PathBuf>,
    hostname: String,
}

impl Sandbox {
    /// A read-only tree without network; `/proc`, a minimal `/dev`, empty `/run` and `/tmp` are added.
    ///
    /// The tree itself must hold these directories. `/sys` is not there unless it is bound.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            access: Access::ReadOnly,
            binds: Vec::new(),
            tmpfs: vec!["/run".into(), "/tmp".into()],
            network: Network::None,
            cgroup: None,
            hostname: "casemate".into(),
        }
    }

    /// Lets the program write into the tree.
    #[must_use]
    pub fn writable(mut self) -> Self {
        self.access = Access::Writable;
        self
    }

    /// Shows a host path inside, writable. A missing target is made where writing is possible: in a
    /// writable tree, below `/run` and below `/tmp`.
    #[must_use]
    pub fn bind(mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        let (source, target) = (source.into(), target.into());
        self.binds.push(Bind { source, target, access: Access::Writable });
        self
    }

    /// Shows a host path inside, read-only.
    #[must_use]
    pub fn bind_read_only(mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        let (source, target) = (source.into(), target.into());
        self.binds.push(Bind { source, target, access: Access::ReadOnly });
        self
    }

    /// Shows several host paths inside, in this order.
    #[must_use]
    pub fn binds(mut self, binds: impl IntoIterator<Item = Bind>) -> Self {
        self.binds.extend(binds);
        self
    }

    /// Adds an empty file system in memory at this path.
    #[must_use]
    pub fn tmpfs(mut self, target: impl Into<PathBuf>) -> Self {
        self.tmpfs.push(target.into());
        self
    }

    /// Chooses the network.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Makes this directory of the host's cgroup 2 tree the root of the tree inside, for programs that
    /// manage groups of their own (a container with systemd); adds a fresh `/sys` too.
    ///
    /// The directory must exist; whoever made it removes it after the end.
    #[must_use]
    pub fn cgroup(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cgroup = Some(directory.into());
        self
    }

    /// The directory that is the root inside.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// What the helper processes are told, as JSON in an argument.
#[derive(Debug, Serialize, Deserialize)]
struct Spec {
    sandbox: Sandbox,
    call: Call,
}

/// Runs tools in a sandbox.
#[derive(Clone)]
pub struct SandboxRunner {
    sandbox: Sandbox,
    helper: Helper,
}

impl SandboxRunner {
    /// Uses the running binary as the helper; its `main` must have called [`enter_if_requested`].
    pub fn new(sandbox: Sandbox) -> Self {
        Self { sandbox, helper: Helper::default() }
    }

    /// Uses another binary as the helper, for test programs whose `main` is not ours.
    #[must_use]
    pub fn with_helper(mut self, helper: impl Into<PathBuf>) -> Self {
        self.helper.path = Some(helper.into());
        self
    }

    /// Also hands every line to `sink` while tools run.
    #[must_use]
    pub fn with_sink(mut self, sink: Arc<dyn LineSink>) -> Self {
        self.helper.sink = Some(sink);
        self
    }

    /// The description that this runner uses.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    fn spec(&self, tool: &Tool) -> Spec {
        Spec { sandbox: self.sandbox.clone(), call: Call::of(tool) }
    }
}

impl fmt::Debug for SandboxRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxRunner").field("sandbox", &self.sandbox).finish_non_exhaustive()
    }
}

impl Runner for SandboxRunner {
    fn run(&self, tool: &Tool) -> Result<Output, ToolError> {
        let remedy = format!("add the Debian package that holds it to the tree `{}`", self.sandbox.root.display());
        self.helper.run(STAGE_OUTER, &self.spec(tool), tool, &remedy)
    }
}

impl Launcher for SandboxRunner {
    fn launch(&self, tool: &Tool, log: &Path) -> Result<Running, ToolError> {
        Running::start(self.helper.command(STAGE_OUTER, &self.spec(tool), tool)?, tool, log)
    }
}

//! Description of a container: its root, what it sees of the host, who it is. Plain values.

use std::path::PathBuf;

use tools::Bind;

use super::MachineId;
use crate::credential::Credential;

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

//! The programs of the tools tree, one file each: what they are told and what they answer.

pub mod efi_keys;
pub mod fsck_erofs;
pub mod mkfs_erofs;
pub mod mtools;
pub mod sbsign;

use std::path::{Path, PathBuf};

use anyhow::Result;
use tools::{Output, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

/// libfaketime of the tools tree.
const FIXED_CLOCK: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Lets a program that asks for the time be told `epoch` (seconds since 1970), always: for those that write it into what they make and
/// know no `SOURCE_DATE_EPOCH`. For dynamic programs only.
pub(crate) fn under_fixed_clock(tool: Tool, epoch: u64) -> Tool {
    tool.env("LD_PRELOAD", FIXED_CLOCK)
        .env("FAKETIME_FMT", "%s")
        .env("FAKETIME", epoch.to_string())
        // Nothing is shared between processes, and there is no /dev/shm to share it in.
        .env("FAKETIME_DISABLE_SHM", "1")
}

/// A tools tree that programs are run in, each in a sandbox of its own without network.
#[derive(Debug, Clone)]
pub struct ToolsTree {
    root: PathBuf,
    helper: Option<PathBuf>,
}

/// A path of the build machine that a program works on.
#[derive(Debug, Clone, Copy)]
pub enum Workplace<'a> {
    /// Read only, seen at the given place.
    Input(&'a Path, &'a str),
    /// Writable, seen at the given place.
    Output(&'a Path, &'a str),
}

impl ToolsTree {
    /// The tree at `root`; `helper` is the binary that makes sandboxes where it is not the running one.
    pub fn new(root: PathBuf, helper: Option<PathBuf>) -> Self {
        Self { root, helper }
    }

    /// The directory of the tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file of the tree, such as systemd's stub.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name.trim_start_matches('/'))
    }

    /// Runs a program with the named paths and nothing else of the build machine.
    pub fn run(&self, tool: &Tool, places: &[Workplace<'_>]) -> Result<Output> {
        let mut sandbox = Sandbox::new(&self.root);
        for place in places {
            sandbox = match *place {
                Workplace::Input(path, at) => sandbox.bind_read_only(path, at),
                Workplace::Output(path, at) => sandbox.bind(path, at),
            };
        }
        let mut runner = SandboxRunner::new(sandbox);
        if let Some(helper) = &self.helper {
            runner = runner.with_helper(helper);
        }
        runner.run(tool).remedied()
    }
}

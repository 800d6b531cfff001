//! A block device made of a file, for trying what only a block device shows.
//!
//! The kernel lets go of it when the last who has it open is gone, so a process that is killed leaves none behind.

use std::fs::File;
use std::path::{Path, PathBuf};

use tools::fs::AtPath as _;
use tools::{PathError, Remedy, Runner as _, Sandbox, SandboxRunner, Tool, ToolError};

/// Where the file lies for `losetup`.
const INSIDE: &str = "/run/backing";

/// A loop device; dropping it detaches the file.
#[derive(Debug)]
pub struct LoopDevice {
    tree: PathBuf,
    path: PathBuf,
    /// The kernel counts who has the device open; this keeps it.
    _open: File,
}

/// The kernel gives no loop device.
#[derive(Debug, thiserror::Error)]
pub enum LoopDeviceError {
    /// A program failed.
    #[error("cannot make a block device of `{}`", file.display())]
    Attach {
        /// The file.
        file: PathBuf,
        /// What `losetup` or `partx` said.
        source: ToolError,
    },
    /// The device cannot be opened.
    #[error("cannot use the loop device")]
    Open(#[from] PathError),
    /// The file has no name.
    #[error("`{}` names no file", _0.display())]
    NoFile(PathBuf),
}

impl Remedy for LoopDeviceError {
    fn remedy(&self) -> Option<String> {
        Some("this needs root, the kernel's loop driver (`modprobe loop`) and `/dev/loop-control`".into())
    }

    fn exit_kind(&self) -> tools::ExitKind {
        tools::ExitKind::Environment
    }
}

impl LoopDevice {
    /// Makes a device of the file, with `losetup` from `tree`.
    pub fn attach(tree: &Path, file: &Path) -> Result<Self, LoopDeviceError> {
        let failed = |source| LoopDeviceError::Attach { file: file.to_owned(), source };
        let name = file.file_name().ok_or_else(|| LoopDeviceError::NoFile(file.to_owned()))?;
        let inside = Path::new(INSIDE).join(name);
        let runner = SandboxRunner::new(sandbox(tree).bind(file, &inside));
        let attach = Tool::new("losetup").args(["--find", "--show", "--partscan"]).arg(&inside);
        let path = PathBuf::from(runner.run(&attach).map_err(failed)?.stdout_text().trim());
        let open = File::open(&path).at("open", &path)?;
        // While it is open this only says that the last one to close it detaches it.
        runner.run(&Tool::new("losetup").arg("--detach").arg(&path)).map_err(failed)?;
        Ok(Self { tree: tree.to_owned(), path, _open: open })
    }

    /// The device, such as `/dev/loop0`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes devices of the partitions in the table of the disk; returns the one with this number, such as `/dev/loop0p1`.
    ///
    /// `partx` reads the table, so a kernel without a parser for GPT will do.
    pub fn partition(&self, number: u32) -> Result<PathBuf, LoopDeviceError> {
        let runner = SandboxRunner::new(sandbox(&self.tree).bind_read_only("/sys", "/sys"));
        let failed = |source| LoopDeviceError::Attach { file: self.path.clone(), source };
        runner.run(&Tool::new("partx").arg("--update").arg(&self.path)).map_err(failed)?;
        let mut path = self.path.clone().into_os_string();
        path.push(format!("p{number}"));
        Ok(path.into())
    }
}

/// The kernel may make new devices, so the whole `/dev` must be seen.
fn sandbox(tree: &Path) -> Sandbox {
    Sandbox::new(tree).bind("/dev", "/dev")
}

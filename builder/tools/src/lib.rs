//! `tools`: the one way this project touches the machine it runs on.
//!
//! It runs programs (as [`Tool`] values given to a [`Runner`]), shuts them in a [`Sandbox`], publishes files
//! whole or not at all, and makes errors that name their path and say what to do next.
//! It knows no program by name and nothing of images, packages or hosts.

pub mod atomic;
pub mod failure;
pub mod fs;
pub mod full_disk;
pub mod interrupt;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod output;
pub mod progress;
pub mod recording;
pub mod runner;
pub mod running;
pub mod sandbox;
pub mod scratch;
pub mod tool;
pub mod user_namespace;

mod process;

pub use atomic::{AtomicFile, flush_file_system, publish_dir, write_atomic};
pub use failure::{ExitKind, Failure, Remedy, ResultExt, report};
pub use fs::PathError;
pub use output::{Output, ToolError};
pub use progress::{Progress, ProgressMode, Stage};
pub use recording::RecordingRunner;
pub use runner::{HostRunner, LineSink, LogFile, Runner};
pub use running::{Launcher, Running};
pub use sandbox::{Access, Bind, JoinRunner, Network, Sandbox, SandboxRunner, enter_if_requested};
pub use scratch::Scratch;
pub use tool::{Stdin, Tool};

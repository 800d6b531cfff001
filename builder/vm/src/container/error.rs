//! Why a container cannot be used.

use std::time::Duration;

use tools::{PathError, ToolError};

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

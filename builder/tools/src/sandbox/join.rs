//! Runs tools inside something that runs already: a container, by the process id of its init.
//!
//! The same helper trick as the sandbox: a fresh process with one thread may enter the namespaces of
//! another. The root, and with it every program, is that of the container.

use std::fmt;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Pid, PidfdFlags};
use rustix::thread::ThreadNameSpaceType;
use serde::{Deserialize, Serialize};

use super::enter::{Request, check_parent, die_with_parent};
use super::helper::{Call, Helper};
use super::{STAGE_JOIN, init};
use crate::output::{Output, ToolError};
use crate::runner::{LineSink, Runner};
use crate::tool::Tool;

/// What the joining helper is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JoinSpec {
    leader: i32,
    call: Call,
}

/// Runs tools in the namespaces of a running process.
#[derive(Clone)]
pub struct JoinRunner {
    leader: i32,
    helper: Helper,
}

impl JoinRunner {
    /// Joins the process with this id, as this process numbers it.
    pub fn new(leader: i32) -> Self {
        Self { leader, helper: Helper::default() }
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
}

impl fmt::Debug for JoinRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRunner").field("leader", &self.leader).finish_non_exhaustive()
    }
}

impl Runner for JoinRunner {
    fn run(&self, tool: &Tool) -> Result<Output, ToolError> {
        let spec = JoinSpec { leader: self.leader, call: Call::of(tool) };
        self.helper.run(STAGE_JOIN, &spec, tool, "see that the image holds the program")
    }
}

/// Serves as the helper: enters and starts the program, which is a child because a pid namespace is only
/// entered by children.
pub(super) fn run(request: &Request<JoinSpec>) -> Result<i32, String> {
    let spec = &request.spec;
    die_with_parent().map_err(|error| error.to_string())?;
    check_parent(spec.call.parent)?;
    let fail = |error| format!("cannot join process {}: {error}", spec.leader);
    let leader = Pid::from_raw(spec.leader).ok_or_else(|| fail(rustix::io::Errno::SRCH))?;
    let handle = rustix::process::pidfd_open(leader, PidfdFlags::empty()).map_err(fail)?;
    let kinds = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::CONTROL_GROUP
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::PROCESS_ID;
    rustix::thread::move_into_thread_name_spaces(handle.as_fd(), kinds).map_err(fail)?;
    init::start(&request.command, &spec.call)
}

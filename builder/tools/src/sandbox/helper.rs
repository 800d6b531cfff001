//! The helper that makes or enters namespaces for one tool: how it is started, and how its own failures are told from the tool's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{MARK, SPEC_OPTION, STATUS_NOT_FOUND, STATUS_SETUP, enter};
use crate::output::{Output, ToolError};
use crate::process::{self, Ended};
use crate::runner::LineSink;
use crate::tool::Tool;

/// What every helper is told of the tool besides its command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) env: BTreeMap<String, String>,
    pub(super) cwd: Option<PathBuf>,
    /// Process id of whoever starts the helper; another parent means that it has died already.
    pub(super) parent: u32,
}

impl Call {
    pub(super) fn of(tool: &Tool) -> Self {
        Self {
            env: tool.environment().clone(),
            cwd: tool.working_directory().map(Path::to_owned),
            parent: std::process::id(),
        }
    }
}

/// Which binary is the helper, and who hears the lines of the tools.
#[derive(Clone, Default)]
pub(super) struct Helper {
    /// The running binary where there is none.
    pub(super) path: Option<PathBuf>,
    pub(super) sink: Option<Arc<dyn LineSink>>,
}

impl Helper {
    /// Runs a tool to its end; `remedy` is for a program that is not there.
    pub(super) fn run(
        &self,
        stage: &str,
        spec: &impl Serialize,
        tool: &Tool,
        remedy: &str,
    ) -> Result<Output, ToolError> {
        let ended = process::complete(self.command(stage, spec, tool)?, tool, self.sink.as_deref())?;
        match helper_error(&ended, tool, remedy) {
            Some(error) => Err(error),
            None => process::judge(ended, tool),
        }
    }

    /// The command that starts the helper for one tool.
    pub(super) fn command(&self, stage: &str, spec: &impl Serialize, tool: &Tool) -> Result<Command, ToolError> {
        let refuse = |message: String| ToolError::Sandbox { command: tool.to_string(), message };
        let helper = match self.path.as_deref() {
            Some(helper) => helper,
            None if enter::was_called() => Path::new("/proc/self/exe"),
            None => {
                return Err(refuse("`main` does not call `tools::enter_if_requested` first".into()));
            }
        };
        let json = serde_json::to_string(spec).map_err(|error| refuse(error.to_string()))?;
        let mut command = Command::new(helper);
        command.arg(stage).arg(format!("{SPEC_OPTION}{json}")).arg("--");
        command.arg(tool.program()).args(tool.arguments()).env_clear();
        Ok(command)
    }
}

/// Tells a failure of the helper from one of the tool: by status and by its marked last line.
fn helper_error(ended: &Ended, tool: &Tool, remedy: &str) -> Option<ToolError> {
    let text = ended.output.stderr_text();
    let message = text.lines().last()?.strip_prefix(MARK)?.to_owned();
    let command = tool.to_string();
    match ended.output.status {
        STATUS_SETUP => Some(ToolError::Sandbox { command, message }),
        STATUS_NOT_FOUND => {
            let program = tool.program().to_string_lossy().into_owned();
            Some(ToolError::NotFound { program, command, remedy: remedy.to_owned() })
        }
        _ => None,
    }
}

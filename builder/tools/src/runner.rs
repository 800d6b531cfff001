//! The door through which every program is started, and its plain implementation.
//!
//! Code that needs a program takes `&dyn Runner`, so tests see the exact commands and no program runs.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::fs::{self, PathError};
use crate::output::{Output, ToolError};
use crate::process;
use crate::tool::Tool;

/// Runs tools to their end.
pub trait Runner: Send + Sync {
    /// Runs the tool; a status that the tool does not accept is an error.
    fn run(&self, tool: &Tool) -> Result<Output, ToolError>;
}

/// Takes the lines that tools write, from both of their streams, while they run.
pub trait LineSink: Send + Sync {
    /// Takes one line without its end.
    fn line(&self, line: &str);
}

impl<F: Fn(&str) + Send + Sync> LineSink for F {
    fn line(&self, line: &str) {
        self(line);
    }
}

/// A log file as a sink; one file can serve many tools at once.
pub struct LogFile(Mutex<File>);

impl LogFile {
    /// Makes the file, or empties it.
    pub fn create(path: &Path) -> Result<Self, PathError> {
        fs::create(path).map(|file| Self(Mutex::new(file)))
    }
}

impl LineSink for LogFile {
    fn line(&self, line: &str) {
        if let Ok(mut file) = self.0.lock() {
            // A full disk shows in the artifact; a lost log line must not end the build.
            let _ = writeln!(file, "{line}");
        }
    }
}

/// Runs programs of the build machine itself; kept for the few that must be (tests, `sudo`-like helpers).
#[derive(Clone, Default)]
pub struct HostRunner {
    sink: Option<Arc<dyn LineSink>>,
}

impl HostRunner {
    /// A runner that keeps output only in the result.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also hands every line to `sink` while tools run.
    #[must_use]
    pub fn with_sink(mut self, sink: Arc<dyn LineSink>) -> Self {
        self.sink = Some(sink);
        self
    }
}

impl fmt::Debug for HostRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostRunner").finish_non_exhaustive()
    }
}

impl Runner for HostRunner {
    fn run(&self, tool: &Tool) -> Result<Output, ToolError> {
        let ended = process::complete(host_command(tool), tool, self.sink.as_deref());
        process::judge(ended.map_err(|error| name_missing(error, tool))?, tool)
    }
}

/// The command of a tool that runs on the host as it is.
pub(crate) fn host_command(tool: &Tool) -> Command {
    let mut command = Command::new(tool.program());
    command.args(tool.arguments()).env_clear().envs(tool.environment());
    if let Some(cwd) = tool.working_directory() {
        command.current_dir(cwd);
    }
    command
}

/// A missing program is the commonest failure and has its own remedy.
pub(crate) fn name_missing(error: ToolError, tool: &Tool) -> ToolError {
    let directory_exists = tool.working_directory().is_none_or(Path::is_dir);
    match error {
        ToolError::Start { action: "start", source, .. }
            if source.kind() == io::ErrorKind::NotFound && directory_exists =>
        {
            let program = tool.program().to_string_lossy().into_owned();
            let remedy = format!("install the package of this machine that holds `{program}`");
            ToolError::NotFound { program, command: tool.to_string(), remedy }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::Remedy;

    fn sh(script: &str) -> Tool {
        Tool::new("/bin/sh").args(["-c", script])
    }

    #[test]
    fn returns_both_streams_and_passes_stdin() {
        let output = HostRunner::new().run(&sh("cat; echo bad >&2").stdin("in")).unwrap();
        assert_eq!((output.stdout_text(), output.stderr_text()), ("in".into(), "bad\n".into()));
    }

    #[test]
    fn reads_stdin_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from file").unwrap();
        let output = HostRunner::new().run(&sh("cat").stdin_file(file.path())).unwrap();
        assert_eq!(output.stdout_text(), "from file");
    }

    #[test]
    fn does_not_deadlock_on_large_input_and_output() {
        let big = vec![b'x'; 3 << 20];
        let output = HostRunner::new().run(&sh("cat").stdin(big.clone())).unwrap();
        assert!(output.stdout == big);
    }

    #[test]
    fn clears_the_environment() {
        let output = HostRunner::new().run(&Tool::new("/usr/bin/env").env("A", "1")).unwrap();
        let text = output.stdout_text();
        let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["A", "LANG", "PATH", "TZ"]);
    }

    #[test]
    fn failure_names_command_status_and_stderr() {
        let error = HostRunner::new().run(&sh("echo reason >&2; exit 7")).unwrap_err().to_string();
        assert!(error.contains("status 7") && error.contains("reason") && error.contains("/bin/sh -c"), "{error}");
    }

    #[test]
    fn accepts_other_statuses_only_when_asked() {
        assert_eq!(HostRunner::new().run(&sh("exit 3").accept(&[0, 3])).unwrap().status, 3);
        assert!(HostRunner::new().run(&sh("exit 4").accept(&[0, 3])).is_err());
    }

    #[test]
    fn missing_program_says_what_to_install() {
        let error = HostRunner::new().run(&Tool::new("no-such-program-here")).unwrap_err();
        assert!(matches!(error, ToolError::NotFound { .. }), "{error}");
        assert!(error.remedy().unwrap().contains("no-such-program-here"));
    }

    #[test]
    fn missing_directory_is_not_taken_for_a_missing_program() {
        let error = HostRunner::new().run(&sh("true").cwd("/no/such/place")).unwrap_err();
        assert!(matches!(error, ToolError::Start { .. }), "{error}");
    }

    #[test]
    fn kills_a_tool_that_exceeds_its_time() {
        let tool = Tool::new("sleep").arg("30").timeout(Duration::from_millis(100));
        assert!(matches!(HostRunner::new().run(&tool).unwrap_err(), ToolError::TimedOut { .. }));
    }

    #[test]
    fn hands_whole_lines_to_the_sink() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&seen);
        let sink = move |line: &str| copy.lock().unwrap().push(line.to_owned());
        HostRunner::new().with_sink(Arc::new(sink)).run(&sh("printf 'a\\nb\\nlast'")).unwrap();
        assert_eq!(*seen.lock().unwrap(), ["a", "b", "last"]);
    }
}

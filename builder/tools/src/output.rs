//! What a finished program left behind, and the errors of running one.

use std::io;
use std::time::Duration;

use crate::failure::{ExitKind, Remedy};

/// How much of standard error an error message shows, in bytes.
const TAIL: usize = 2048;

/// The result of a program that ended with an accepted status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 + n when signal n ended the program.
    pub status: i32,
    /// Everything it wrote to standard output.
    pub stdout: Vec<u8>,
    /// The end of what it wrote to standard error (at most 1 MiB).
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, with wrong bytes replaced.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, with wrong bytes replaced.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The program does not exist where it was looked for.
    #[error("program `{program}` was not found\n  command: {command}")]
    NotFound {
        /// Its name as given.
        program: String,
        /// The whole command.
        command: String,
        /// Where it can come from.
        remedy: String,
    },
    /// The program could not be started or spoken to.
    #[error("cannot {action} `{command}`")]
    Start {
        /// What was being done.
        action: &'static str,
        /// The whole command.
        command: String,
        /// Why the system refused.
        source: io::Error,
    },
    /// The sandbox could not be made.
    #[error("cannot make the sandbox for `{command}`: {message}")]
    Sandbox {
        /// The whole command.
        command: String,
        /// What failed inside the helper.
        message: String,
    },
    /// The program ended with a status that does not count as success.
    #[error("`{command}` ended with {}{}", describe(*.status), indented(.stderr_tail))]
    Failed {
        /// The whole command.
        command: String,
        /// Exit status, 128 + n for signal n.
        status: i32,
        /// The last 2 KiB of its standard error.
        stderr_tail: String,
    },
    /// The disk that the program writes to stayed full and the program did not end by itself.
    #[error("`{command}` had no room to write and was killed")]
    FullDisk {
        /// The whole command.
        command: String,
        /// The error that the system would give.
        source: io::Error,
    },
    /// The program ran longer than it may and was killed.
    #[error("`{command}` did not end within {limit:?} and was killed{}", indented(.stderr_tail))]
    TimedOut {
        /// The whole command.
        command: String,
        /// The limit of the tool.
        limit: Duration,
        /// The last 2 KiB of its standard error.
        stderr_tail: String,
    },
}

impl Remedy for ToolError {
    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { remedy, .. } => remedy.clone(),
            Self::Start { .. } => "see that the file exists, is readable and may be executed".into(),
            Self::Sandbox { .. } => {
                "run as root on Linux 5.12 or later, and see that the paths named above exist".into()
            }
            Self::Failed { .. } => "run the shown command by hand to see more".into(),
            Self::FullDisk { .. } => "make room on the disk, then run the same command again".into(),
            Self::TimedOut { .. } => "see whether the machine is overloaded, then try again".into(),
        })
    }

    fn exit_kind(&self) -> ExitKind {
        ExitKind::Environment
    }
}

/// Cuts the end of standard error at a character, for use in an error.
pub(crate) fn tail(stderr: &[u8]) -> String {
    let start = stderr.len().saturating_sub(TAIL);
    let text = String::from_utf8_lossy(stderr.get(start..).unwrap_or_default());
    text.trim_start_matches('\u{fffd}').trim().to_owned()
}

fn describe(status: i32) -> String {
    if status > 128 { format!("signal {}", status - 128) } else { format!("status {status}") }
}

fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["\n  | ", line]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_last_two_kibibytes() {
        let long = "é".repeat(3000);
        let cut = tail(long.as_bytes());
        assert!(cut.len() <= TAIL && cut.chars().all(|c| c == 'é'), "{}", cut.len());
    }

    #[test]
    fn failure_shows_command_status_and_indented_stderr() {
        let error = ToolError::Failed { command: "x -y".into(), status: 139, stderr_tail: "a\nb".into() };
        assert_eq!(error.to_string(), "`x -y` ended with signal 11\n  | a\n  | b");
    }
}

//! A runner for tests: remembers the commands and answers from a script, running nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::output::{Output, ToolError};
use crate::runner::Runner;
use crate::tool::Tool;

/// Records every tool; answers with queued outputs, then with empty success.
#[derive(Debug, Default)]
pub struct RecordingRunner {
    seen: Mutex<Vec<Tool>>,
    answers: Mutex<VecDeque<Output>>,
}

impl RecordingRunner {
    /// A runner for which every tool succeeds without output.
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues the answer to the next tool not yet answered for; its status is judged as a real one would be.
    #[must_use]
    pub fn answer(self, status: i32, stdout: impl Into<Vec<u8>>, stderr: impl Into<Vec<u8>>) -> Self {
        let output = Output { status, stdout: stdout.into(), stderr: stderr.into() };
        lock(&self.answers).push_back(output);
        self
    }

    /// The tools that were run so far, in order.
    pub fn tools(&self) -> Vec<Tool> {
        lock(&self.seen).clone()
    }

    /// The same as lines of shell.
    pub fn commands(&self) -> Vec<String> {
        lock(&self.seen).iter().map(ToString::to_string).collect()
    }
}

impl Runner for RecordingRunner {
    fn run(&self, tool: &Tool) -> Result<Output, ToolError> {
        lock(&self.seen).push(tool.clone());
        let output = lock(&self.answers).pop_front().unwrap_or_default();
        crate::process::judge(crate::process::Ended { output, timed_out: false, disk_full: false }, tool)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_commands_and_plays_answers_in_order() {
        let runner = RecordingRunner::new().answer(0, "one", "").answer(2, "", "broken");
        assert_eq!(runner.run(&Tool::new("a")).unwrap().stdout_text(), "one");
        assert!(runner.run(&Tool::new("b").arg("c")).unwrap_err().to_string().contains("broken"));
        assert_eq!(runner.run(&Tool::new("d")).unwrap(), Output::default());
        assert_eq!(runner.commands(), ["a", "b c", "d"]);
    }
}

//! Runs claims one after the other and writes down what became of each.

use std::time::Instant;

use anyhow::Result;
use bundle::ScenarioResult;
use tools::Progress;

/// A claim that was tried.
#[derive(Debug)]
pub(crate) struct Row {
    /// What goes into the signed report.
    pub(crate) result: ScenarioResult,
    /// What was seen, or the fault and its causes.
    pub(crate) detail: String,
}

/// Tries claims; one line of progress for each.
pub(crate) struct Recorder<'a> {
    progress: &'a Progress,
    rows: Vec<Row>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(progress: &'a Progress) -> Self {
        Self { progress, rows: Vec::new() }
    }

    /// Tries a claim: `work` says in a few words what it saw. Returns its value if the claim holds.
    pub(crate) fn claim<T>(&mut self, claim: &str, work: impl FnOnce() -> Result<(T, String)>) -> Option<T> {
        let stage = self.progress.stage(claim);
        let started = Instant::now();
        let outcome = work();
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let result = ScenarioResult { name: claim.to_owned(), passed: outcome.is_ok(), milliseconds };
        match outcome {
            Ok((value, detail)) => {
                stage.done_with(&detail);
                self.rows.push(Row { result, detail });
                Some(value)
            }
            Err(error) => {
                drop(stage);
                let detail = tools::failure::render(&error);
                self.progress.note(detail.trim_end());
                self.rows.push(Row { result, detail });
                None
            }
        }
    }

    pub(crate) fn into_rows(self) -> Vec<Row> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_claim_that_fails_is_a_row_with_its_fault_and_the_next_is_tried() {
        let out = Shared::default();
        let progress = Progress::plain_to(out.clone());
        let mut recorder = Recorder::new(&progress);
        assert_eq!(recorder.claim("first_holds", || Ok((7, "seen".to_owned()))), Some(7));
        assert_eq!(recorder.claim("second_holds", || -> Result<((), String)> { anyhow::bail!("no answer") }), None);
        assert!(recorder.claim("third_holds", || Ok(((), String::new()))).is_some());
        let rows = recorder.into_rows();
        let passed: Vec<_> = rows.iter().map(|row| (row.result.name.as_str(), row.result.passed)).collect();
        assert_eq!(passed, [("first_holds", true), ("second_holds", false), ("third_holds", true)]);
        assert!(rows[0].detail == "seen" && rows[1].detail.contains("no answer"));
        let shown = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert!(
            shown.contains("first_holds done") && shown.contains("second_holds failed") && shown.contains("no answer"),
            "{shown}"
        );
    }
}

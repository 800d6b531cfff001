//! The serial log of a machine: kept as a file, waited on line by line.
//!
//! A wait fails early when the guest panics, and every failure shows the end of the log.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tools::PathError;

/// Lines of the log that an error shows.
const TAIL_LINES: usize = 30;
/// Time between two looks at the file.
const INTERVAL: Duration = Duration::from_millis(50);
/// What a guest writes when it is lost. Matched anywhere in a line.
const PANICS: [&str; 3] = ["Kernel panic - not syncing", "You are in emergency mode", "Freezing execution"];

/// Why the awaited text did not come.
#[derive(Debug, thiserror::Error)]
pub enum SerialError {
    /// The guest said that it is lost.
    #[error("the guest gave up while `{pattern}` was awaited: {line}\n{tail}")]
    Panicked {
        /// What was awaited.
        pattern: String,
        /// The line that says so.
        line: String,
        /// The end of the log.
        tail: String,
    },
    /// The time is over.
    #[error("`{pattern}` did not come within {limit:?}; the log ends with\n{tail}")]
    TimedOut {
        /// What was awaited.
        pattern: String,
        /// The limit.
        limit: Duration,
        /// The end of the log.
        tail: String,
    },
    /// The machine ended first.
    #[error("the machine ended while `{pattern}` was awaited; the log ends with\n{tail}")]
    Ended {
        /// What was awaited.
        pattern: String,
        /// The end of the log.
        tail: String,
    },
    /// The log cannot be read.
    #[error("cannot follow the serial log")]
    Log(#[from] PathError),
}

/// What a guest's panic means to a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPanic {
    /// The wait fails at once.
    Fail,
    /// The wait goes on: the panic is what the test is about.
    Ignore,
}

/// A growing log and how much of it has been awaited already.
#[derive(Clone, Debug)]
pub struct SerialLog {
    path: PathBuf,
    position: usize,
}

impl SerialLog {
    /// Follows the log at this path from its start; it need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), position: 0 }
    }

    /// Where the log is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole log so far, without terminal control sequences.
    pub fn text(&self) -> Result<String, PathError> {
        Ok(plain(&self.bytes()?))
    }

    /// Waits for a line that contains `pattern`, after the place where the last wait ended; returns the line.
    pub fn wait_for(
        &mut self,
        pattern: &str,
        limit: Duration,
        on_panic: OnPanic,
        mut alive: impl FnMut() -> bool,
    ) -> Result<String, SerialError> {
        let started = Instant::now();
        loop {
            // Asked before reading: what the machine wrote before its end is then in what is read.
            let was_alive = alive();
            let text = self.text()?;
            // A character that was cut when the last wait ended has other bytes now.
            let start = (0..=self.position).rev().find(|place| text.is_char_boundary(*place)).unwrap_or(0);
            let fresh = text.get(start..).unwrap_or_default();
            match find(fresh, pattern, on_panic) {
                Found::Line { line, end } => {
                    self.position = start + end;
                    return Ok(line);
                }
                Found::Panic(line) => {
                    return Err(SerialError::Panicked { pattern: pattern.into(), line, tail: tail(&text) });
                }
                Found::Nothing => {}
            }
            if !was_alive {
                return Err(SerialError::Ended { pattern: pattern.into(), tail: tail(&text) });
            }
            if started.elapsed() >= limit {
                return Err(SerialError::TimedOut { pattern: pattern.into(), limit, tail: tail(&text) });
            }
            thread::sleep(INTERVAL);
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, PathError> {
        match tools::fs::read(&self.path) {
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }
}

#[derive(Debug, PartialEq)]
enum Found {
    Line { line: String, end: usize },
    Panic(String),
    Nothing,
}

/// Looks through complete and half lines alike: a login prompt has no end of line.
fn find(text: &str, pattern: &str, on_panic: OnPanic) -> Found {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        if line.contains(pattern) {
            return Found::Line { line: line.trim().to_owned(), end };
        }
        if on_panic == OnPanic::Fail && PANICS.iter().any(|panic| line.contains(panic)) {
            return Found::Panic(line.trim().to_owned());
        }
    }
    Found::Nothing
}

/// Drops escape sequences (colours, cursor moves) and carriage returns.
///
/// The result of a longer log starts with the result of a shorter one, up to the last line, so a position
/// in it stays good.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut chars),
            '\r' => {}
            other => plain.push(other),
        }
    }
    plain
}

/// ECMA-48: `ESC [`, parameters, one final letter; other escapes have one character.
fn skip_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if chars.next_if_eq(&'[').is_none() {
        chars.next();
        return;
    }
    for c in chars.by_ref() {
        if ('@'..='~').contains(&c) || c == '\n' {
            return;
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let start = lines.len().saturating_sub(TAIL_LINES);
    lines.iter().skip(start).flat_map(|line| ["  | ", line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(content: &[u8]) -> (tempfile::TempDir, SerialLog) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serial.log");
        std::fs::write(&path, content).unwrap();
        (dir, SerialLog::new(path))
    }

    fn wait(log: &mut SerialLog, pattern: &str) -> Result<String, SerialError> {
        log.wait_for(pattern, Duration::ZERO, OnPanic::Fail, || true)
    }

    #[test]
    fn each_wait_goes_on_after_the_last_one() {
        let (_dir, mut log) = log(b"boot 1\r\nlogin\r\nboot 2\r\nlogin\r\n");
        assert_eq!(wait(&mut log, "login").unwrap(), "login");
        assert_eq!(wait(&mut log, "boot").unwrap(), "boot 2");
        wait(&mut log, "login").unwrap();
        assert!(matches!(wait(&mut log, "login"), Err(SerialError::TimedOut { .. })));
    }

    #[test]
    fn sees_through_colours_and_half_lines() {
        let (_dir, mut log) = log(b"\x1b[0;32m  OK  \x1b[0m Started \x1b[0;1mssh\x1b[0m\r\nhost login: ");
        assert_eq!(wait(&mut log, "OK   Started ssh").unwrap(), "OK   Started ssh");
        assert_eq!(wait(&mut log, "host login:").unwrap(), "host login:");
    }

    #[test]
    fn a_panic_ends_the_wait_early_unless_it_is_the_claim() {
        let content = b"start\n[ 1.2] Kernel panic - not syncing: dm-verity\nsecond boot\n";
        let (_dir, mut strict) = log(content);
        let error = wait(&mut strict, "second boot").unwrap_err();
        assert!(matches!(&error, SerialError::Panicked { line, .. } if line.contains("dm-verity")), "{error}");
        let (_dir, mut lenient) = log(content);
        lenient.wait_for("second boot", Duration::ZERO, OnPanic::Ignore, || true).unwrap();
    }

    #[test]
    fn awaited_text_after_an_end_is_still_found_and_missing_text_is_told() {
        let (_dir, mut log) = log(b"last words\n");
        let mut wait = |pattern| log.wait_for(pattern, Duration::from_secs(60), OnPanic::Fail, || false);
        wait("last words").unwrap();
        let error = wait("more").unwrap_err();
        assert!(matches!(&error, SerialError::Ended { tail, .. } if tail == "  | last words\n"), "{error}");
    }

    #[test]
    fn errors_show_only_the_end_of_a_long_log() {
        let content: String = (0..1000).flat_map(|n| ["line ".to_owned(), n.to_string(), "\n".into()]).collect();
        let (_dir, mut log) = log(content.as_bytes());
        let text = wait(&mut log, "nothing").unwrap_err().to_string();
        assert!(text.contains("line 999") && !text.contains("line 900"), "{text}");
    }

    #[test]
    fn a_log_that_does_not_exist_yet_is_empty() {
        assert_eq!(SerialLog::new("/no/such/log").text().unwrap(), "");
    }

    #[test]
    fn a_log_that_grows_is_followed() {
        let (dir, mut log) = log(b"first\n");
        let path = dir.path().join("serial.log");
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            std::fs::write(path, b"first\nsecond\n").unwrap();
        });
        log.wait_for("second", Duration::from_secs(10), OnPanic::Fail, || true).unwrap();
        writer.join().unwrap();
    }

    proptest! {
        #[test]
        fn never_panics_on_foreign_bytes(bytes: Vec<u8>, pattern in ".{0,4}") {
            let text = plain(&bytes);
            prop_assert!(!text.chars().any(|c| c == '\x1b'));
            let _ = find(&text, &pattern, OnPanic::Fail);
            let _ = tail(&text);
        }
    }
}

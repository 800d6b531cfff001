//! A program to run, as a value: built by pure code, shown in errors, executed elsewhere.
//!
//! The environment is never inherited: a tool sees `PATH`, `LANG`, `TZ` and what was added by name, so that
//! the same value gives the same result in every shell.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where programs are looked for, in a Debian tree and on most hosts.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a tool reads on its standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing: end of file at once.
    #[default]
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// The content of a file of the builder's own tree (not of the sandbox).
    File(PathBuf),
}

/// A program with its arguments, environment, working directory and input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<String, String>,
    cwd: Option<PathBuf>,
    stdin: Stdin,
    timeout: Option<Duration>,
    disk: Option<PathBuf>,
    accepted: Vec<i32>,
}

impl Tool {
    /// Names the directory of the builder in which the tool writes: when its disk is full for a while, the tool is killed, and when it fails while the
    /// disk is full, that is what its error says.
    ///
    /// Some programs wait for ever when one of their threads cannot write, and some do not say why they could not.
    pub fn killed_when_full(mut self, dir: &std::path::Path) -> Self {
        self.disk = Some(dir.to_owned());
        self
    }

    /// The directory whose disk is watched.
    pub(crate) fn watched_disk(&self) -> Option<&std::path::Path> {
        self.disk.as_deref()
    }

    /// Starts a command value; a bare name is looked up in the fixed search path.
    pub fn new(program: impl Into<OsString>) -> Self {
        let env = [("PATH", SEARCH_PATH), ("LANG", "C.UTF-8"), ("TZ", "UTC")];
        Self {
            program: program.into(),
            args: Vec::new(),
            env: env.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            cwd: None,
            stdin: Stdin::Empty,
            timeout: None,
            disk: None,
            accepted: vec![0],
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one environment variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(key.into(), value.into());
        self
    }

    /// Sets `SOURCE_DATE_EPOCH`, seconds since 1970, for tools that stamp their output.
    #[must_use]
    pub fn source_date_epoch(self, seconds: u64) -> Self {
        self.env("SOURCE_DATE_EPOCH", seconds.to_string())
    }

    /// Sets the working directory, as seen by the tool.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Gives the tool these bytes as its standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Gives the tool a file as its standard input.
    #[must_use]
    pub fn stdin_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.stdin = Stdin::File(path.into());
        self
    }

    /// Kills the tool and fails when it runs longer than this.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Takes these exit statuses, and no others, as success (default: only 0).
    #[must_use]
    pub fn accept(mut self, statuses: &[i32]) -> Self {
        self.accepted = statuses.to_vec();
        self
    }

    /// The program as it was given.
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// The arguments without the program.
    pub fn arguments(&self) -> &[OsString] {
        &self.args
    }

    /// The whole environment of the tool.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// The working directory, if one was set.
    pub fn working_directory(&self) -> Option<&Path> {
        self.cwd.as_deref()
    }

    /// What the tool reads.
    pub fn input(&self) -> &Stdin {
        &self.stdin
    }

    /// The longest time the tool may run.
    pub fn time_limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// Tells whether this exit status counts as success.
    pub fn accepts(&self, status: i32) -> bool {
        self.accepted.contains(&status)
    }
}

impl fmt::Display for Tool {
    /// Shows the command so that it can be pasted into a shell; the fixed environment is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fixed = Tool::new("");
        for (key, value) in &self.env {
            if fixed.env.get(key) != Some(value) {
                write!(f, "{key}={} ", quote(value))?;
            }
        }
        write!(f, "{}", quote(&self.program.to_string_lossy()))?;
        for arg in &self.args {
            write!(f, " {}", quote(&arg.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// Quotes a word for a POSIX shell, leaving plain words as they are.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_a_command_that_a_shell_reads_back() {
        let tool = Tool::new("mk fs").args(["-o", "it's", "", "a=b"]).source_date_epoch(7);
        assert_eq!(tool.to_string(), r"SOURCE_DATE_EPOCH=7 'mk fs' -o 'it'\''s' '' a=b");
    }

    #[test]
    fn environment_holds_only_fixed_names() {
        let tool = Tool::new("x");
        let keys: Vec<_> = tool.environment().keys().map(String::as_str).collect();
        assert_eq!(keys, ["LANG", "PATH", "TZ"]);
    }
}

//! Errors that say what to do: hints, exit codes and the one printer that both binaries use.
//!
//! Libraries keep their typed errors and implement [`Remedy`]; at the top everything is an `anyhow::Error`
//! in whose chain the printer looks for hints.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::fs::PathError;
use crate::output::ToolError;

/// Whose fault a failure is, which is what the exit code tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// Bad input or a failed check: exit 1.
    Refused,
    /// The machine or a bug of ours: exit 2.
    Environment,
}

impl ExitKind {
    /// The number that a shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Environment => 2,
        }
    }
}

/// An error that knows what can be done about it.
pub trait Remedy: Error + Send + Sync + 'static {
    /// One sentence that says what to do.
    fn remedy(&self) -> Option<String>;

    /// Whose fault it is; most errors refuse an input.
    fn exit_kind(&self) -> ExitKind {
        ExitKind::Refused
    }
}

/// A failure with its hint and exit code, for use in an `anyhow` chain.
#[derive(Debug)]
pub struct Failure {
    inner: anyhow::Error,
    hint: Option<String>,
    kind: ExitKind,
}

impl Failure {
    /// Refuses an input, with a message.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { inner: anyhow::Error::msg(message.into()), hint: None, kind: ExitKind::Refused }
    }

    /// Blames the machine or ourselves, with a message.
    pub fn environment(message: impl Into<String>) -> Self {
        Self { inner: anyhow::Error::msg(message.into()), hint: None, kind: ExitKind::Environment }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner.source()
    }
}

/// Carries typed errors into the `anyhow` chain without losing hint and exit code.
pub trait ResultExt<T> {
    /// Keeps the hint and the exit code that the error itself knows.
    fn remedied(self) -> anyhow::Result<T>
    where
        Self: Sized;
}

impl<T, E: Remedy> ResultExt<T> for Result<T, E> {
    fn remedied(self) -> anyhow::Result<T> {
        self.map_err(|error| {
            let (hint, kind) = (error.remedy(), error.exit_kind());
            Failure { inner: error.into(), hint, kind }.into()
        })
    }
}

/// Adds hint and exit code to errors that know none.
pub trait HintExt<T> {
    /// Marks the error as a refusal of input and says what to do.
    fn or_refuse(self, hint: impl Into<String>) -> anyhow::Result<T>;

    /// Marks the error as one of the machine and says what to do.
    fn or_blame_environment(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> HintExt<T> for Result<T, E> {
    fn or_refuse(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| wrap(error, hint, ExitKind::Refused))
    }

    fn or_blame_environment(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| wrap(error, hint, ExitKind::Environment))
    }
}

fn wrap(error: impl Into<anyhow::Error>, hint: impl Into<String>, kind: ExitKind) -> anyhow::Error {
    Failure { inner: error.into(), hint: Some(hint.into()), kind }.into()
}

/// The text that a person sees: `error:`, indented causes, `hint:`.
pub fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}\n");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let line = cause.to_string();
        // A wrapper may show its cause in its own text; saying it twice helps nobody.
        if !last.contains(&line) {
            text += &["  caused by: ", &line.replace('\n', "\n  "), "\n"].concat();
        }
        last = line;
    }
    if let Some(hint) = error.chain().find_map(hint_of) {
        text += &["hint: ", &hint, "\n"].concat();
    }
    text
}

/// The exit code of a failure: the first link of the chain that knows decides, else it is ours.
pub fn exit_kind(error: &anyhow::Error) -> ExitKind {
    error.chain().find_map(kind_of).unwrap_or(ExitKind::Environment)
}

/// Prints the failure on standard error and returns the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    crate::interrupt::wait_if_ending();
    // With standard error closed there is nobody to tell; the code still says it.
    let _ = std::io::stderr().write_all(render(error).as_bytes());
    ExitCode::from(exit_kind(error).code())
}

fn hint_of(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.hint.clone();
    }
    let own = error.downcast_ref::<ToolError>().and_then(Remedy::remedy);
    let own = own.or_else(|| error.downcast_ref::<PathError>().and_then(Remedy::remedy));
    // As `fs_err` makes them.
    own.or_else(|| error.downcast_ref::<io::Error>().and_then(crate::fs::advice))
}

fn kind_of(error: &(dyn Error + 'static)) -> Option<ExitKind> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(failure.kind);
    }
    let own = error.downcast_ref::<ToolError>().map(Remedy::exit_kind);
    own.or_else(|| error.downcast_ref::<PathError>().map(Remedy::exit_kind))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn prints_error_causes_and_hint() {
        let result = std::fs::read("/no/such").map_err(|e| PathError::new("read", "/no/such", e));
        let error = result.remedied().context("cannot load the lock").unwrap_err();
        assert_eq!(
            render(&error),
            "error: cannot load the lock\n  caused by: cannot read `/no/such`\n  \
             caused by: No such file or directory (os error 2)\n\
             hint: see that the path is spelled right and exists\n"
        );
        assert_eq!(exit_kind(&error), ExitKind::Environment);
    }

    #[test]
    fn a_plain_error_of_the_system_has_a_remedy_too() {
        let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "failed to open file `/no/such`");
        let error = anyhow::Error::from(missing).context("cannot load the lock");
        assert!(render(&error).ends_with("hint: see that the path is spelled right and exists\n"));
    }

    #[test]
    fn hint_and_code_survive_context_and_question_marks() {
        fn inner() -> anyhow::Result<()> {
            Err(Failure::refused("key `x` is not known").hint("did you mean `y`?"))?;
            Ok(())
        }
        let error = inner().context("cannot read `image.toml`").unwrap_err();
        assert!(render(&error).ends_with("hint: did you mean `y`?\n"));
        assert_eq!(exit_kind(&error).code(), 1);
    }

    #[test]
    fn outermost_hint_wins() {
        let inner: anyhow::Result<()> = Err(Failure::refused("a").hint("inner").into());
        let error = inner.or_refuse("outer").unwrap_err();
        assert!(render(&error).contains("hint: outer") && !render(&error).contains("inner"));
    }

    #[test]
    fn an_error_nobody_explained_is_ours() {
        assert_eq!(exit_kind(&anyhow::anyhow!("odd")).code(), 2);
    }
}

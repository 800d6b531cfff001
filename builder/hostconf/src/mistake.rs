//! What is wrong with a document: every mistake with its line and column, in the order of the document.

use std::fmt;

/// How many mistakes are listed; a document with more is not worth a longer list.
const MOST_LISTED: usize = 100;

/// One mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was found and what is allowed.
    pub message: String,
}

/// All mistakes of a document. Prints one line for each: `host.toml:3:5: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// How the document is called in messages, e.g. `host.toml`.
    pub document: String,
    /// The mistakes in the order of the document, at most 100.
    pub list: Vec<Mistake>,
    /// How many more there are.
    pub more: usize,
}

impl Mistakes {
    /// Sorts mistakes by their place (byte offsets into `source`) and finds lines and columns.
    pub(crate) fn new(document: &str, source: &str, mut found: Vec<(usize, String)>) -> Self {
        found.sort();
        found.dedup();
        let more = found.len().saturating_sub(MOST_LISTED);
        found.truncate(MOST_LISTED);
        let list = found.into_iter().map(|(offset, message)| place(source, offset, message)).collect();
        Self { document: document.to_owned(), list, more }
    }
}

fn place(source: &str, offset: usize, message: String) -> Mistake {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    Mistake { line, column, message }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Mistake { line, column, message }) in self.list.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(out, "{end}{}:{line}:{column}: {message}", self.document)?;
        }
        if self.more > 0 { write!(out, "\n{}: and {} more", self.document, self.more) } else { Ok(()) }
    }
}

impl std::error::Error for Mistakes {}

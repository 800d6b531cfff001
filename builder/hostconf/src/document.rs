//! A walker over a TOML document that keeps positions and collects every mistake, so that one does not hide the others.
//!
//! `host.toml`, `overlay.toml`, `image.toml` and `sites.toml` are all read with it and so fail in the same words. A document
//! that is not TOML at all is reported with its syntax errors only, because what the parser guesses after them would mislead.

mod section;

use std::cell::RefCell;

use toml::de::DeTable;

pub(crate) use section::{Placed, Section};

use crate::mistake::Mistakes;

/// Largest document in bytes; also the limit of signed documents (`docs/formats/signature.md`).
const LARGEST: usize = 1024 * 1024;

/// Reads `source` with `build`, which notes mistakes in the sections it is given. `name` is used in messages.
pub(crate) fn read<T>(
    name: &str,
    source: &str,
    build: impl FnOnce(&Section<'_, '_>) -> Option<T>,
) -> Result<T, Mistakes> {
    let failed = |found| Err(Mistakes::new(name, source, found));
    if source.len() > LARGEST {
        return failed(vec![(0, format!("the document has {} bytes, at most {LARGEST} are allowed", source.len()))]);
    }
    let (table, errors) = DeTable::parse_recoverable(source);
    if !errors.is_empty() {
        let spots =
            errors.iter().map(|error| (error.span().map_or(0, |span| span.start), error.message().replace('\n', ", ")));
        return failed(spots.collect());
    }
    let mistakes = RefCell::new(Vec::new());
    let root = Section { mistakes: &mistakes, table: table.get_ref(), name: String::new(), spot: 0 };
    let outcome = build(&root);
    match (outcome, mistakes.into_inner()) {
        (Some(value), found) if found.is_empty() => Ok(value),
        (None, found) if found.is_empty() => failed(vec![(0, "the document is not complete".to_owned())]),
        (_, found) => failed(found),
    }
}

/// `a`, `b` and `c` in backticks, for messages.
pub(crate) fn quoted_list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// A foreign text for a message: short and without control characters, which could repaint a terminal.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

//! A table of a document, and the questions a reader asks it. Each missing or wrong value is noted with its place, and reading goes on.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{quoted_list, shown};
use crate::suggest::nearest;

/// A value and its byte offset in the document.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) spot: usize,
}

/// A table of the document. Reading a missing or wrong value notes the mistake and gives `None`.
#[derive(Clone)]
pub(crate) struct Section<'a, 'i> {
    pub(super) mistakes: &'a RefCell<Vec<(usize, String)>>,
    pub(super) table: &'a DeTable<'i>,
    /// How messages call the table: empty for the document itself, else `[name]`.
    pub(super) name: String,
    pub(super) spot: usize,
}

impl<'a, 'i> Section<'a, 'i> {
    /// Notes every key that is not in `known`, with a suggestion.
    pub(crate) fn allow(&self, known: &[&str]) {
        for key in self.table.keys() {
            let word: &str = key.get_ref();
            if known.contains(&word) {
                continue;
            }
            let advice = match nearest(word, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("allowed are {}", quoted_list(known)),
            };
            self.note(key.span().start, format!("unknown key `{}`{}: {advice}", shown(word), self.place()));
        }
    }

    /// Notes a document of another schema.
    pub(crate) fn schema(&self, known: u64) {
        if let Some(found) = self.integer("schema", 0..=u64::from(u32::MAX))
            && found != known
        {
            self.note(
                self.spot_of("schema"),
                format!("schema {found} is not known here: this version of casemate reads schema {known}"),
            );
        }
    }

    /// A text that must be there.
    pub(crate) fn text<T: FromStr<Err: Display>>(&self, key: &str) -> Option<T> {
        self.required(key)?;
        self.optional_text(key)
    }

    /// A text that may be absent.
    pub(crate) fn optional_text<T: FromStr<Err: Display>>(&self, key: &str) -> Option<T> {
        let value = self.value(key)?;
        self.parse_text(key, value).map(|placed| placed.value)
    }

    /// A list of texts; absent is empty.
    pub(crate) fn texts<T: FromStr<Err: Display>>(&self, key: &str) -> Vec<Placed<T>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_kind(key, value, "a list of texts, e.g. `[\"...\"]`");
            return Vec::new();
        };
        items.iter().filter_map(|item| self.parse_text(key, item)).collect()
    }

    /// A list of texts without their places.
    pub(crate) fn plain_texts<T: FromStr<Err: Display>>(&self, key: &str) -> Vec<T> {
        self.texts(key).into_iter().map(|placed| placed.value).collect()
    }

    /// A list of texts that must be there and not be empty.
    pub(crate) fn some_texts<T: FromStr<Err: Display>>(&self, key: &str) -> Vec<Placed<T>> {
        if self
            .required(key)
            .is_some_and(|value| value.get_ref().as_array().is_some_and(|items| items.iter().next().is_none()))
        {
            self.note(self.spot_of(key), format!("`{key}` is empty: at least one entry is needed"));
        }
        self.texts(key)
    }

    /// A whole number that must be there.
    pub(crate) fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.required(key)?;
        self.optional_integer(key, range)
    }

    /// A whole number that may be absent.
    pub(crate) fn optional_integer(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_kind(key, value, &wanted);
            return None;
        };
        let number =
            u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.note(value.span().start, format!("`{key}` is {}, it must be {wanted}", shown(integer.as_str())));
        }
        number
    }

    /// A boolean; absent is `false`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        let Some(value) = self.value(key) else {
            return false;
        };
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_kind(key, value, "`true` or `false`");
        }
        flag.unwrap_or_default()
    }

    /// A table that must be there.
    pub(crate) fn section(&self, key: &str) -> Option<Section<'a, 'i>> {
        if !self.has(key) {
            self.note(self.spot, format!("missing section `[{}]`", self.name_below(key)));
        }
        self.optional_section(key)
    }

    /// A table that may be absent.
    pub(crate) fn optional_section(&self, key: &str) -> Option<Section<'a, 'i>> {
        let value = self.value(key)?;
        self.below(key, format!("[{}]", self.name_below(key)), value)
    }

    /// A list of tables (`[[key]]`); absent is empty.
    pub(crate) fn sections(&self, key: &str) -> Vec<Section<'a, 'i>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_kind(key, value, &format!("a list of tables: write `[[{}]]`", self.name_below(key)));
            return Vec::new();
        };
        items.iter().filter_map(|item| self.below(key, format!("[[{}]]", self.name_below(key)), item)).collect()
    }

    /// The keys of a table whose keys are names, each with its table.
    pub(crate) fn named_sections<T: FromStr<Err: Display>>(&self) -> Vec<(T, Section<'a, 'i>)> {
        let mut named = Vec::new();
        for (key, value) in self.table {
            let name = self.parse_key(key);
            let section = self.below(key.get_ref(), format!("[{}]", self.name_below(key.get_ref())), value);
            named.extend(name.zip(section));
        }
        named
    }

    /// The keys of a table whose keys are names.
    pub(crate) fn names<T: FromStr<Err: Display>>(&self) -> Vec<(T, String)> {
        self.table.keys().filter_map(|key| Some((self.parse_key(key)?, key.get_ref().to_string()))).collect()
    }

    /// Whether the key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Where the value of the key stands, or the table when the key is absent.
    pub(crate) fn spot_of(&self, key: &str) -> usize {
        self.value(key).map_or(self.spot, |value| value.span().start)
    }

    /// Where the table stands.
    pub(crate) fn spot(&self) -> usize {
        self.spot
    }

    /// Notes a mistake at a place that the caller knows.
    pub(crate) fn note(&self, spot: usize, message: String) {
        self.mistakes.borrow_mut().push((spot, message));
    }

    /// Parses a value found elsewhere with the words of this section.
    pub(crate) fn parse_at<T: FromStr<Err: Display>>(&self, key: &str, spot: usize, text: &str) -> Option<T> {
        text.parse().map_err(|error: T::Err| self.note(spot, format!("`{key}`: {error}"))).ok()
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn required(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        let value = self.value(key);
        if value.is_none() {
            self.note(self.spot, format!("missing key `{key}`{}", self.place()));
        }
        value
    }

    fn parse_text<T: FromStr<Err: Display>>(&self, key: &str, value: &Spanned<DeValue<'i>>) -> Option<Placed<T>> {
        let spot = value.span().start;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_kind(key, value, "a text in quotes");
            return None;
        };
        self.parse_at(key, spot, text).map(|value| Placed { value, spot })
    }

    fn parse_key<T: FromStr<Err: Display>>(&self, key: &Spanned<toml::de::DeString<'i>>) -> Option<T> {
        let text: &str = key.get_ref();
        text.parse().map_err(|error: T::Err| self.note(key.span().start, format!("key {error}"))).ok()
    }

    fn below(&self, key: &str, name: String, value: &'a Spanned<DeValue<'i>>) -> Option<Section<'a, 'i>> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_kind(key, value, "a table");
            return None;
        };
        Some(Section { mistakes: self.mistakes, table, name, spot: value.span().start })
    }

    fn wrong_kind(&self, key: &str, value: &Spanned<DeValue<'i>>, wanted: &str) {
        self.note(value.span().start, format!("`{}` is {}, it must be {wanted}", shown(key), kind(value.get_ref())));
    }

    fn name_below(&self, key: &str) -> String {
        let own = self.name.trim_matches(['[', ']']);
        if own.is_empty() { key.to_owned() } else { format!("{own}.{key}") }
    }

    fn place(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!(" in `{}`", self.name) }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

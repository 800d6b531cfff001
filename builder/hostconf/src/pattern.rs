//! A value that may be written as a template, e.g. `/etc/php/8.4/fpm/pool.d/{{ site.id }}.conf`.
//!
//! A template is tried with a sample site when its overlay is read, so a wrong name is found by the builder and not on a host.

use std::fmt::Display;
use std::str::FromStr;

use crate::context::expand;
use crate::document::{Placed, Section};
use crate::names::Word;
use crate::sample::sample_contexts;

/// A value, or the template that gives it for a host or site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern<T> {
    /// The value itself.
    Literal(T),
    /// A template (minijinja).
    Template(String),
}

/// Whether a template may stand in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Templates {
    /// Only in entries with `for = "site"`, and this is none.
    Refused,
    /// Names of the host may be used, but there is no site.
    Host,
    /// Names of the host and of the site may be used.
    Site,
}

impl<T> Pattern<T> {
    /// The value, when it is no template.
    pub fn literal(&self) -> Option<&T> {
        match self {
            Self::Literal(value) => Some(value),
            Self::Template(_) => None,
        }
    }
}

impl<T: FromStr<Err: Display> + Clone> Pattern<T> {
    /// Gives the value in a context; an error says why there is none.
    pub(crate) fn resolve(&self, context: &minijinja::Value) -> Result<T, String> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Template(text) => {
                let expanded = expand(text, context).map_err(|error| format!("template `{text}`: {error}"))?;
                expanded.parse().map_err(|error: T::Err| format!("template `{text}` gives {error}"))
            }
        }
    }

    /// The value for the sample site, for rules that hold for every site.
    pub(crate) fn sample(&self) -> Option<T> {
        sample_contexts().ok().and_then(|(_, site)| self.resolve(&site).ok())
    }

    /// Reads a text of a document.
    fn read(section: &Section<'_, '_>, key: &str, text: &Placed<Word>, templates: Templates) -> Option<Self> {
        let Placed { value, spot } = text;
        if !["{{", "{%", "{#"].iter().any(|mark| value.as_str().contains(mark)) {
            return section.parse_at(key, *spot, value.as_str()).map(Self::Literal);
        }
        let pattern = Self::Template(value.to_string());
        let context = match templates {
            Templates::Refused => {
                section.note(*spot, format!("`{key}`: a template may stand here only with `for = \"site\"`"));
                return None;
            }
            Templates::Host => sample_contexts().map(|(host, _)| host),
            Templates::Site => sample_contexts().map(|(_, site)| site),
        };
        match context.map_err(|mistakes| mistakes.to_string()).and_then(|context| pattern.resolve(&context)) {
            Ok(_) => Some(pattern),
            Err(reason) => {
                section.note(*spot, format!("`{key}`: {reason}"));
                None
            }
        }
    }
}

/// A value that must be there.
pub(crate) fn pattern<T: FromStr<Err: Display> + Clone>(
    section: &Section<'_, '_>,
    key: &str,
    templates: Templates,
) -> Option<Pattern<T>> {
    let value = section.text(key)?;
    Pattern::read(section, key, &Placed { value, spot: section.spot_of(key) }, templates)
}

/// A value with a default.
pub(crate) fn pattern_or<T: FromStr<Err: Display> + Clone>(
    section: &Section<'_, '_>,
    key: &str,
    templates: Templates,
    default: Option<Pattern<T>>,
) -> Option<Pattern<T>> {
    if section.has(key) { pattern(section, key, templates) } else { default }
}

/// A list of values; absent is empty.
pub(crate) fn patterns<T: FromStr<Err: Display> + Clone>(
    section: &Section<'_, '_>,
    key: &str,
    templates: Templates,
) -> Vec<Pattern<T>> {
    section.texts(key).iter().filter_map(|text| Pattern::read(section, key, text, templates)).collect()
}

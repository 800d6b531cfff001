//! A path of a site that has moved: `[[domain.site.redirect]]` of `host.toml`.

use std::str::FromStr;

use serde::Serialize;

use crate::document::Section;
use crate::names::{ValueError, text_type};

/// Longest path or address.
const LONGEST: usize = 1000;

/// Visitors of a path, and of everything below it, are sent elsewhere for good (HTTP 301).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// The old path.
    pub from: RedirectPath,
    /// Where it is now.
    pub to: RedirectTarget,
}

/// The path of a site as the web server's configuration can hold it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RedirectPath(String);

text_type!(RedirectPath);

impl FromStr for RedirectPath {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // Everything moved would be moved again where it arrives.
        if is_path(text) && text != "/" && !text.contains('?') {
            return Ok(Self(text.to_owned()));
        }
        Err(ValueError::new(
            text,
            "a path that has moved: it starts with `/`, is more than that, and holds no blank, quote, `?` or `%`",
        ))
    }
}

/// A path of the same site, or an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RedirectTarget(String);

text_type!(RedirectTarget);

impl FromStr for RedirectTarget {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let address = text
            .strip_prefix("https://")
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && is_path(&format!("/{rest}")));
        if address || is_path(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(ValueError::new(text, "a path of this site such as `/new`, or an address that starts with `https://`"))
    }
}

/// `%` would be a variable to the web server, `$` a part of what was matched, and `//` another host to a browser.
fn is_path(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"'`<>\\^{|}$%#".contains(&byte);
    text.starts_with('/') && !text.starts_with("//") && text.len() <= LONGEST && text.bytes().all(allowed)
}

/// Reads the redirects of a site; a path may move once.
pub(crate) fn read_redirects(site: &Section<'_, '_>) -> Vec<Redirect> {
    let mut read: Vec<Redirect> = Vec::new();
    for section in site.sections("redirect") {
        section.allow(&["from", "to"]);
        let (from, to) = (section.text::<RedirectPath>("from"), section.text::<RedirectTarget>("to"));
        let (Some(from), Some(to)) = (from, to) else { continue };
        if read.iter().any(|other| other.from == from) {
            section.note(section.spot_of("from"), format!("`{from}` is redirected twice: keep one"));
        }
        if to.as_str().strip_prefix(from.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            section.note(section.spot_of("to"), format!("`{from}` would be sent to itself or below itself for ever"));
        }
        read.push(Redirect { from, to });
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_the_web_server_reads_otherwise_is_a_path() {
        for good in ["/old", "/a/b.html", "/a-b_c~d"] {
            assert!(good.parse::<RedirectPath>().is_ok(), "{good}");
        }
        for bad in ["", "/", "old", "//evil.example", "/a b", "/a\"", "/%{ENV:X}", "/$1", "/x?y=z", "/a\nb", "/ü"] {
            assert!(bad.parse::<RedirectPath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn targets_are_paths_or_https() {
        for good in ["/", "/new", "https://example.com", "https://example.com/a?b=c"] {
            assert!(good.parse::<RedirectTarget>().is_ok(), "{good}");
        }
        for bad in ["http://example.com/", "https://", "https:///x", "javascript:alert(1)", "//example.com", "new"] {
            assert!(bad.parse::<RedirectTarget>().is_err(), "{bad}");
        }
    }
}

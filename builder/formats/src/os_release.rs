//! The `os-release` file: who the system says it is.
//!
//! Reads and writes the format of os-release(5): `KEY=value` lines in which a value may be bare or quoted as in a shell. The shell
//! features that the manual page rules out (expansion, concatenation, arrays) are refused, not interpreted.

use std::fmt;
use std::str::FromStr;

/// The fields of an `os-release` file in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OsRelease {
    fields: Vec<(String, String)>,
}

/// Why a text is not an `os-release` file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OsReleaseError {
    /// A line of another shape.
    #[error(
        "os-release line {line}: `{text}` is not `KEY=value`: use upper-case letters, digits and `_` before the `=`"
    )]
    Line {
        /// Line number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A value that a shell would read in another way.
    #[error(
        "os-release line {line}: value `{value}` is not quoted correctly: put it in double quotes, `\\` before any of `\"$\\` and backquote"
    )]
    Quoting {
        /// Line number, from 1.
        line: usize,
        /// The value as written.
        value: String,
    },
    /// The same key twice; readers disagree on which counts.
    #[error("os-release line {line}: `{key}` is set a second time: remove one of the two lines")]
    Duplicate {
        /// Line number, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// A key that cannot be written.
    #[error("`{key}` is not an os-release key: use upper-case letters, digits and `_`, not starting with a digit")]
    Key {
        /// The key.
        key: String,
    },
    /// A value with a control character, which has no written form.
    #[error("value of `{key}` holds a control character: {value:?}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

impl OsRelease {
    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Sets a key, in its place if it is there, else at the end.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), OsReleaseError> {
        if !is_key(key) {
            return Err(OsReleaseError::Key { key: key.to_owned() });
        }
        if value.chars().any(char::is_control) {
            return Err(OsReleaseError::Value { key: key.to_owned(), value: value.to_owned() });
        }
        match self.fields.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.fields.push((key.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// Takes a key out, if it is there.
    pub fn remove(&mut self, key: &str) {
        self.fields.retain(|(name, _)| name != key);
    }

    /// Returns all fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Adds one line of a file.
    fn add_line(&mut self, line: usize, text: &str) -> Result<(), OsReleaseError> {
        let shape = || OsReleaseError::Line { line, text: text.to_owned() };
        let (key, written) = text.split_once('=').filter(|(key, _)| is_key(key)).ok_or_else(shape)?;
        if self.get(key).is_some() {
            return Err(OsReleaseError::Duplicate { line, key: key.to_owned() });
        }
        let value = unquote(written).ok_or_else(|| OsReleaseError::Quoting { line, value: written.to_owned() })?;
        self.set(key, &value)
    }
}

impl FromStr for OsRelease {
    type Err = OsReleaseError;

    fn from_str(text: &str) -> Result<Self, OsReleaseError> {
        let mut release = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line_text = line.trim();
            if !line_text.is_empty() && !line_text.starts_with('#') {
                release.add_line(index + 1, line_text)?;
            }
        }
        Ok(release)
    }
}

impl fmt::Display for OsRelease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(key, value)| writeln!(formatter, "{key}={}", quote(value)))
    }
}

/// Returns whether a key can stand before the `=`.
fn is_key(key: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    key.bytes().all(allowed) && key.starts_with(|first: char| !first.is_ascii_digit())
}

/// Returns whether a character needs no quotes in a shell.
fn is_bare(character: char) -> bool {
    character.is_ascii_alphanumeric() || "._-+:/@%,~^".contains(character)
}

/// Writes a value so that a shell reads it back unchanged.
fn quote(value: &str) -> String {
    // A leading tilde is expanded by a shell.
    if value.chars().all(is_bare) && !value.starts_with('~') && !value.is_empty() {
        return value.to_owned();
    }
    let mut quoted = String::from("\"");
    for character in value.chars() {
        if matches!(character, '"' | '$' | '\\' | '`') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// Reads a written value; `None` if a shell would see anything but one plain string.
fn unquote(written: &str) -> Option<String> {
    if let Some(inner) = written.strip_prefix('\'') {
        return inner.strip_suffix('\'').filter(|text| !text.contains('\'')).map(str::to_owned);
    }
    if let Some(inner) = written.strip_prefix('"') {
        return unescape(inner);
    }
    written.chars().all(|character| is_bare(character) || !character.is_ascii()).then(|| written.to_owned())
}

/// Reads what follows an opening double quote, up to the closing one at the end.
fn unescape(inner: &str) -> Option<String> {
    let mut value = String::new();
    let mut characters = inner.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(value),
            '\\' => match characters.next()? {
                special @ ('"' | '$' | '\\' | '`') => value.push(special),
                // A shell keeps the backslash before any other character.
                other => value.extend(['\\', other]),
            },
            '$' | '`' => return None,
            plain => value.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEBIAN: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"13\"\n\n# comment\nID=debian\nHOME_URL='https://www.debian.org/'\n";

    #[test]
    fn reads_debian_and_writes_it_in_order() {
        let mut release: OsRelease = DEBIAN.parse().unwrap();
        assert_eq!(release.get("PRETTY_NAME"), Some("Debian GNU/Linux 13 (trixie)"));
        release.set("IMAGE_VERSION", "1.2~rc1").unwrap();
        release.set("ID", "casemate").unwrap();
        release.remove("HOME_URL");
        let written = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=13\nID=casemate\nIMAGE_VERSION=1.2~rc1\n";
        assert_eq!(release.to_string(), written);
    }

    #[test]
    fn names_the_line_of_a_mistake() {
        for (text, line) in [
            ("ID=a\nnonsense", 2),
            ("id=a", 1),
            ("\nNAME=a b", 2),
            ("NAME=\"a", 1),
            ("NAME=\"$(id)\"", 1),
            ("NAME='a'b", 1),
        ] {
            let message = text.parse::<OsRelease>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("os-release line {line}:")), "{message}");
        }
        let twice = "ID=a\nID=b".parse::<OsRelease>().unwrap_err();
        assert_eq!(twice, OsReleaseError::Duplicate { line: 2, key: "ID".to_owned() });
    }

    #[test]
    fn refuses_line_breaks_in_values() {
        assert!(OsRelease::default().set("NAME", "a\nID=b").is_err());
        assert!(OsRelease::default().set("1NAME", "a").is_err());
    }

    proptest! {
        #[test]
        fn any_printable_value_survives_writing(value in "[^\\p{Cc}]{0,40}") {
            let mut release = OsRelease::default();
            release.set("NAME", &value).unwrap();
            prop_assert_eq!(release.to_string().parse::<OsRelease>().unwrap(), release);
        }

        #[test]
        fn parser_never_panics(text: String, value: String) {
            let _ = text.parse::<OsRelease>();
            let _ = format!("NAME={value}").parse::<OsRelease>();
        }
    }
}

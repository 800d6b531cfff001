//! The kernel command line as a list of arguments.
//!
//! Follows the kernel's own rules (`lib/cmdline.c`, `next_arg`): arguments are separated by blanks, double quotes keep blanks
//! together, there is no escape character, and the last argument of a name wins. Only printable ASCII is accepted, and only as
//! much as the kernel takes; what is too long would be cut off in silence at boot. Nothing here knows what an argument means.

use std::fmt;
use std::str::FromStr;

/// Longest command line in bytes: the x86 kernel has 2048 including the closing zero byte (`COMMAND_LINE_SIZE`).
pub const MAX_LENGTH: usize = 2047;

/// An ordered list of kernel arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandLine {
    arguments: Vec<Argument>,
}

/// One argument: `name` or `name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    name: String,
    value: Option<String>,
}

/// Why a text is not a command line or an argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// A character that the kernel or the boot stub would not take as it is.
    #[error("character `{}` in `{text}` is not allowed: use printable ASCII without line breaks", character.escape_default())]
    Character {
        /// The text that holds it.
        text: String,
        /// The character.
        character: char,
    },
    /// A quote without its partner.
    #[error("`{text}` has an opening quote without a closing one: add `\"`")]
    OpenQuote {
        /// The whole text.
        text: String,
    },
    /// A quote inside a name or value; the kernel has no way to write it.
    #[error("`{text}` holds a double quote: the kernel has no escape for it, leave it out")]
    InnerQuote {
        /// The argument.
        text: String,
    },
    /// A name that is empty or has a blank or an equals sign.
    #[error("`{name}` is not an argument name: expected at least one character, no blank and no `=`")]
    Name {
        /// The name.
        name: String,
    },
    /// Longer than the kernel takes.
    #[error(
        "command line has {length} bytes, expected at most {MAX_LENGTH}: the kernel would cut off the rest, remove arguments"
    )]
    TooLong {
        /// Length in bytes.
        length: usize,
    },
}

impl Argument {
    /// Makes an argument without a value.
    pub fn flag(name: &str) -> Result<Self, CommandLineError> {
        check_part(name)?;
        if name.is_empty() || name.contains([' ', '=']) {
            return Err(CommandLineError::Name { name: name.to_owned() });
        }
        Ok(Self { name: name.to_owned(), value: None })
    }

    /// Makes an argument with a value, which may be empty or hold blanks.
    pub fn with_value(name: &str, value: &str) -> Result<Self, CommandLineError> {
        check_part(value)?;
        Ok(Self { value: Some(value.to_owned()), ..Self::flag(name)? })
    }

    /// Returns the part before `=`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the part after `=`, without quotes.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Reads one argument as it stands between blanks; quotes may be around all of it or around the value.
    fn parse(word: &str) -> Result<Self, CommandLineError> {
        let bare = strip_quotes(word);
        match bare.split_once('=') {
            Some((name, value)) => Self::with_value(name, strip_quotes(value)),
            None => Self::flag(bare),
        }
    }
}

impl CommandLine {
    /// Makes a command line, or refuses one that is too long.
    pub fn new(arguments: Vec<Argument>) -> Result<Self, CommandLineError> {
        let line = Self { arguments };
        let length = line.to_string().len();
        if length > MAX_LENGTH {
            return Err(CommandLineError::TooLong { length });
        }
        Ok(line)
    }

    /// Returns all arguments in order.
    pub fn arguments(&self) -> &[Argument] {
        &self.arguments
    }

    /// Returns whether an argument of this name is there, with or without a value.
    pub fn contains(&self, name: &str) -> bool {
        self.arguments.iter().any(|argument| argument.name == name)
    }

    /// Returns the value of the last argument of this name that has one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.arguments.iter().rev().filter(|argument| argument.name == name).find_map(Argument::value)
    }
}

impl FromStr for CommandLine {
    type Err = CommandLineError;

    fn from_str(text: &str) -> Result<Self, CommandLineError> {
        check_characters(text)?;
        let words = split_words(text)?;
        let arguments = words.into_iter().map(Argument::parse).collect::<Result<_, _>>()?;
        Self::new(arguments)
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => formatter.write_str(&self.name),
            Some(value) if value.contains(' ') => write!(formatter, "{}=\"{value}\"", self.name),
            Some(value) => write!(formatter, "{}={value}", self.name),
        }
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, argument) in self.arguments.iter().enumerate() {
            write!(formatter, "{}{argument}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// Splits at blanks that are not inside quotes.
fn split_words(text: &str) -> Result<Vec<&str>, CommandLineError> {
    let mut quoted = false;
    let words = text.split(|character| {
        quoted ^= character == '"';
        character == ' ' && !quoted
    });
    let words = words.filter(|word| !word.is_empty()).collect();
    if quoted {
        return Err(CommandLineError::OpenQuote { text: text.to_owned() });
    }
    Ok(words)
}

/// Takes off a pair of quotes around the whole text.
fn strip_quotes(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// Refuses what cannot be inside a name or value.
fn check_part(text: &str) -> Result<(), CommandLineError> {
    check_characters(text)?;
    if text.contains('"') {
        return Err(CommandLineError::InnerQuote { text: text.to_owned() });
    }
    Ok(())
}

/// Refuses everything but printable ASCII.
fn check_characters(text: &str) -> Result<(), CommandLineError> {
    match text.chars().find(|character| !matches!(character, ' '..='~')) {
        Some(character) => Err(CommandLineError::Character { text: text.to_owned(), character }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keeps_order_and_lets_the_last_value_win() {
        let line: CommandLine = "console=tty0 ro  panic=10 console=ttyS0,115200".parse().unwrap();
        assert_eq!(line.value("console"), Some("ttyS0,115200"));
        assert!(line.contains("ro"));
        assert_eq!(line.value("ro"), None);
        assert_eq!(line.to_string(), "console=tty0 ro panic=10 console=ttyS0,115200");
    }

    #[test]
    fn reads_quotes_around_value_and_around_all() {
        for text in ["dyndbg=\"file ec.c +p\"", "\"dyndbg=file ec.c +p\""] {
            let line: CommandLine = text.parse().unwrap();
            assert_eq!(line.value("dyndbg"), Some("file ec.c +p"));
            assert_eq!(line.to_string(), "dyndbg=\"file ec.c +p\"");
        }
    }

    #[test]
    fn refuses_what_the_kernel_would_read_otherwise() {
        for text in ["a=\"b", "a\nb", "a=é", "=x", "a=b\"c d\"e", "\"\""] {
            assert!(text.parse::<CommandLine>().is_err(), "{text}");
        }
        assert!(Argument::flag("a b").is_err());
    }

    #[test]
    fn refuses_a_line_that_the_kernel_would_cut() {
        let longest = "a".repeat(MAX_LENGTH);
        assert!(longest.parse::<CommandLine>().is_ok());
        let error = format!("{longest}a").parse::<CommandLine>().unwrap_err();
        assert_eq!(error, CommandLineError::TooLong { length: 2048 });
    }

    proptest! {
        #[test]
        fn printed_line_reads_back_the_same(parts in proptest::collection::vec(("[a-z._]{1,8}", proptest::option::of("[ -!#-~]{0,12}")), 0..10)) {
            let arguments = parts.iter().map(|(name, value)| match value {
                Some(value) => Argument::with_value(name, value).unwrap(),
                None => Argument::flag(name).unwrap(),
            });
            let line = CommandLine::new(arguments.collect()).unwrap();
            prop_assert_eq!(line.to_string().parse::<CommandLine>().unwrap(), line);
        }

        #[test]
        fn parser_never_panics(text: String, ascii in "[ -~]{0,60}") {
            let _ = text.parse::<CommandLine>();
            let _ = ascii.parse::<CommandLine>();
        }
    }
}

//! Names and short texts of the documents, each with a closed alphabet: what parses here cannot break a line, leave a directory or
//! start an option in the file that it is rendered into.

use std::str::FromStr;

use thiserror::Error;

use crate::document::shown;

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{found}` is not {expected}")]
pub struct ValueError {
    /// The offending text, shortened.
    pub found: String,
    /// What is allowed.
    pub expected: String,
}

impl ValueError {
    pub(crate) fn new(found: &str, expected: impl Into<String>) -> Self {
        Self { found: shown(found), expected: expected.into() }
    }
}

/// Text in and out of a newtype over `String`: `as_str`, `Display` and `Serialize`.
macro_rules! text_type {
    ($type:ident) => {
        impl $type {
            /// The value as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}
pub(crate) use text_type;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $expected:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        text_type!($type);

        impl FromStr for $type {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                let allowed: fn(&str) -> bool = $allowed;
                if allowed(text) { Ok(Self(text.to_owned())) } else { Err(ValueError::new(text, $expected)) }
            }
        }
    };
}

name!(
    /// The id of a host, for documents that are meant for one host.
    HostId, "a host id: 1 to 63 of `a-z`, `0-9` and `-`, not starting or ending with `-`",
    |text| made_of(text, 63, is_lower_digit_dash) && !text.starts_with('-') && !text.ends_with('-') && text != "any"
);
name!(
    /// A locale such as `en_US` or `de_DE_formal`.
    Locale, "a locale: e.g. `en_US`, `de_DE` or `fr`", is_locale
);
name!(
    /// The first account of a `WordPress` site. The names that every attacker tries are refused.
    AdminUser, "an account name: 3 to 60 of `a-z`, `0-9`, `.`, `_` and `-`, starting with a letter, and not `admin`, `administrator` or `root`",
    |text| text.len() >= 3 && made_of(text, 60, |byte| is_lower_digit_dash(byte) || b"._".contains(&byte)) && starts_with_letter(text)
        && !["admin", "administrator", "root"].contains(&text)
);
name!(
    /// The title of a site.
    Title, "a title: 1 to 100 characters on one line", |text| is_line(text, 100)
);
name!(
    /// A short text on one line, e.g. a summary or a reason.
    Line, "a text of 1 to 200 characters on one line", |text| is_line(text, 200)
);
name!(
    /// Which network device, a glob as in systemd.network(5), `Name=`.
    InterfaceMatch, "a device name or glob: 1 to 15 letters, digits, `.`, `_`, `-`, `*` and `?`",
    |text| made_of(text, 15, |byte| byte.is_ascii_alphanumeric() || b"._-*?".contains(&byte))
);
name!(
    /// The name of an overlay, which is the name of its folder.
    OverlayName, "an overlay name: 1 to 32 of `a-z`, `0-9` and `-`, starting with a letter",
    |text| made_of(text, 32, is_lower_digit_dash) && starts_with_letter(text)
);
name!(
    /// A Debian package name (Debian policy 5.6.1).
    PackageName, "a Debian package name: 2 or more of `a-z`, `0-9`, `+`, `-` and `.`, starting with a letter or digit",
    |text| text.len() >= 2 && made_of(text, 128, |byte| is_lower_digit_dash(byte) || b"+.".contains(&byte)) && starts_alphanumeric(text)
);
name!(
    /// A Debian suite such as `trixie`.
    SuiteName, "a Debian suite: letters `a-z` and digits, e.g. `trixie`",
    |text| made_of(text, 32, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) && starts_with_letter(text)
);
name!(
    /// A component of the archive such as `main`.
    ComponentName, "a component of the archive, e.g. `main`", |text| made_of(text, 32, is_lower_digit_dash)
);
name!(
    /// The base address of a mirror.
    MirrorUrl, "the address of a mirror: it starts with `http://` or `https://` and holds no blank",
    |text| (text.starts_with("https://") || text.starts_with("http://")) && made_of(text, 300, |byte| byte.is_ascii_graphic())
);
name!(
    /// The name of an asset.
    AssetName, "an asset name: 1 to 64 of `a-z`, `0-9` and `-`, starting with a letter",
    |text| made_of(text, 64, is_lower_digit_dash) && starts_with_letter(text)
);
name!(
    /// The name of a jail of `Fail2Ban`.
    JailName, "the name of a jail: 1 to 26 of `a-z`, `0-9` and `-`, starting with a letter",
    |text| made_of(text, 26, is_lower_digit_dash) && starts_with_letter(text)
);
name!(
    /// A condition on the journal, as journalctl(1) takes it.
    JournalMatch, "fields of the journal, e.g. `_SYSTEMD_UNIT=ssh.service`: `FIELD=value`, several separated by blanks, `+` for \"or\"",
    |text| is_line(text, 200) && text.split(' ').all(|word| word == "+" || word.split_once('=').is_some_and(|(field, value)| {
        made_of(field, 64, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_') && made_of(value, 128, |byte| byte.is_ascii_graphic() && byte != b'%')
    }))
);
name!(
    /// The address of one file.
    AssetUrl, "the address of a file: it starts with `http://` or `https://` and holds no blank, account or `#`",
    |text| text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).is_some_and(|rest| {
        made_of(rest, 1000, |byte| byte.is_ascii_graphic() && !b"#@\"<>\\^`{|}".contains(&byte)) && !rest.starts_with('/')
    })
);
name!(
    /// A licence as an SPDX expression.
    LicenceExpression, "an SPDX licence expression: letters, digits, `.`, `-`, `+`, blanks and brackets, e.g. `GPL-2.0-or-later`",
    |text| text == text.trim() && made_of(text, 200, |byte| byte.is_ascii_alphanumeric() || b" .-+()".contains(&byte))
);
name!(
    /// A systemd unit with its suffix (systemd.unit(5)).
    UnitName, "a unit name with its suffix, e.g. `ssh.service`", is_unit
);
name!(
    /// A user or group name, as Debian's adduser allows it.
    AccountName, "an account name: 1 to 31 of `a-z`, `0-9`, `_` and `-`, starting with a letter or `_`",
    |text| made_of(text, 31, |byte| is_lower_digit_dash(byte) || byte == b'_') && (starts_with_letter(text) || text.starts_with('_'))
);
name!(
    /// A plain file name without a directory.
    FileName, "a plain file name: letters, digits, `.`, `_`, `-` and `@`, not starting with a dot",
    |text| made_of(text, 128, |byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte)) && !text.starts_with('.')
);
name!(
    /// An absolute path in its one spelling: no `.`, `..`, double or trailing slash, blank or character that a shell or tmpfiles would expand.
    AbsolutePath, "an absolute path: letters, digits, `.`, `_`, `-`, `+`, `@`, `:` and `/`, without `.`, `..`, `//` or a slash at the end", is_path
);
name!(
    /// Paths with `*`, `?` and `**`.
    Glob, "a glob: an absolute path that may hold `*`, `?` and `**`",
    |text| made_of(text, 300, |byte| byte.is_ascii_graphic()) && text.starts_with('/') && text.split('/').all(|part| part != "." && part != "..")
);
name!(
    /// A question of debconf, `package/question`.
    DebconfQuestion, "a debconf question: `package/question`",
    |text| made_of(text, 200, |byte| byte.is_ascii_alphanumeric() || b"+.-_/".contains(&byte)) && text.contains('/')
);

name!(
    /// One word of a command or the value of an environment variable.
    Word, "a text of at most 4096 characters without control characters",
    |text| text.chars().count() <= 4096 && !text.chars().any(char::is_control)
);
name!(
    /// The name of an environment variable.
    VariableName, "a variable name: 1 to 64 of `A-Z`, `0-9` and `_`, starting with a letter",
    |text| made_of(text, 64, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        && text.starts_with(|letter: char| letter.is_ascii_uppercase())
);
name!(
    /// The path of a web request.
    RequestPath, "a request path: it starts with `/` and holds no blank",
    |text| text.starts_with('/') && made_of(text, 1000, |byte| byte.is_ascii_graphic())
);

impl AccountName {
    /// The super-user, the default owner.
    pub fn root() -> Self {
        Self("root".to_owned())
    }
}

impl AbsolutePath {
    /// The directory that holds it; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/')?;
        match parent {
            "" if self.0 == "/" => None,
            "" => Some(Self("/".to_owned())),
            parent => Some(Self(parent.to_owned())),
        }
    }

    /// The same path below another root, e.g. `/etc/hosts` below `/run/casemate`.
    #[must_use]
    pub fn below(&self, root: &str) -> Self {
        Self(format!("{root}{}", self.0))
    }

    /// Whether it stands below `directory`, at any depth.
    pub fn is_below(&self, directory: &str) -> bool {
        self.0.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
    }
}

fn made_of(text: &str, longest: usize, allowed: fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= longest && text.bytes().all(allowed)
}

fn is_lower_digit_dash(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn starts_with_letter(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_lowercase())
}

fn starts_alphanumeric(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
}

fn is_line(text: &str, longest: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= longest && !text.chars().any(char::is_control)
}

fn is_locale(text: &str) -> bool {
    let mut parts = text.split('_');
    let language = parts
        .next()
        .is_some_and(|part| (2..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_lowercase()));
    let region = parts.next().is_none_or(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_uppercase()));
    let variant =
        parts.next().is_none_or(|part| made_of(part, 16, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    language && region && variant && parts.next().is_none()
}

fn is_unit(text: &str) -> bool {
    const SUFFIXES: [&str; 7] = ["service", "socket", "timer", "target", "path", "mount", "slice"];
    let allowed = made_of(text, 255, |byte| byte.is_ascii_alphanumeric() || b":_.\\@-".contains(&byte));
    allowed && text.rsplit_once('.').is_some_and(|(stem, suffix)| !stem.is_empty() && SUFFIXES.contains(&suffix))
}

fn is_path(text: &str) -> bool {
    if text == "/" {
        return true;
    }
    let allowed = made_of(text, 300, |byte| byte.is_ascii_alphanumeric() || b"._-+@:/".contains(&byte));
    allowed && text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !["", ".", ".."].contains(&part)))
}

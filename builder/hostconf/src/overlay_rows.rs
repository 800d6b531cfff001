//! The closed vocabularies of `overlay.toml`: protocol, zone, class of state, kind of debconf answer, file mode.

use std::fmt;
use std::str::FromStr;

use crate::names::ValueError;

/// An enum that is written as one of a few words.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident, $what:literal, $($(#[$word_doc:meta])* $variant:ident = $word:literal),+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[$word_doc])* $variant),+ }

        impl $type {
            /// The value as it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::names::ValueError;

            fn from_str(text: &str) -> Result<Self, $crate::names::ValueError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::names::ValueError::new(text, format!("{}: {}", $what, [$($word),+].map(|word| format!("`{word}`")).join(", ")))),
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(crate) use words;

words!(
    /// A transport protocol.
    Protocol, "a protocol", /// `tcp`
    Tcp = "tcp", /// `udp`
    Udp = "udp"
);
words!(
    /// From or to where a port is open.
    PortZone, "a zone", /// The management networks of host.toml.
    Management = "mgmt", /// Everywhere.
    World = "net"
);
words!(
    /// To where a user may connect.
    EgressZone, "a zone", /// The management networks of host.toml.
    Management = "mgmt", /// Everywhere but the metadata addresses of clouds.
    World = "net", /// The metadata addresses of clouds.
    Metadata = "metadata"
);
words!(
    /// What kind of state a path holds; it drives backup, checks and snapshots.
    StateClass, "a class of state", /// Programs of a site.
    Code = "code", /// What users made.
    Data = "data", /// Keys and passwords.
    Secret = "secret", /// Can be made again.
    Cache = "cache", /// Files of a database server.
    Database = "db", /// Logs.
    Log = "log"
);
words!(
    /// The type of a debconf answer.
    AnswerKind, "a debconf type", /// Yes or no, written `true` and `false`.
    Boolean = "boolean", /// A text.
    String = "string", /// One of a list.
    Select = "select", /// Some of a list.
    Multiselect = "multiselect", /// A text that is shown only.
    Note = "note", /// A secret text.
    Password = "password"
);

/// The permission bits of a file or directory, never set-uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode(u32);

impl Mode {
    /// A plain file that all may read.
    pub const READABLE: Self = Self(0o644);
    /// A file that its owner alone may read.
    pub const PRIVATE: Self = Self(0o600);

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let octal = text.len() == 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| octal && bits & 0o4000 == 0);
        bits.map(Self)
            .ok_or_else(|| ValueError::new(text, "a mode: four octal digits without the set-uid bit, e.g. `0644`"))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04o}", self.0)
    }
}

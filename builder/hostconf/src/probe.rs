//! The probes of the health gate: what `[[health]]` may ask for, exactly one in each entry.

use crate::document::Section;
use crate::names::{AbsolutePath, Line, RequestPath, Word};

/// The keys of the probes.
pub(crate) const PROBES: [&str; 6] = ["ssh", "smtp", "tcp", "unix", "exec", "https"];

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// An ssh server greets on this port of the loopback.
    Ssh {
        /// Port.
        port: u16,
    },
    /// A mail server greets on this port of the loopback.
    Smtp {
        /// Port.
        port: u16,
    },
    /// Something accepts connections on this port of the loopback.
    Tcp {
        /// Port.
        port: u16,
    },
    /// Something accepts connections on this socket.
    Unix {
        /// Path of the socket.
        path: AbsolutePath,
    },
    /// A program succeeds.
    Exec {
        /// The program, an absolute path, and its arguments.
        command: Vec<Word>,
    },
    /// The web server answers 200 for a site's name, with this text in the body.
    Https {
        /// Path of the request.
        path: RequestPath,
        /// Text that must be in the answer.
        expect: Line,
    },
}

/// Reads the one probe of a `[[health]]` entry.
pub(crate) fn read_probe(row: &Section<'_, '_>) -> Option<ProbeKind> {
    let given: Vec<&str> = PROBES.into_iter().filter(|key| row.has(key)).collect();
    let &[key] = given.as_slice() else {
        let found = if given.is_empty() { "no probe".to_owned() } else { format!("{} probes", given.len()) };
        row.note(
            row.spot(),
            format!("{found} in `[[health]]`: give exactly one of {}", crate::document::quoted_list(&PROBES)),
        );
        return None;
    };
    let section = row.optional_section(key)?;
    match key {
        "ssh" => read_port(&section).map(|port| ProbeKind::Ssh { port }),
        "smtp" => read_port(&section).map(|port| ProbeKind::Smtp { port }),
        "tcp" => read_port(&section).map(|port| ProbeKind::Tcp { port }),
        "unix" => {
            section.allow(&["path"]);
            section.text("path").map(|path| ProbeKind::Unix { path })
        }
        "exec" => {
            section.allow(&["command"]);
            read_command(&section, "command").map(|command| ProbeKind::Exec { command })
        }
        _ => {
            section.allow(&["path", "expect"]);
            let path = section.text("path");
            let expect = section.text("expect");
            Some(ProbeKind::Https { path: path?, expect: expect? })
        }
    }
}

/// Reads a command without templates: a list whose first word is an absolute path.
pub(crate) fn read_command(section: &Section<'_, '_>, key: &str) -> Option<Vec<Word>> {
    let words = section.some_texts::<Word>(key);
    let first = words.first()?;
    section.parse_at::<AbsolutePath>(key, first.spot, first.value.as_str())?;
    Some(words.into_iter().map(|word| word.value).collect())
}

fn read_port(section: &Section<'_, '_>) -> Option<u16> {
    section.allow(&["port"]);
    section.integer("port", 1..=65535).and_then(|port| u16::try_from(port).ok())
}

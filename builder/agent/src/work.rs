//! What one document means on one host: directories, secrets, files, commands and probes, with numbers instead of names.
//!
//! The plan of `hostconf` speaks of owners by name; here they are resolved against the image's own tables, all missing names at once.

use std::path::PathBuf;
use std::time::Duration;

use hostconf::DiskLimit;
use serde::Deserialize;
use serde::Serialize;

use crate::accounts::Owner;
use crate::files::Access;
use crate::health::network::Wanted;
use crate::secrets::Secret;

/// Everything to do, in the order in which it is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// Directories of the sites.
    pub directories: Vec<Directory>,
    /// Keys and passwords.
    pub secrets: Vec<Secret>,
    /// Folders below the rendered `etc` that must be there even when nothing is in them.
    pub folders: Vec<PathBuf>,
    /// Rendered configuration.
    pub files: Vec<File>,
    /// What must succeed before anything is started.
    pub checks: Vec<Command>,
    /// What prepares services.
    pub steps: Vec<Step>,
    /// How services are asked whether they work.
    pub probes: Vec<Probe>,
}

/// A directory to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Its place in the tree.
    pub path: PathBuf,
    /// Mode and owner.
    pub access: Access,
    /// Whether files in it are written in place (databases).
    pub nocow: bool,
    /// A subvolume with this limit; nothing for a plain directory.
    pub subvolume: Option<DiskLimit>,
}

/// A file to be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its place below the rendered `etc`.
    pub path: PathBuf,
    /// Content.
    pub bytes: Vec<u8>,
    /// Mode and owner.
    pub access: Access,
}

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command(pub Vec<String>);

/// A step that prepares a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Name for log and screen.
    pub name: String,
    /// What is run.
    pub command: Command,
    /// As whom.
    pub owner: Owner,
    /// Environment besides the fixed one.
    pub environment: Vec<(String, String)>,
    /// Units that must run before.
    pub after: Vec<String>,
    /// Longest time.
    pub timeout: Duration,
    /// Whether it is for one site: then its failure is that site's, and the others are served.
    pub of_site: bool,
}

/// A question to a service. It is stored in `/run` for the health gate, which is another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Name for the screen.
    pub name: String,
    /// The question.
    pub question: Question,
}

/// The kinds of questions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// More can be written to this folder.
    Room(PathBuf),
    /// The clock does not stand before the time of this file.
    Clock(PathBuf),
    /// The host has the addresses that its document declares.
    Network(Wanted),
    /// An ssh server greets on this port.
    Ssh(u16),
    /// A mail server greets on this port.
    Smtp(u16),
    /// Somebody accepts on this port.
    Tcp(u16),
    /// Somebody accepts on this socket.
    Unix(PathBuf),
    /// A program succeeds.
    Exec(Vec<String>),
    /// A site shows this page with its own certificate.
    Https {
        /// Server name.
        name: String,
        /// Path of the page.
        path: String,
        /// Text in the answer.
        expect: String,
        /// Place of the certificate that must be shown.
        certificate: PathBuf,
    },
}

//! Where a document may come from: the ESP, a seed volume, credentials, and the copy that was accepted last.
//!
//! Sources only fetch bytes, up to a limit, and never judge them; `select` does. A source that is absent is silent,
//! one that is present and unreadable is reported.

pub mod credential;
pub mod esp;
pub mod seed;
pub mod state;

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bundle::Context;
use bundle::Limit;
use bundle::read_limited;

use crate::host::Host;

/// Largest host id file.
const ID_LIMIT: Limit = Limit::Bytes(256);

/// A place where a document was found. The order is the order of preference between equal documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The copy that was accepted last.
    State,
    /// The EFI system partition of the boot disk.
    Esp,
    /// A volume with the label `CASEMATE`.
    Seed,
    /// SMBIOS or `fw_cfg`.
    Credential,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::State => "the accepted copy on state",
            Self::Esp => "the ESP",
            Self::Seed => "the seed volume",
            Self::Credential => "the credential `casemate.host`",
        })
    }
}

/// A document as it was found: not verified, not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it was found.
    pub origin: Origin,
    /// The bytes of `host.toml`.
    pub document: Vec<u8>,
    /// The bytes of `host.toml.sig`, if there was one.
    pub signature: Option<Vec<u8>>,
}

/// A source or document that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where it was found.
    pub origin: Origin,
    /// Why it is not used, and what to do.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "from {}: {}", self.origin, self.reason)
    }
}

/// Everything that all sources hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gathered {
    /// Documents in the order in which sources are asked.
    pub candidates: Vec<Candidate>,
    /// Sources that are there and cannot be read.
    pub refusals: Vec<Refusal>,
    /// The id of this host, for documents that are meant for one host.
    pub host_id: Option<String>,
}

impl Gathered {
    /// Takes what a folder holds under the three names.
    fn read(&mut self, origin: Origin, names: &Names<'_>) {
        match read_candidate(origin, names) {
            Ok(candidate) => self.candidates.extend(candidate),
            Err(error) => self.refuse(origin, error),
        }
        if let Ok(Some(id)) = read_file(names.host_id, ID_LIMIT) {
            self.host_id.get_or_insert(String::from_utf8_lossy(&id).trim().to_owned());
        }
    }

    fn refuse(&mut self, origin: Origin, reason: impl fmt::Display) {
        self.refusals.push(Refusal { origin, reason: reason.to_string() });
    }
}

/// The three files of a source.
struct Names<'a> {
    document: &'a Path,
    signature: &'a Path,
    host_id: &'a Path,
}

/// Asks every source.
pub fn gather(host: Host<'_>) -> Gathered {
    let mut gathered = Gathered::default();
    esp::read(host, &mut gathered);
    seed::read(host, &mut gathered);
    credential::read(host.paths, &mut gathered);
    state::read(host.paths, &mut gathered);
    gathered
}

/// Reads the names that a medium uses at its top or in a folder.
fn read_folder(gathered: &mut Gathered, origin: Origin, folder: &Path) {
    let names = Names {
        document: &folder.join("host.toml"),
        signature: &folder.join("host.toml.sig"),
        host_id: &folder.join("host-id"),
    };
    gathered.read(origin, &names);
}

fn read_candidate(origin: Origin, names: &Names<'_>) -> io::Result<Option<Candidate>> {
    let Some(document) = read_file(names.document, Limit::Document(Context::Host))? else {
        return Ok(None);
    };
    let signature = read_file(names.signature, Limit::Signature)?;
    Ok(Some(Candidate { origin, document, signature }))
}

/// Reads a plain file of a foreign medium: no link is followed, no pipe waited for.
fn read_file(path: &Path, limit: Limit) -> io::Result<Option<Vec<u8>>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let named = |error: io::Error| io::Error::other(format!("cannot read `{}`: {error}", path.display()));
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(error)),
    };
    if !file.metadata().map_err(named)?.is_file() {
        return Err(named(io::Error::other("it is not a plain file")));
    }
    read_limited(file, limit).map(Some).map_err(|error| named(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path) -> Gathered {
        let mut gathered = Gathered::default();
        read_folder(&mut gathered, Origin::Seed, folder);
        gathered
    }

    #[test]
    fn an_empty_medium_is_silent() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), Gathered::default());
    }

    #[test]
    fn reads_document_signature_and_id() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("host.toml", "document"), ("host.toml.sig", "signature"), ("host-id", "web1\n")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let gathered = read(folder.path());
        let expected =
            Candidate { origin: Origin::Seed, document: b"document".to_vec(), signature: Some(b"signature".to_vec()) };
        assert_eq!(gathered.candidates, [expected]);
        assert_eq!(gathered.host_id.as_deref(), Some("web1"));
    }

    #[test]
    fn keeps_a_document_without_signature_for_the_report() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("host.toml"), "document").unwrap();
        assert_eq!(read(folder.path()).candidates[0].signature, None);
    }

    #[test]
    fn refuses_links_pipes_directories_and_giants() {
        for kind in ["link", "directory", "giant", "socket"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("host.toml");
            match kind {
                "link" => std::os::unix::fs::symlink("/etc/passwd", &path).unwrap(),
                "directory" => fs::create_dir(&path).unwrap(),
                "socket" => drop(std::os::unix::net::UnixListener::bind(&path).unwrap()),
                _ => fs::write(&path, vec![b'#'; Limit::Document(Context::Host).bytes() + 1]).unwrap(),
            }
            let gathered = read(folder.path());
            assert_eq!(gathered.candidates, [], "{kind}");
            assert!(gathered.refusals[0].to_string().contains("host.toml"), "{kind}: {gathered:?}");
        }
    }
}

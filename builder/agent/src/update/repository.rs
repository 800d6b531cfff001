//! Files of an update repository, by their names below the folder of the image (`docs/formats/trust.md`, "The repository").
//!
//! Nobody vouches for what is read here. The agent itself talks to no server: the fetcher does, without rights.

use std::io;
use std::io::Read;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use bundle::Limit;
use bundle::read_limited;

use super::UpdateError;
use super::frames;

/// Longer than the fetcher waits for a server, with all of its tries: then it is the fetcher that hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// A place with the files of a repository.
pub trait Repository {
    /// Opens a file; nothing where there is none.
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read>>>;
}

/// The fetcher, which asks a server.
#[derive(Debug)]
pub struct Fetcher {
    /// Its socket.
    pub socket: PathBuf,
}

impl Repository for Fetcher {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read>>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{name}\n").as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let file = frames::read_file(stream)?;
        Ok(file.map(|pieces| Box::new(pieces) as Box<dyn Read>))
    }
}

/// Reads a small file; nothing where there is none.
pub(super) fn read_small(
    repository: &dyn Repository,
    name: &str,
    limit: Limit,
) -> Result<Option<Vec<u8>>, UpdateError> {
    let failed = |source| UpdateError::Fetch { name: name.to_owned(), source };
    let Some(source) = repository.open(name).map_err(failed)? else { return Ok(None) };
    read_limited(source, limit).map(Some).map_err(|error| failed(io::Error::other(error)))
}

/// Opens a file that must be there.
pub(super) fn open(repository: &dyn Repository, name: &str) -> Result<Box<dyn Read>, UpdateError> {
    let failed = |source| UpdateError::Fetch { name: name.to_owned(), source };
    repository.open(name).map_err(failed)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

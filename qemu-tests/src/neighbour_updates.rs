//! A web server with an update repository, in a neighbour's network: plain files, over TLS, with ranges. The first bundle that is asked for breaks
//! off in the middle, as connections do.

use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use vm::NetworkNamespace;

use crate::neighbour_tls::{make_identity_with, tls};

/// The server's name.
pub(crate) const NAME: &str = "updates.example.net";
const PATIENCE: Duration = Duration::from_secs(30);

/// The server; it ends with the process.
pub(crate) struct Updates {
    /// The certificate, which is its own authority.
    pub(crate) authority: String,
    asked: Arc<Mutex<Vec<String>>>,
}

struct Shelf {
    folder: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    /// Whether a connection was broken off already.
    broke: AtomicBool,
}

impl Updates {
    /// Serves a folder on port 443 of all addresses in this network.
    pub(crate) fn start(network: &NetworkNamespace, tree: &Path, dir: &Path, folder: &Path) -> Result<Self> {
        // Who fetches updates takes no authority for a server, and wants a server's own certificate to say that it is none.
        let authority = make_identity_with(tree, dir, "updates", &[NAME], &["basicConstraints=critical,CA:FALSE"])?;
        let config = Arc::new(tls(&authority, &fs::read(dir.join("updates.key"))?)?);
        let listener = network.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 443)))?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shelf = Shelf { folder: folder.to_owned(), asked: Arc::clone(&asked), broke: AtomicBool::new(false) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever hangs up is no failure of the server.
                let _ = shelf.serve(stream, Arc::clone(&config));
            }
        });
        Ok(Self { authority, asked })
    }

    /// Path and range of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl Shelf {
    fn serve(&self, stream: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
        let head: Vec<String> =
            stream.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let path = head.first().and_then(|line| line.split(' ').nth(1)).context("no path")?;
        let from: Option<u64> = head
            .iter()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
        let note = from.map_or_else(|| path.to_owned(), |from| format!("{path} from {from}"));
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(note);
        let stream = stream.get_mut();
        match fs::File::open(self.folder.join(path.trim_start_matches('/'))) {
            Ok(file) => self.send(stream, file, from)?,
            Err(_) => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?,
        }
        stream.conn.send_close_notify();
        Ok(stream.flush()?)
    }

    fn send(&self, out: &mut impl io::Write, mut file: fs::File, from: Option<u64>) -> Result<()> {
        let size = file.metadata()?.len();
        let start = from.unwrap_or(0).min(size);
        match from {
            None => write!(out, "HTTP/1.1 200 OK\r\n")?,
            Some(from) => {
                let last = size.saturating_sub(1);
                write!(out, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{last}/{size}\r\n")?;
            }
        }
        write!(out, "Content-Length: {}\r\nConnection: close\r\n\r\n", size - start)?;
        file.seek(io::SeekFrom::Start(start))?;
        let breaks = size > 1 << 20 && !self.broke.swap(true, Ordering::Relaxed);
        let most = if breaks { size / 2 } else { size };
        io::copy(&mut file.take(most), out)?;
        Ok(())
    }
}

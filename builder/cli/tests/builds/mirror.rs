//! A mirror on this machine that serves the real lists and packages of a cache, and lies where it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;

/// What the mirror does instead of serving a file.
#[derive(Clone)]
pub(crate) enum Lie {
    /// Another byte in the middle, the same length.
    Changed,
    /// A text of its own.
    Text(&'static str),
    /// It never ends, and nothing says how long it should be.
    Endless,
    /// Only so many bytes of each answer, then the end of the connection.
    Cut(usize),
    /// Half of what is asked for, then nothing, as often as said.
    Stall(usize),
    /// Ten bytes in a tenth of a second, to the end.
    Drip,
    /// An answer without the file, as often as said.
    Status(&'static str, usize),
    /// Sends to itself.
    Redirect,
    /// Takes all room of a file system before it serves.
    FillDisk(PathBuf),
}

/// A running mirror; it ends with the process.
pub(crate) struct Mirror {
    address: String,
    shelf: Arc<Shelf>,
}

/// Where files are, by address; what is to be lied about; what was asked for.
struct Shelf {
    files: BTreeMap<String, PathBuf>,
    lies: Mutex<BTreeMap<String, Lie>>,
    log: Mutex<Vec<String>>,
}

impl Mirror {
    /// Serves what `cache` holds of the packages of `lock`, and the lists that it was chosen from.
    pub(crate) fn start(cache: &Path, lock: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://{}", listener.local_addr()?);
        let lock: toml::Value = toml::from_str(&fs::read_to_string(lock)?)?;
        let mut files = packages(cache, &lock);
        files.extend(packages(cache, lock.get("tools").context("a lock without tools")?));
        files.extend(lists(cache)?);
        let shelf = Arc::new(Shelf { files, lies: Mutex::default(), log: Mutex::default() });
        let served = Arc::clone(&shelf);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shelf = Arc::clone(&served);
                // A client that goes away in the middle is no fault of the mirror.
                std::thread::spawn(move || shelf.answer(&stream));
            }
        });
        Ok(Self { address, shelf })
    }

    /// Lets a command use this mirror and no proxy.
    pub(crate) fn serve<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
            .env_remove("CASEMATE_MIRROR")
            .arg("--mirror")
            .arg(format!("{0}/debian,{0}/debian-security", self.address))
    }

    /// From now on lies about the file whose address holds this, and about nothing else.
    pub(crate) fn lie(&self, part: &str, lie: Lie) -> Result<()> {
        *lock(&self.shelf.lies) = BTreeMap::from([(self.find(part)?, lie)]);
        Ok(())
    }

    /// The whole address of the file whose address holds this.
    pub(crate) fn find(&self, part: &str) -> Result<String> {
        self.shelf.files.keys().find(|path| path.contains(part)).cloned().with_context(|| format!("no file `{part}`"))
    }

    /// Serves everything as it is.
    pub(crate) fn be_honest(&self) {
        lock(&self.shelf.lies).clear();
    }

    /// What was asked for since the last time, as `PATH` or `PATH from OFFSET`.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shelf.log))
    }
}

/// The package files of a lock, or of the tools in it, by their address.
fn packages(cache: &Path, lock: &toml::Value) -> BTreeMap<String, PathBuf> {
    let rows = lock.get("package").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let text = |row: &toml::Value, key: &str| row.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    let file = |row: toml::Value| {
        let (origin, file, digest) = (text(&row, "origin"), text(&row, "file"), text(&row, "sha256"));
        let site = if origin.starts_with("trixie-security/") { "debian-security" } else { "debian" };
        (
            format!("/{site}/{file}"),
            cache.join("packages/sha256").join(digest.get(..2).unwrap_or_default()).join(digest),
        )
    };
    rows.into_iter().map(file).collect()
}

/// Releases by their name, indexes by their digest.
fn lists(cache: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for (site, suite) in [("debian", "trixie"), ("debian", "trixie-updates"), ("debian-security", "trixie-security")] {
        let dists = format!("/{site}/dists/{suite}");
        let release = cache.join("lists").join(suite).join("InRelease");
        let text = fs::read_to_string(&release)?;
        files.insert(format!("{dists}/InRelease"), release);
        let index = text.lines().filter(|line| line.ends_with(" main/binary-amd64/Packages.xz"));
        // MD5 sums come first: SHA-256 is what has 64 digits.
        let digest = index.filter_map(|line| line.split_whitespace().next()).find(|digest| digest.len() == 64);
        let digest = digest.context("a Release without an index")?;
        let path = cache.join("lists/sha256").join(&digest[..2]).join(digest);
        files.insert(format!("{dists}/main/binary-amd64/by-hash/SHA256/{digest}"), path);
    }
    Ok(files)
}

impl Shelf {
    fn answer(&self, stream: &TcpStream) -> Result<()> {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let path = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)).context("no request")?;
        let range = lines.take_while(|line| !line.is_empty()).find_map(|line| {
            let line = line.to_ascii_lowercase();
            line.strip_prefix("range: bytes=").and_then(|range| range.trim_end_matches('-').parse().ok())
        });
        let from: usize = range.unwrap_or(0);
        lock(&self.log).push(if from > 0 { format!("{path} from {from}") } else { path.clone() });
        let mut stream = stream;
        let Some(file) = self.files.get(&path).filter(|file| file.is_file()) else {
            return Ok(stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?);
        };
        let mut body = fs::read(file)?;
        let lie = lock(&self.lies).get(&path).cloned();
        let mut until = usize::MAX;
        match lie {
            Some(Lie::Changed) => {
                let middle = body.len() / 2;
                body[middle] ^= 1;
            }
            Some(Lie::Text(text)) => body = text.into(),
            Some(Lie::Endless) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                loop {
                    stream.write_all(&body)?;
                }
            }
            Some(Lie::Cut(bytes)) => until = bytes,
            None | Some(Lie::Stall(0) | Lie::Status(_, 0)) => {}
            Some(Lie::Stall(times)) => {
                lock(&self.lies).insert(path, Lie::Stall(times - 1));
                send(stream, &body, from, (body.len() - from) / 2)?;
                // Longer than any client of these tests waits.
                std::thread::sleep(Duration::from_secs(30));
                return Ok(());
            }
            Some(Lie::Drip) => {
                send(stream, &body, from, 0)?;
                for bytes in body[from..].chunks(10) {
                    stream.write_all(bytes)?;
                    std::thread::sleep(Duration::from_millis(100));
                }
                return Ok(());
            }
            Some(Lie::Status(status, times)) => {
                lock(&self.lies).insert(path, Lie::Status(status, times.saturating_sub(1)));
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                return Ok(stream.write_all(head.as_bytes())?);
            }
            Some(Lie::Redirect) => {
                let head =
                    format!("HTTP/1.1 302 Found\r\nLocation: {path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                return Ok(stream.write_all(head.as_bytes())?);
            }
            Some(Lie::FillDisk(filler)) => fill(&filler)?,
        }
        send(stream, &body, from, until)
    }
}

/// Sends a file from an offset on, and of that at most `until` bytes.
fn send(mut stream: &TcpStream, body: &[u8], from: usize, until: usize) -> Result<()> {
    let rest = body.get(from..).context("a range beyond the end")?;
    let range = format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
    let (status, range) = if from > 0 { ("206 Partial Content", range.as_str()) } else { ("200 OK", "") };
    let length = rest.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{range}\r\n");
    stream.write_all(head.as_bytes())?;
    Ok(stream.write_all(&rest[..until.min(length)])?)
}

/// Writes a file until there is no room for more.
pub(crate) fn fill(file: &Path) -> Result<()> {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(file)?;
    let mut size = 1 << 20;
    while size > 0 {
        // The last pages as well.
        match file.write(&vec![b'x'; size]) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 4,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

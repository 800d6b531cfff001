//! A mirror on this machine that misbehaves on request.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use debian::mirror::Mirrors;

/// What the mirror does with a file.
#[derive(Clone)]
pub(crate) enum Serve {
    /// Sends it, or the range that is asked for.
    Well(Vec<u8>),
    /// Sends all of it whatever range is asked for.
    Whole(Vec<u8>),
    /// Sends it with validators, or says that it is the one that is asked about.
    Dated(Vec<u8>, &'static str),
    /// Cuts the connection after so many bytes of each answer.
    Cut(Vec<u8>, usize),
}

type Shelf = Arc<Mutex<BTreeMap<String, Serve>>>;

/// A running mirror; it ends with the process.
pub(crate) struct MirrorServer {
    address: String,
    shelf: Shelf,
    log: Arc<Mutex<Vec<String>>>,
}

impl MirrorServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (shelf, log) = (Shelf::default(), Arc::<Mutex<Vec<String>>>::default());
        let server = Self { address, shelf: Arc::clone(&shelf), log: Arc::clone(&log) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shelf, log) = (Arc::clone(&shelf), Arc::clone(&log));
                thread::spawn(move || answer(&stream.unwrap(), &shelf, &log));
            }
        });
        server
    }

    pub(crate) fn put(&self, path: &str, serve: Serve) {
        self.shelf.lock().unwrap().insert(path.to_owned(), serve);
    }

    /// Lets a file that is served have a date.
    pub(crate) fn date(&self, path: &str, date: &'static str) {
        let mut files = self.shelf.lock().unwrap();
        if let Some(Serve::Well(body)) = files.remove(path) {
            files.insert(path.to_owned(), Serve::Dated(body, date));
        }
    }

    pub(crate) fn mirrors(&self) -> Mirrors {
        format!("{0}/debian,{0}/debian-security", self.address).parse().unwrap()
    }

    /// All requests so far, as `PATH` or `PATH from OFFSET`, and forgets them.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

fn answer(stream: &TcpStream, shelf: &Shelf, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let range =
        headers.iter().find_map(|header| header.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let from: usize = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    log.lock().unwrap().push(if from > 0 { format!("{path} from {from}") } else { path.clone() });
    let found = shelf.lock().unwrap().get(&path).cloned();
    let (body, from, cut) = match found {
        None => return send(stream, "404 Not Found", "", b"no"),
        Some(Serve::Well(body)) => (body, from, usize::MAX),
        Some(Serve::Dated(_, date)) if headers.iter().any(|h| h.eq_ignore_ascii_case(&condition(date))) => {
            log.lock().unwrap().push(format!("{path} unchanged"));
            return send(stream, "304 Not Modified", "", b"");
        }
        Some(Serve::Dated(body, date)) => {
            return send(stream, "200 OK", &format!("Last-Modified: {date}\r\nETag: \"{date}\"\r\n"), &body);
        }
        Some(Serve::Whole(body)) => (body, 0, usize::MAX),
        Some(Serve::Cut(body, cut)) => (body, from, cut),
    };
    let Some(rest) = body.get(from..) else {
        return send(stream, "416 Range Not Satisfiable", "", b"");
    };
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    let range = format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
    let length = rest.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{}\r\n",
        if from > 0 { &range } else { "" }
    );
    let mut stream = stream;
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&rest[..cut.min(length)]));
}

/// The header of a client that has what was sent with this date.
fn condition(date: &str) -> String {
    format!("If-Modified-Since: {date}")
}

fn send(mut stream: &TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

//! Servers that break off, lie about ranges, drip, stall, lead elsewhere and have nothing.

use std::io::BufRead as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use super::*;

/// What a server does with one connection.
#[derive(Clone, Copy)]
enum Act {
    /// All that is asked for, from where it is asked.
    Serve,
    /// All that is asked for, but the connection ends after so many bytes.
    BreakAfter(usize),
    /// All of the file, whatever is asked for.
    IgnoreRange,
    /// A range that was not asked for.
    OtherRange,
    /// This status line and header, and nothing else.
    Say(&'static str),
    /// A byte now and then.
    Drip,
    /// Nothing at all.
    Stall,
}

struct Server {
    address: String,
    /// The head of each request.
    asked: Arc<Mutex<Vec<String>>>,
}

/// Answers each connection by the next act, and those behind them by the last.
fn server(file: &'static [u8], acts: &'static [Act]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&asked);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let act = acts.get(number).or(acts.last()).copied().unwrap();
            let heads = Arc::clone(&heads);
            // A client that has heard enough goes, and that is no failure of the server.
            thread::spawn(move || answer(&stream.unwrap(), file, act, &heads));
        }
    });
    Server { address, asked }
}

fn answer(stream: &std::net::TcpStream, file: &[u8], act: Act, heads: &Mutex<Vec<String>>) -> io::Result<()> {
    let head: Vec<String> =
        io::BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let range = head
        .iter()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
    heads.lock().unwrap().push(head.join("\n"));
    let (from, mut out) = (range.unwrap_or(0), stream);
    let whole = |out: &mut &std::net::TcpStream| {
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len())
    };
    let rest = |out: &mut &std::net::TcpStream, start: usize| {
        let length = file.len() - from;
        let range = format!("Content-Range: bytes {start}-{}/{}\r\n", start + length - 1, file.len());
        write!(out, "HTTP/1.1 206 Partial Content\r\n{range}Content-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    match act {
        Act::Serve | Act::BreakAfter(_) => {
            if from == 0 { whole(&mut out) } else { rest(&mut out, from) }?;
            let most = if let Act::BreakAfter(most) = act { most } else { file.len() };
            out.write_all(&file[from..file.len().min(from + most)])
        }
        Act::IgnoreRange => whole(&mut out).and_then(|()| out.write_all(file)),
        Act::OtherRange => rest(&mut out, from + 1).and_then(|()| out.write_all(&file[from..])),
        Act::Say(what) => write!(out, "HTTP/1.1 {what}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        Act::Drip => {
            whole(&mut out)?;
            for byte in file {
                out.write_all(&[*byte])?;
                thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        Act::Stall => {
            thread::sleep(Duration::from_secs(5));
            Ok(())
        }
    }
}

/// What comes of asking for a name, and how often the server was asked.
fn fetched(server: &Server, name: &str) -> io::Result<Option<Vec<u8>>> {
    let http = Http::new(4, Duration::from_millis(1)).with_patience(Duration::from_millis(400));
    let mut out = Vec::new();
    let http = http.by(&Way::default()).unwrap();
    serve(&http, &server.address, format!("{name}\n").as_bytes(), &mut out).map_err(io::Error::other)?;
    let Some(mut pieces) = frames::read_file(&*out)? else { return Ok(None) };
    let mut bytes = Vec::new();
    pieces.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

static FILE: [u8; 300_000] = {
    let mut bytes = [0; 300_000];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at * 7 / 3 % 251).to_le_bytes()[0];
        at += 1;
    }
    bytes
};

#[test]
fn a_file_comes_whole_whatever_happens_on_the_way() {
    let cases: [(&str, &'static [Act], usize); 5] = [
        ("at once", &[Act::Serve], 1),
        ("broken off", &[Act::BreakAfter(100_000), Act::BreakAfter(1), Act::Serve], 3),
        ("all of it again", &[Act::BreakAfter(100_000), Act::IgnoreRange], 2),
        ("a busy server", &[Act::Say("503 Busy"), Act::Serve], 2),
        ("a stall", &[Act::Stall, Act::Serve], 2),
    ];
    for (what, acts, connections) in cases {
        let server = server(&FILE, acts);
        let bytes = fetched(&server, "bundles/web_0.2.0.tar").unwrap().unwrap();
        assert!(bytes == FILE, "{what}: {} bytes", bytes.len());
        let asked = server.asked.lock().unwrap();
        assert_eq!(asked.len(), connections, "{what}");
        assert!(asked[0].starts_with("GET /bundles/web_0.2.0.tar HTTP/1.1"), "{what}: {}", asked[0]);
    }
    let server = server(b"", &[Act::Serve]);
    assert_eq!(fetched(&server, "empty").unwrap().unwrap(), b"");
}

#[test]
fn what_is_not_there_is_no_failure() {
    for gone in [Act::Say("404 Not Found"), Act::Say("410 Gone")] {
        let acts: &'static [Act] = Box::leak(Box::new([gone]));
        assert!(fetched(&server(&FILE, acts), "trust-root-2.json").unwrap().is_none());
    }
}

#[test]
fn a_server_that_does_not_serve_is_told_of() {
    let cases: [(&str, &'static [Act], &str); 5] = [
        ("another range", &[Act::BreakAfter(1000), Act::OtherRange], "does not fit"),
        ("breaks off each time", &[Act::BreakAfter(1000)], "broke"),
        ("drips", &[Act::Drip], "fewer than"),
        ("forbids", &[Act::Say("403 Forbidden")], "status 403"),
        ("leads elsewhere", &[Act::Say("302 Found\r\nLocation: file:///etc/shadow")], "302"),
    ];
    for (what, acts, expected) in cases {
        let error = fetched(&server(&FILE, acts), "newest.tar").unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let server = server(&FILE, &[Act::Serve]);
    for name in
        ["", "/etc/passwd", "../other/newest.tar", "a/../../b", "a//b", "a b", "a?b", "a\r\nHost: x", "%2e%2e/b"]
    {
        assert!(fetched(&server, name).is_err(), "{name}");
    }
    assert!(server.asked.lock().unwrap().is_empty());
    assert!(fetched(&server, "stable/newest.tar").unwrap().is_some());
}

#[test]
fn a_way_that_cannot_be_gone_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("none.pem"), "nobody\n").unwrap();
    let source = |roots: &str| Source {
        repository: "https://updates.example".to_owned(),
        channel: "stable".parse().unwrap(),
        roots: roots.into(),
        window: None,
        spread_hours: 0,
    };
    for (roots, said, todo) in
        [("/none.pem", "no certificate", "`host.toml`"), ("/missing.pem", "cannot read", "casemate-personalise")]
    {
        let error = client(&source(roots), None, dir.path()).unwrap_err();
        let hint = error.remedy().unwrap();
        assert!(error.to_string().contains(said) && hint.contains(todo), "{error}: {hint}");
    }
}

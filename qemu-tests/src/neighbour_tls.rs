//! wordpress.org, as a scenario needs it: answers about versions and packages, over TLS, in a neighbour's network.
//!
//! It is made like the real one: what is newer is decided here, from what the site says that it has.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tools::{ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};
use vm::NetworkNamespace;
use zip::write::SimpleFileOptions;

/// Where packages are.
pub(crate) const DOWNLOADS: &str = "downloads.wordpress.org";
/// Where they are not, though this neighbour has them there too.
pub(crate) const ELSEWHERE: &str = "downloads.example.net";
/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest body of a request.
const LONGEST_BODY: usize = 1 << 20;
/// Where the scenario's directory lies in the sandbox of openssl.
const INSIDE: &str = "/run/client";

/// A plugin or theme at one version.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    pub(crate) version: &'static str,
    /// What its one file does, after the headers.
    pub(crate) code: &'static str,
    /// Where the answers say that the package is; without it: where it belongs.
    pub(crate) package: Option<String>,
}

/// What is offered now, and what was asked.
#[derive(Debug, Default)]
struct World {
    plugins: BTreeMap<String, Release>,
    themes: BTreeMap<String, Release>,
    asked: Vec<String>,
    is_down: bool,
}

/// A service in a network; it ends with the process.
pub(crate) struct WordPressOrg {
    world: Arc<Mutex<World>>,
    /// The certificate, which is its own authority.
    pub(crate) authority: String,
}

impl WordPressOrg {
    /// Serves on port 443 of all addresses in this network; key and certificate are made in `dir`.
    pub(crate) fn start(network: &NetworkNamespace, tree: &Path, dir: &Path) -> Result<Self> {
        let authority = make_identity(tree, dir, "wordpress-org", &["api.wordpress.org", DOWNLOADS, ELSEWHERE])?;
        let config = Arc::new(tls(&authority, &fs::read(dir.join("wordpress-org.key"))?)?);
        let listener = network.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 443)))?;
        let world = Arc::new(Mutex::new(World::default()));
        let shared = Arc::clone(&world);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever hangs up, or does not trust the certificate, is no failure of the service.
                let _ = serve(stream, Arc::clone(&config), &shared);
            }
        });
        Ok(Self { world, authority })
    }

    /// Offers a plugin from now on.
    pub(crate) fn offer(&self, name: &str, plugin: Release) {
        lock(&self.world).plugins.insert(name.to_owned(), plugin);
    }

    /// The same of a theme.
    pub(crate) fn offer_theme(&self, name: &str, theme: Release) {
        lock(&self.world).themes.insert(name.to_owned(), theme);
    }

    /// Answers nothing of use from now on, or again.
    pub(crate) fn set_down(&self, is_down: bool) {
        lock(&self.world).is_down = is_down;
    }

    /// Host and path of all requests since the last look.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.world).asked)
    }
}

/// Makes `NAME.key` and `NAME.crt` in `dir`: a certificate of these names that is its own authority. Returns it.
pub(crate) fn make_identity(tree: &Path, dir: &Path, name: &str, names: &[&str]) -> Result<String> {
    make_identity_with(tree, dir, name, names, &[])
}

/// The same with further extensions, as openssl writes them.
pub(crate) fn make_identity_with(
    tree: &Path,
    dir: &Path,
    name: &str,
    names: &[&str],
    extensions: &[&str],
) -> Result<String> {
    let names = names.iter().map(|name| format!("DNS:{name}")).collect::<Vec<_>>().join(",");
    let certificate = format!("{name}.crt");
    let tool = Tool::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", &format!("/CN={name} of a test"), "-addext", &format!("subjectAltName={names}")])
        .args(["-keyout", &format!("{INSIDE}/{name}.key"), "-out", &format!("{INSIDE}/{certificate}")]);
    let tool = extensions.iter().fold(tool, |tool, extension| tool.args(["-addext", extension]));
    SandboxRunner::new(Sandbox::new(tree).bind(dir, INSIDE)).run(&tool).remedied()?;
    Ok(fs::read_to_string(dir.join(certificate))?)
}

/// A request that panics leaves the list as it was.
fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A server with this certificate.
pub(crate) fn tls(certificate: &str, key: &[u8]) -> Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).context("no certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key).context("no key")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?)
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, world: &Mutex<World>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    let (host, path, body) = read_request(&mut stream)?;
    let answer = {
        let mut world = lock(world);
        world.asked.push(format!("{host}{path}"));
        answer(&world, &host, &path, &body)?
    };
    let stream = stream.get_mut();
    match answer {
        Answer::Body(body) => {
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
            stream.write_all(&body)?;
        }
        Answer::Moved(to) => {
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        }
        Answer::NotFound => {
            write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        }
    }
    stream.conn.send_close_notify();
    Ok(stream.flush()?)
}

/// Host, path with query, and body (RFC 9112).
fn read_request(stream: &mut impl io::BufRead) -> Result<(String, String, String)> {
    let lines: Vec<String> =
        stream.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).context("no path")?.to_owned();
    let header = |wanted: &str| {
        let mut fields = lines.iter().filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = header("content-length").map_or(Ok(0), |text| text.parse())?;
    anyhow::ensure!(length <= LONGEST_BODY, "a body of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((header("host").context("no host")?, path, String::from_utf8(body)?))
}

enum Answer {
    Body(Vec<u8>),
    Moved(String),
    NotFound,
}

fn answer(world: &World, host: &str, path: &str, body: &str) -> Result<Answer> {
    if world.is_down {
        return Ok(Answer::NotFound);
    }
    if host != "api.wordpress.org" {
        return download(world, path);
    }
    let about = |end: &str| path.starts_with(&format!("/{end}/info/")).then(|| field(path, "request[slug]")).flatten();
    let value = if path.starts_with("/plugins/update-check/") {
        plugin_updates(world, body)?
    } else if path.starts_with("/themes/update-check/") {
        theme_updates(world, body)?
    } else if let Some(name) = about("plugins") {
        match world.plugins.get(&name) {
            Some(plugin) => information("plugin", &name, plugin),
            None => return Ok(Answer::NotFound),
        }
    } else if let Some(name) = about("themes") {
        match world.themes.get(&name) {
            Some(theme) => information("theme", &name, theme),
            None => return Ok(Answer::NotFound),
        }
    } else {
        json!({})
    };
    Ok(Answer::Body(value.to_string().into_bytes()))
}

fn download(world: &World, path: &str) -> Result<Answer> {
    let name = |kind: &str| path.strip_prefix(kind)?.split('.').next();
    if let Some((name, theme)) = name("/theme/").and_then(|name| world.themes.get_key_value(name)) {
        return Ok(Answer::Body(theme_archive(name, theme)?));
    }
    Ok(match name("/plugin/").and_then(|name| world.plugins.get_key_value(name)) {
        Some((name, _)) if path.ends_with(".moved.zip") => {
            Answer::Moved(format!("https://{ELSEWHERE}/plugin/{name}.zip"))
        }
        Some((name, plugin)) => Answer::Body(archive(name, plugin)?),
        None => Answer::NotFound,
    })
}

fn package(kind: &str, name: &str, code: &Release) -> String {
    code.package.clone().unwrap_or_else(|| format!("https://{DOWNLOADS}/{kind}/{name}.{}.zip", code.version))
}

fn information(kind: &str, name: &str, code: &Release) -> Value {
    json!({"name": name, "slug": name, "version": code.version, "download_link": package(kind, name, code)})
}

/// What the site says that it has, as a form's field.
fn said(body: &str, of: &str) -> Result<Value> {
    let text = field(body, of).with_context(|| format!("the site names no {of}"))?;
    Ok(serde_json::from_str(&text)?)
}

/// The plugins that the site has in another version than is offered.
fn plugin_updates(world: &World, body: &str) -> Result<Value> {
    let said = said(body, "plugins")?;
    let newer = world.plugins.iter().filter_map(|(name, plugin)| {
        let file = format!("{name}/{name}.php");
        let has = said["plugins"].get(&file)?["Version"].as_str()?;
        (has != plugin.version).then(|| {
            let offer = json!({"id": format!("w.org/plugins/{name}"), "slug": name, "plugin": file, "new_version": plugin.version,
                               "package": package("plugin", name, plugin)});
            (file, offer)
        })
    });
    let newer: serde_json::Map<String, Value> = newer.collect();
    Ok(json!({"plugins": newer, "translations": [], "no_update": {}}))
}

/// The same of themes.
fn theme_updates(world: &World, body: &str) -> Result<Value> {
    let said = said(body, "themes")?;
    let newer = world.themes.iter().filter_map(|(name, theme)| {
        let has = said["themes"].get(name)?["Version"].as_str()?;
        (has != theme.version).then(|| {
            let offer = json!({"theme": name, "new_version": theme.version, "url": "", "package": package("theme", name, theme)});
            (name.clone(), offer)
        })
    });
    let newer: serde_json::Map<String, Value> = newer.collect();
    Ok(json!({"themes": newer, "translations": [], "no_update": {}}))
}

/// A field of a form or query.
fn field(text: &str, wanted: &str) -> Option<String> {
    let query = text.split_once('?').map_or(text, |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .find_map(|(name, value)| (name == wanted).then_some(value))
}

/// `+` and `%XX` of a form.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The package of a theme: what every theme has, and its code.
fn theme_archive(name: &str, theme: &Release) -> Result<Vec<u8>> {
    let style = format!("/*\nTheme Name: {name}\nVersion: {}\n*/\n", theme.version);
    let page = "<!doctype html><html><head><?php wp_head(); ?></head><body><?php wp_footer(); ?></body></html>";
    let functions = format!("<?php\n{}\n", theme.code);
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (file, content) in [("style.css", style.as_str()), ("index.php", page), ("functions.php", &functions)] {
        writer.start_file(format!("{name}/{file}"), SimpleFileOptions::default())?;
        writer.write_all(content.as_bytes())?;
    }
    Ok(writer.finish()?.into_inner())
}

/// The package of a plugin: one folder with one file.
fn archive(name: &str, plugin: &Release) -> Result<Vec<u8>> {
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    writer.start_file(format!("{name}/{name}.php"), SimpleFileOptions::default())?;
    write!(writer, "<?php\n/**\n * Plugin Name: {name}\n * Version: {}\n */\n{}\n", plugin.version, plugin.code)?;
    Ok(writer.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let plugin = Release { version: "2.0", code: "", package: None };
        World { plugins: [("good".to_owned(), plugin)].into(), ..World::default() }
    }

    #[test]
    fn what_differs_is_offered_and_what_is_the_same_is_not() {
        for (has, offers) in [("1.0", 1), ("2.0", 0)] {
            let body = format!("a=b&plugins=%7B%22plugins%22%3A{{\"good%2Fgood.php\":{{\"Version\":\"{has}\"}}}}%7D");
            let newer = plugin_updates(&world(), &body).unwrap();
            assert_eq!(newer["plugins"].as_object().unwrap().len(), offers, "{newer}");
        }
    }

    #[test]
    fn a_request_is_read_with_its_body() {
        let text = b"POST /x?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcd";
        let read = read_request(&mut BufReader::new(&text[..])).unwrap();
        assert_eq!(read, ("h".to_owned(), "/x?a=b".to_owned(), "abc".to_owned()));
        assert!(read_request(&mut BufReader::new(&b"\r\n"[..])).is_err());
    }

    #[test]
    fn packages_and_information_are_found_by_name() {
        let world = world();
        let about = answer(&world, "api.wordpress.org", "/plugins/info/1.2/?request%5Bslug%5D=good", "").unwrap();
        assert!(matches!(about, Answer::Body(body) if String::from_utf8_lossy(&body).contains("/plugin/good.2.0.zip")));
        assert!(matches!(answer(&world, DOWNLOADS, "/plugin/good.2.0.zip", "").unwrap(), Answer::Body(_)));
        assert!(matches!(answer(&world, DOWNLOADS, "/plugin/good.moved.zip", "").unwrap(), Answer::Moved(_)));
        assert!(matches!(answer(&world, DOWNLOADS, "/theme/good.2.0.zip", "").unwrap(), Answer::NotFound));
        assert!(matches!(answer(&world, DOWNLOADS, "/plugin/bad.zip", "").unwrap(), Answer::NotFound));
    }
}

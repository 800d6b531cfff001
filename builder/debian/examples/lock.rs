//! A try-out by hand: locks the packages named on the command line and prints the lock; `--fetch DIR` also fetches them.
//!
//! `cargo run -p debian --example lock -- [--mirror URL] [--cache DIR] [--offline] [--base empty|essential|required] [--fetch DIR] PACKAGE...`

use std::{
    error::Error,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use debian::{
    archive::{Access, Archive},
    date::UnixTime,
    fetch::{Network, Silent, fetch_all},
    keyring::Keyring,
    mirror::{Mirrors, load_apt_sources},
    package::PackageName,
    release::Freshness,
    resolve::Base,
    store::Store,
    suite::{Component, Suite},
    wish::Wish,
};
use download::Http;

struct Arguments {
    mirrors: Option<Mirrors>,
    cache: PathBuf,
    offline: bool,
    base: Base,
    fetch: Option<PathBuf>,
    wanted: Vec<PackageName>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn Error>> {
    let mut arguments = Arguments {
        mirrors: load_apt_sources(Path::new("/etc/apt"))?,
        cache: std::env::temp_dir().join("casemate-lock"),
        offline: false,
        base: Base::Essential,
        fetch: None,
        wanted: Vec::new(),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
        match word.as_str() {
            "--mirror" => arguments.mirrors = Some(value()?.parse()?),
            "--cache" => arguments.cache = value()?.into(),
            "--offline" => arguments.offline = true,
            "--fetch" => arguments.fetch = Some(value()?.into()),
            "--base" => {
                arguments.base = match value()?.as_str() {
                    "empty" => Base::Empty,
                    "essential" => Base::Essential,
                    _ => Base::Required,
                }
            }
            name => arguments.wanted.push(name.parse()?),
        }
    }
    Ok(arguments)
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a try-out speaks to its user")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments = parse(std::env::args().skip(1))?;
    let http = Http::default();
    let network = match &arguments.mirrors {
        Some(mirrors) if !arguments.offline => Network::Online(&http, mirrors),
        _ => Network::Offline,
    };
    let keyring = Keyring::debian()?;
    let now = UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs());
    let access = Access { cache: &arguments.cache, network, keyring: &keyring, freshness: Freshness::default(), now };
    let begin = Instant::now();
    let suites = Suite::of_release(&"trixie".parse()?, &[Component::main()]);
    let archive = Archive::open(&access, &suites, &"amd64".parse()?)?;
    eprintln!("{} packages in the archive after {:.1} s", archive.index.len(), begin.elapsed().as_secs_f32());
    let lock = archive.lock(&Wish::new(arguments.wanted, arguments.base, Vec::new()))?;
    let bytes: u64 = lock.packages.iter().map(|package| package.size).sum();
    eprintln!("{} packages, {bytes} bytes, after {:.1} s", lock.packages.len(), begin.elapsed().as_secs_f32());
    print!("{}", lock.render()?);
    if let Some(directory) = arguments.fetch {
        let paths = fetch_all(&Store::open(&directory)?, &lock.downloads()?, network, &Silent)?;
        eprintln!("{} files in the store after {:.1} s", paths.len(), begin.elapsed().as_secs_f32());
    }
    Ok(())
}

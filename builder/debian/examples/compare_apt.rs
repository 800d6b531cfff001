//! Compares the resolver with apt on every list of `tests/data/resolve-lists.toml`, with today's archive.
//!
//! `cargo run -p debian --example compare_apt -- [--tree DIR]`: runs this machine's apt-get, or with `--tree` the one of a Debian
//! tree by chroot. Exits 1 if any set differs.

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::SystemTime,
};

use debian::{
    apt,
    archive::{Access, Archive, fetch_packages},
    date::UnixTime,
    fetch::Network,
    http::Http,
    keyring::Keyring,
    mirror::load_apt_sources,
    package::{Architecture, PackageName},
    release::Freshness,
    resolve::{Base, resolve},
    suite::{Component, Origin, Suite},
};

#[derive(serde::Deserialize)]
struct Lists {
    list: Vec<List>,
}

#[derive(serde::Deserialize)]
struct List {
    name: String,
    wanted: Vec<PackageName>,
}

/// The text of each Packages file.
type Texts = Vec<(Origin, String)>;

/// A set of packages, or none when there is no solution.
type Outcome = Option<BTreeSet<(String, String)>>;

fn open(cache: &Path) -> Result<(Archive, Texts), Box<dyn Error>> {
    let mirrors = load_apt_sources(Path::new("/etc/apt"))?.ok_or("no Debian mirror in apt's sources")?;
    let (http, keyring, architecture) = (Http::default(), Keyring::debian()?, "amd64".parse::<Architecture>()?);
    let now = UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs());
    let network = Network::Online(&http, &mirrors);
    let access = Access { cache, network, keyring: &keyring, freshness: Freshness::default(), now };
    let suites = Suite::of_release(&"trixie".parse()?, &[Component::main()]);
    let archive = Archive::open(&access, &suites, &architecture)?;
    let mut texts = Vec::new();
    for (suite, release) in &archive.releases {
        let component = Component::main();
        let text = fetch_packages(&access, suite, release, &component, &architecture)?;
        texts.push((Origin { suite: suite.name.clone(), component }, text));
    }
    Ok((archive, texts))
}

/// apt-get with a private root, on this machine or in a tree.
struct AptGet {
    tree: Option<PathBuf>,
}

impl AptGet {
    const ROOT: &str = "/tmp/compare-apt";

    fn prepare(&self, texts: &[(Origin, String)]) -> Result<(), Box<dyn Error>> {
        let outside = self.tree.as_ref().map_or_else(|| Self::ROOT.into(), |tree| tree.join(&Self::ROOT[1..]));
        for (path, text) in apt::render_root(Self::ROOT, "amd64", texts) {
            let path = outside.join(path);
            fs::create_dir_all(path.parent().ok_or("no parent")?)?;
            fs::write(path, text)?;
        }
        self.run(&apt::update_arguments())?.ok_or("apt-get update fails")?;
        Ok(())
    }

    fn run(&self, arguments: &[String]) -> Result<Option<String>, Box<dyn Error>> {
        let mut command = match &self.tree {
            Some(tree) => {
                let mut command = Command::new("chroot");
                command.arg(tree).arg("apt-get");
                command
            }
            None => Command::new("apt-get"),
        };
        let output = command.args(arguments).env("APT_CONFIG", format!("{}/apt.conf", Self::ROOT)).output()?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

fn ours(archive: &Archive, wanted: &[PackageName]) -> Outcome {
    let set = resolve(&archive.index, wanted, Base::Essential).ok()?;
    Some(set.iter().map(|package| (package.name().to_owned(), package.version_text().to_owned())).collect())
}

#[expect(clippy::print_stdout, reason = "a try-out speaks to its user")]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let tree = words.find(|word| word == "--tree").and_then(|_| words.next()).map(PathBuf::from);
    let (archive, texts) = open(&std::env::temp_dir().join("casemate-lock"))?;
    let apt_get = AptGet { tree };
    apt_get.prepare(&texts)?;
    let essential = archive.index.candidates().filter(debian::packages::Package::is_essential);
    let base = essential.map(|package| package.package_name()).collect::<Result<Vec<_>, _>>()?;
    let lists: Lists = toml::from_str(include_str!("../tests/data/resolve-lists.toml"))?;
    let mut different = 0;
    for list in &lists.list {
        let theirs =
            apt_get.run(&apt::install_arguments(&base, &list.wanted))?.map(|text| apt::parse_simulation(&text));
        let ours = ours(&archive, &list.wanted);
        let count =
            |outcome: &Outcome| outcome.as_ref().map_or_else(|| "no solution".into(), |set| set.len().to_string());
        if ours == theirs {
            println!("same       {}: {}", list.name, count(&ours));
            continue;
        }
        different += 1;
        println!("DIFFERENT  {}: {}, apt {}", list.name, count(&ours), count(&theirs));
        let (ours, theirs) = (ours.unwrap_or_default(), theirs.unwrap_or_default());
        println!("    only ours: {:?}\n    only apt:  {:?}", &ours - &theirs, &theirs - &ours);
    }
    println!("{} of {} lists are the same", lists.list.len() - different, lists.list.len());
    Ok(if different == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

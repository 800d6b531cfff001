//! "Our resolver chooses the same packages as apt", on today's archive and with the apt of the build tools tree.
//!
//! Both see the same verified Packages files; apt reads them from a private directory, without network, with nothing installed.
//! They are not cut down for speed: apt breaks ties by the order in which names come up anywhere in its lists.
//!
//! A name that the builder itself provides is a package of apt's status, and a row of the wish for us.
//!
//! One test per list of `debian/tests/data/resolve-lists.toml`. apt thinks for about a second about each, so the variations (`alt1`
//! and so on) are tested when a filter names them: `cargo test -p bench --test same_as_apt -- alt`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail, ensure};
use bench::workshop::{cache_dir, settings};
use debian::apt;
use debian::archive::{Access, Archive, fetch_packages};
use debian::date::UnixTime;
use debian::fetch::Network;
use debian::keyring::Keyring;
use debian::mirror::{Mirrors, load_apt_sources};
use debian::package::{Architecture, PackageName};
use debian::packages::Package;
use debian::placeholder::{PLACEHOLDER, Provided, status_paragraph};
use debian::release::Freshness;
use debian::resolve::Base;
use debian::suite::{Component, Origin, Suite};
use debian::wish::Wish;
use download::Http;
use fs_err as fs;
use libtest_mimic::{Arguments, Trial};
use pipeline::build::{Builder, Settings};
use pipeline::trees::ToolsKind;
use tools::{Progress, ProgressMode, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

const LISTS: &str = include_str!("../../debian/tests/data/resolve-lists.toml");
/// Where apt sees its private directory.
const INSIDE: &str = "/run/apt";
/// A package that `apache2` does not lead to.
const ONE_MORE: &str = "hello";
/// Where apt finds the status in which the placeholder is installed.
const WITH_PLACEHOLDER: &str = "var/lib/dpkg/status-with-placeholder";
/// What the placeholder provides in the tests: what `overlays/base` declares.
const PROVIDED: &str = "linux-initramfs-tool";
/// apt's status when it cannot do what it is asked for.
const APT_REFUSES: i32 = 100;

#[derive(serde::Deserialize)]
struct Lists {
    list: Vec<List>,
}

#[derive(serde::Deserialize)]
struct List {
    name: String,
    wanted: Vec<PackageName>,
}

/// Packages as name and version, or none where there is no solution.
type Outcome = Option<BTreeSet<(String, String)>>;

/// The archive in both forms.
struct Comparison {
    archive: Archive,
    base: Vec<PackageName>,
    tree: PathBuf,
    directory: tempfile::TempDir,
}

/// One claim about the comparison.
type Check = Box<dyn FnOnce(&Comparison) -> Result<()> + Send>;

fn main() -> ExitCode {
    // First of all: the sandbox runs this same binary again to make itself.
    tools::enter_if_requested();
    let arguments = Arguments::from_args();
    let lists: Lists = toml::from_str(LISTS).unwrap();
    let comparison = (!arguments.list).then(|| Arc::new(Comparison::prepare().unwrap()));
    let trial = |name: String, run: Check| {
        let comparison = comparison.clone();
        Trial::test(name, move || {
            let comparison = comparison.ok_or("tests were only listed")?;
            run(&comparison).map_err(|error| format!("{error:?}").into())
        })
    };
    let mut trials =
        vec![trial("one_package_more_is_seen_as_a_difference".into(), Box::new(Comparison::sees_one_package_more))];
    let variations = arguments.filter.is_some();
    let lists = lists.list.into_iter().filter(|list| variations || !list.name.starts_with("alt"));
    for list in lists {
        let name = format!("chooses_what_apt_chooses_for_{}", list.name);
        if list.wanted.iter().any(|name| name.as_str().starts_with("linux-image")) {
            let wanted = list.wanted.clone();
            let check = move |comparison: &Comparison| comparison.check(&wanted, &provided()?);
            trials.push(trial(format!("{name}_beside_the_placeholder"), Box::new(check)));
        }
        trials.push(trial(name, Box::new(move |comparison| comparison.check(&list.wanted, &[]))));
    }
    trials
        .push(trial("the_placeholder_takes_the_place_of_packages".into(), Box::new(Comparison::sees_the_placeholder)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

impl Comparison {
    /// Gets the lists and the tree, and lets apt read them.
    fn prepare() -> Result<Self> {
        let cache = cache_dir()?;
        let mirror = env::var("CASEMATE_MIRROR").ok();
        let mirrors: Option<Mirrors> = match &mirror {
            Some(text) => Some(text.parse()?),
            None => load_apt_sources(Path::new("/etc/apt"))?,
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let (archive, texts) = open_archive(&cache, mirrors.as_ref(), now)?;
        let settings = Settings { offline: mirrors.is_none(), now, ..settings(&cache)? };
        let builder = Builder::new(settings, Progress::new(ProgressMode::Quiet))?;
        let tree = builder.tools_tree(ToolsKind::Build)?.root().to_owned();
        let essential = archive.index.candidates().filter(Package::is_essential);
        let base = essential.map(|package| package.package_name()).collect::<Result<Vec<_>, _>>()?;
        let directory = tempfile::tempdir()?;
        for (path, text) in apt::render_root(INSIDE, "amd64", &texts) {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().context("a file without a directory")?)?;
            fs::write(path, text)?;
        }
        fs::write(directory.path().join(WITH_PLACEHOLDER), status_paragraph(&provided()?))?;
        let comparison = Self { archive, base, tree, directory };
        let update = apt::update_arguments();
        let writable = comparison.sandbox().bind(comparison.directory.path(), INSIDE);
        apt_get(writable, &update)?.context("apt-get cannot read the indexes")?;
        Ok(comparison)
    }

    /// The claim for one list.
    fn check(&self, wanted: &[PackageName], provided: &[Provided]) -> Result<()> {
        let (ours, theirs) = (self.ours(wanted, provided), self.theirs(wanted, provided)?);
        if ours == theirs {
            return Ok(());
        }
        let count = |outcome: &Outcome| outcome.as_ref().map(BTreeSet::len);
        let counts = (count(&ours), count(&theirs));
        let (ours, theirs) = (ours.unwrap_or_default(), theirs.unwrap_or_default());
        bail!(
            "ours and apt's set differ ({counts:?} packages)\nonly ours: {:?}\nonly apt:  {:?}",
            &ours - &theirs,
            &theirs - &ours
        )
    }

    /// The negative twin: what apt chooses for more than we were asked for is not the same.
    fn sees_one_package_more(&self) -> Result<()> {
        let (less, more) = (names("apache2")?, names(&format!("apache2 {ONE_MORE}"))?);
        let (ours, theirs) = (self.ours(&less, &[]), self.theirs(&more, &[])?);
        let (ours, theirs) = (ours.context("no solution")?, theirs.context("no solution")?);
        let difference: Vec<_> = (&theirs - &ours).into_iter().map(|(name, _)| name).collect();
        ensure!(difference == [ONE_MORE], "the difference is {difference:?}");
        ensure!(ours.len() > 100, "a set of {} packages", ours.len());
        Ok(())
    }

    /// The other negative twin: without the placeholder the set is larger, with it apt's is as small as ours.
    fn sees_the_placeholder(&self) -> Result<()> {
        let kernel = names("linux-image-amd64")?;
        let full = self.theirs(&kernel, &[])?.context("no solution")?;
        let small = self.theirs(&kernel, &provided()?)?.context("no solution")?;
        let has = |set: &BTreeSet<(String, String)>| set.iter().any(|(name, _)| name == "initramfs-tools");
        ensure!(has(&full) && !has(&small) && small.is_subset(&full), "{} and {} packages", full.len(), small.len());
        ensure!(self.ours(&kernel, &provided()?) == Some(small), "ours is another set");
        Ok(())
    }

    fn ours(&self, wanted: &[PackageName], provided: &[Provided]) -> Outcome {
        let lock = self.archive.lock(&Wish::new(wanted.to_vec(), Base::Essential, provided.to_vec())).ok()?;
        let pairs = lock.packages.iter().map(|package| (package.name.to_string(), package.version.to_string()));
        Some(pairs.collect())
    }

    fn theirs(&self, wanted: &[PackageName], provided: &[Provided]) -> Result<Outcome> {
        let sandbox = self.sandbox().bind_read_only(self.directory.path(), INSIDE);
        // The addresses of what would be downloaded are known long before a simulation of the installation is done.
        let fixed = ["-q", "--print-uris", "--yes", "-o", "APT::Protect-Kernels=false", "install"].map(String::from);
        let simulation = apt::install_arguments(&self.base, wanted);
        let words = simulation.into_iter().skip_while(|word| word != "install").skip(1);
        let status = format!("Dir::State::status={INSIDE}/{WITH_PLACEHOLDER}");
        let status = ["-o".to_owned(), status].into_iter().filter(|_| !provided.is_empty());
        // Named, it stays: apt would rather take it away than refuse what conflicts with it.
        let stays = [PLACEHOLDER.to_owned()].into_iter().filter(|_| !provided.is_empty());
        let arguments: Vec<String> = status.chain(fixed).chain(words).chain(stays).collect();
        apt_get(sandbox, &arguments)?.map(|text| text.lines().filter_map(parse_uri).collect()).transpose()
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox::new(&self.tree)
    }
}

/// Runs apt-get; none when it refuses.
fn apt_get(sandbox: Sandbox, arguments: &[String]) -> Result<Option<String>> {
    let tool =
        Tool::new("apt-get").args(arguments).env("APT_CONFIG", format!("{INSIDE}/apt.conf")).accept(&[0, APT_REFUSES]);
    let output = SandboxRunner::new(sandbox).run(&tool).remedied()?;
    Ok((output.status == 0).then(|| output.stdout_text()))
}

/// Reads `'URI' NAME_VERSION_ARCHITECTURE.deb SIZE DIGEST`; other lines are apt's talk.
fn parse_uri(line: &str) -> Option<Result<(String, String)>> {
    let file = line.strip_prefix('\'')?.split(' ').nth(1)?;
    let mut parts = file.split('_');
    let pair = parts.next().zip(parts.next()).with_context(|| format!("`{file}` names no version"));
    // apt quotes what is not fit for the name of a file; of the characters of versions only the colon is not.
    Some(pair.map(|(name, version)| (name.to_owned(), version.replace("%3a", ":"))))
}

/// The verified index, and the texts it was made of.
fn open_archive(cache: &Path, mirrors: Option<&Mirrors>, now: u64) -> Result<(Archive, Vec<(Origin, String)>)> {
    let (http, keyring) = (Http::default(), Keyring::debian()?);
    let access = Access {
        cache,
        network: mirrors.map_or(Network::Offline, |mirrors| Network::Online(&http, mirrors)),
        keyring: &keyring,
        freshness: Freshness::default(),
        now: UnixTime(now),
    };
    let architecture: Architecture = "amd64".parse()?;
    let suites = Suite::of_release(&"trixie".parse()?, &[Component::main()]);
    let archive = Archive::open(&access, &suites, &architecture)?;
    let mut texts = Vec::new();
    for (suite, release) in &archive.releases {
        let component = Component::main();
        let text = fetch_packages(&access, suite, release, &component, &architecture)?;
        let suite = suite.name.clone();
        texts.push((Origin { suite, component }, text));
    }
    Ok((archive, texts))
}

fn provided() -> Result<Vec<Provided>> {
    Ok(vec![Provided { package: PROVIDED.parse()?, reason: "a test".into() }])
}

fn names(text: &str) -> Result<Vec<PackageName>> {
    text.split(' ').map(|name| Ok(name.parse()?)).collect()
}

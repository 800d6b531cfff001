//! A mirror that lies, cuts, stalls and forgets, and a store that somebody wrote to: an error that says so, or the right bytes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::bench::Bench;
use crate::cache_claims::digest;
use crate::mirror::{Lie, Mirror};
use crate::own_cache::{OwnCache, refusal, says, success};

/// A small package of the tools tree: it is fetched last.
const SMALL: &str = "libpopt0";
/// Seconds that a mirror may be silent in these tests.
const PATIENCE: &str = "1";

pub(crate) fn lists(bench: &Bench) -> Result<()> {
    let (mirror, cache) = scene(bench, "lists")?;
    let lock = || {
        let mut command = cache.casemate();
        mirror.serve(&mut command).args(["--timeout", PATIENCE, "lock"]).arg(bench.repo().join("images/minimal"));
        command.arg("--output").arg(cache.dir.join("lock.toml"));
        command
    };
    let release = "/debian/dists/trixie/InRelease";
    let index = "/dists/trixie/main/binary-amd64/by-hash/SHA256/";
    let index = mirror.find(index)?;
    let lies: [(&str, &str, Lie, i32, &[&str]); 8] = [
        ("a changed Release", release, Lie::Changed, 2, &["`trixie` is not trusted"]),
        (
            "an unsigned Release",
            release,
            Lie::Text("Suite: stable\nCodename: trixie\n"),
            2,
            &["`trixie` is not trusted"],
        ),
        ("an endless Release", release, Lie::Endless, 2, &["`trixie`", "longer than"]),
        ("a Release in a circle", release, Lie::Redirect, 2, &["`trixie`", "from one address to the next"]),
        ("a changed index", &index, Lie::Changed, 2, &["trixie/main/binary-amd64/Packages.xz", "expected SHA-256"]),
        ("a short index", &index, Lie::Text("Package: x\n"), 2, &["Packages.xz", "transfer fails"]),
        ("an endless index", &index, Lie::Endless, 2, &["Packages.xz", "sends more than"]),
        ("no index", &index, Lie::Status("404 Not Found", 9), 2, &["no longer carries", "Packages.xz"]),
    ];
    for (what, path, lie, status, parts) in lies {
        mirror.lie(path, lie)?;
        says(&refusal(&mut lock(), status, what)?, parts, what)?;
        ensure!(!cache.dir.join("lock.toml").exists(), "{what}: a lock was written");
    }
    mirror.be_honest();
    success(&mut lock(), "an honest mirror")?;

    // As if a newer one had been seen: what comes now is old.
    let seen = cache.dir.join("lists/trixie/seen");
    let date = fs::read_to_string(&seen)?;
    fs::write(&seen, "2100-01-01T00:00:00Z\n")?;
    let said = refusal(&mut lock(), 2, "an old Release")?;
    says(&said, &["the Release of `trixie` is refused", "2100-01-01"], "an old Release")?;
    fs::write(&seen, date)?;
    Ok(fs::remove_dir_all(cache.dir)?)
}

pub(crate) fn packages(bench: &Bench) -> Result<()> {
    let (mirror, cache) = scene(bench, "packages")?;
    let tools = || {
        let mut command = cache.casemate();
        mirror.serve(&mut command).args(["--timeout", PATIENCE, "tools", "build", "--json"]);
        command
    };
    let small = Package::find(bench, SMALL)?;
    let lies: [(&str, Lie, &[&str]); 7] = [
        ("a changed package", Lie::Changed, &["expected SHA-256", "use another mirror"]),
        ("a package without end", Lie::Endless, &["sends more than"]),
        ("a package that is gone", Lie::Status("404 Not Found", 9), &["`casemate lock IMAGE`"]),
        ("a mirror that is down", Lie::Status("500 Internal Server Error", 9), &["status 500"]),
        ("a mirror that falls silent", Lie::Stall(9), &["sent nothing for 1s", "--timeout"]),
        ("a mirror that drips", Lie::Drip, &["fewer than 1024 bytes a second for 1s", "--timeout"]),
        ("a short package", Lie::Cut(100), &["the connection broke"]),
    ];
    for (what, lie, parts) in lies {
        mirror.lie(&small.file, lie)?;
        let said = refusal(&mut tools(), 2, what)?;
        says(&said, &[&small.label], what)?;
        says(&said, parts, what)?;
        ensure!(!small.stored(&cache.dir).exists(), "{what}: it is in the store");
        ensure!(!has_tools(&cache.dir)?, "{what}: there is a tools tree");
    }
    // What the last one left is not asked for again; two bad answers and one silence are borne.
    mirror.take_log();
    mirror.lie(&small.file, Lie::Status("503 Service Unavailable", 2))?;
    success(&mut tools(), "a mirror that recovers")?;
    let log: Vec<String> = mirror.take_log().into_iter().filter(|line| line.contains(&small.file)).collect();
    ensure!(log.len() == 3 && log.iter().all(|line| line.contains(" from ")), "not resumed: {log:?}");
    ensure!(has_tools(&cache.dir)?, "there is no tools tree");
    for file in files(&cache.dir.join("packages/sha256"))? {
        let name = file.file_name().context("no name")?.to_string_lossy().into_owned();
        ensure!(digest(&file)?.to_string() == name, "`{name}` in the store is something else");
    }
    Ok(fs::remove_dir_all(cache.dir)?)
}

pub(crate) fn damaged_store(bench: &Bench) -> Result<()> {
    let (mirror, cache) = scene(bench, "store")?;
    cache.share_packages()?;
    cache.share_choice()?;
    let run = |further: &[&str]| {
        let mut command = cache.casemate();
        mirror.serve(&mut command).args(["tools", "build", "--json"]).args(further);
        command
    };
    let small = Package::find(bench, SMALL)?;
    let package = small.stored(&cache.dir);
    let good = fs::read(&package)?;
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let missing = format!("not in the cache: `{}`", small.label);
    for (what, bytes) in [("emptied", &good[..0]), ("cut", &good[..good.len() / 2]), ("changed", flipped.as_slice())] {
        replace(&package, bytes)?;
        says(&refusal(&mut run(&["--offline"]), 2, what)?, &[&missing, "without `--offline`"], what)?;
        ensure!(!has_tools(&cache.dir)?, "{what}: there is a tools tree");
    }
    replace(&package, &flipped)?;
    mirror.take_log();
    let said = success(&mut run(&[]), "a changed package")?;
    let told = format!("damaged in the cache and removed from it: {}", small.label);
    says(&String::from_utf8_lossy(&said.stderr), &[&told], "a changed package")?;
    let log: Vec<String> = mirror.take_log().into_iter().filter(|line| line.contains("/pool/")).collect();
    ensure!(log.len() == 1 && log[0].ends_with(&small.file), "asked for {log:?}");
    ensure!(fs::read(&package)? == good, "not fetched anew");
    Ok(fs::remove_dir_all(cache.dir)?)
}

fn scene(bench: &Bench, name: &str) -> Result<(Mirror, OwnCache)> {
    let mirror = Mirror::start(&Bench::cache()?, &bench.output().join("lock.toml"))?;
    Ok((mirror, OwnCache::new(bench.dir().join(format!("cache-{name}")))?))
}

/// A package of the tools tree, as the first build locked it.
struct Package {
    label: String,
    file: String,
    digest: String,
}

impl Package {
    fn find(bench: &Bench, name: &str) -> Result<Self> {
        let lock: toml::Value = toml::from_str(&fs::read_to_string(bench.output().join("lock.toml"))?)?;
        let rows = lock["tools"]["package"].as_array().context("no packages in the lock")?;
        let row = rows.iter().find(|row| row["name"].as_str() == Some(name)).context("not in the lock")?;
        let text = |key: &str| row[key].as_str().map(str::to_owned).context("a malformed lock");
        Ok(Self { label: format!("{name} {}", text("version")?), file: text("file")?, digest: text("sha256")? })
    }

    /// Where the store of a cache keeps it.
    fn stored(&self, cache: &Path) -> PathBuf {
        cache.join("packages/sha256").join(&self.digest[..2]).join(&self.digest)
    }
}

/// Puts a file of its own in the place of a link into the shared cache.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path)?;
    }
    Ok(fs::write(path, bytes)?)
}

fn has_tools(cache: &Path) -> Result<bool> {
    Ok(fs::read_dir(cache.join("stages"))?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("tools-")))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for shelf in fs::read_dir(dir)? {
        for file in fs::read_dir(shelf?.path())? {
            found.push(file?.path());
        }
    }
    Ok(found)
}

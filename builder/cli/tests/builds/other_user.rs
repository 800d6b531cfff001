//! An ordinary user of the machine: a home, an empty cache, the sources, the compiler, and granted subordinate ids.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::mount::Mount;

use crate::bench::{Bench, casemate, copy_sources};
use crate::id_mapper::IdMapper;

/// A user that every system has and that owns nothing.
const USER: &str = "nobody";
/// Ids that nobody else on the machine has been granted.
const FIRST_SUBORDINATE: u32 = 1_000_000_000;

/// A user of the machine.
pub(crate) struct User {
    pub(crate) id: u32,
    pub(crate) group: u32,
}

impl User {
    pub(crate) fn find() -> Result<Self> {
        let passwd = fs::read_to_string("/etc/passwd")?;
        let row = passwd.lines().find(|line| line.starts_with(&format!("{USER}:"))).context("no such user")?;
        let fields: Vec<&str> = row.split(':').collect();
        let number = |at: usize| fields.get(at).and_then(|text| text.parse().ok()).context("a malformed passwd");
        Ok(Self { id: number(2)?, group: number(3)? })
    }
}

/// What the user has.
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    mapper: IdMapper,
    mounts: Vec<Mount>,
}

impl Home {
    /// With the lock of a build that `output` holds.
    pub(crate) fn new(bench: &Bench, user: &User, output: &Path) -> Result<Self> {
        let dir = bench.dir().join("home of another");
        fs::create_dir(&dir)?;
        chown(&dir, Some(user.id), Some(user.group))?;
        copy_sources(&bench.repo(), &dir.join("source"))?;
        fs::copy(casemate(), dir.join("casemate"))?;
        fs::copy(output.join("lock.toml"), dir.join("lock.toml"))?;
        let grant = format!("{USER}:{FIRST_SUBORDINATE}:65536\n");
        let mapper = IdMapper::new(&Bench::tree("run")?, bench.dir(), &grant)?;
        let mut mounts = grant_ids(bench.dir(), &grant)?;
        mounts.extend(show_compiler(&dir)?);
        mounts.push(share_packages(&Bench::cache()?, bench.dir(), &dir, user)?);
        make_keys(&dir, user)?;
        Ok(Self { dir, mapper, mounts })
    }

    /// The whole environment of the user's commands: another time zone and language than the tests have.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let at = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let path = format!("{}:{}:/usr/bin:/bin:/usr/sbin:/sbin", self.mapper.path().display(), at("cargo/bin"));
        let mut environment = vec![
            ("PATH", path),
            ("HOME", at("")),
            ("CARGO_HOME", at("cargo")),
            ("RUSTUP_HOME", at("rustup")),
            ("CASEMATE_CACHE", at("cache")),
            ("TZ", "Pacific/Kiritimati".to_owned()),
            ("LC_ALL", "tr_TR.UTF-8".to_owned()),
            ("SOURCE_DATE_EPOCH", "1".to_owned()),
        ];
        for name in ["CASEMATE_MIRROR", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE"] {
            environment.extend(std::env::var(name).ok().map(|value| (name, value)));
        }
        environment
    }

    /// Keeps everything for a look after a failure.
    pub(crate) fn keep(self) -> Result<PathBuf> {
        drop((self.mounts, self.mapper));
        let kept = std::env::temp_dir().join(format!("casemate-different-{}", std::process::id()));
        fs::rename(&self.dir, &kept)?;
        Ok(kept)
    }

    pub(crate) fn remove(self) -> Result<()> {
        drop((self.mounts, self.mapper));
        Ok(fs::remove_dir_all(self.dir)?)
    }
}

/// Lays a grant of subordinate ids over the machine's own, for these tests only.
fn grant_ids(dir: &Path, grant: &str) -> Result<Vec<Mount>> {
    const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
    let ours = dir.join("subordinate-ids");
    fs::write(&ours, grant)?;
    fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o644))?;
    let mut mounts = Vec::new();
    if !FILES.iter().all(|file| Path::new(file).exists()) {
        let [upper, work] = ["etc-upper", "etc-work"].map(|name| dir.join(name));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        let etc = Path::new("/etc");
        mounts.push(tools::mount::overlay(&[etc], &upper, &work, etc)?);
        for file in FILES {
            fs::write(file, "")?;
        }
    }
    for file in FILES {
        mounts.insert(0, tools::mount::bind(&ours, Path::new(file))?);
    }
    Ok(mounts)
}

/// The compiler lives in the home of whoever runs the tests, which the other user may not enter.
fn show_compiler(dir: &Path) -> Result<Vec<Mount>> {
    let home = std::env::home_dir().context("no home directory")?;
    let of = |variable: &str, default: &str| std::env::var_os(variable).map_or(home.join(default), PathBuf::from);
    let mut mounts = Vec::new();
    for (source, target) in [(of("CARGO_HOME", ".cargo"), "cargo"), (of("RUSTUP_HOME", ".rustup"), "rustup")] {
        if source.is_dir() {
            let target = dir.join(target);
            fs::create_dir(&target)?;
            mounts.push(tools::mount::bind(&source, &target)?);
        }
    }
    Ok(mounts)
}

/// Packages are not fetched twice; everything else of the user's cache is empty. What he adds lies in a layer of his own.
fn share_packages(cache: &Path, scratch: &Path, dir: &Path, user: &User) -> Result<Mount> {
    let [upper, work] = ["packages-upper", "packages-work"].map(|name| scratch.join(name));
    let target = dir.join("cache/packages");
    for path in [&upper, &work, &target] {
        fs::create_dir_all(path)?;
    }
    let mount = tools::mount::overlay(&[&cache.join("packages")], &upper, &work, &target)?;
    own(&dir.join("cache"), user, Path::is_dir)?;
    Ok(mount)
}

fn make_keys(dir: &Path, user: &User) -> Result<()> {
    let status =
        Command::new(casemate()).args(["keys", "init"]).arg(dir.join("keys")).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "`casemate keys init` failed");
    own(&dir.join("keys"), user, |_| true)
}

/// Gives those paths at and below `path` to the user that `which` picks.
fn own(path: &Path, user: &User, which: fn(&Path) -> bool) -> Result<()> {
    if which(path) {
        chown(path, Some(user.id), Some(user.group))?;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), user, which)?;
        }
    }
    Ok(())
}

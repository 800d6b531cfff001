//! The same definition and lock give the same bytes, whoever builds them and wherever.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::bench::{Bench, casemate, copy_sources, said};
use crate::cache_claims::digest;

/// A user that every system has and that owns nothing.
const USER: &str = "nobody";
/// Ids that nobody else on the machine has been granted.
const FIRST_SUBORDINATE: u32 = 1_000_000_000;
/// What is compared byte by byte.
const ARTIFACTS: [&str; 6] = ["root.erofs", "root.verity", "linux", "initrd.cpio.zst", "cmdline", "lock.toml"];
/// Compared without its signature: `sbsign` writes the time of signing into it. Manifest, disk and bundle hold the signed one.
const SIGNED: &str = "uki.efi";

pub(crate) fn as_another_user(bench: &Bench) -> Result<()> {
    let user = User::find(USER)?;
    let home = Home::new(bench, &user)?;
    let output = home.dir.join("a/deep er/output");
    let mut command = Command::new("sh");
    // The second core is taken away where there is one; the umask shuts everyone out.
    command.args(["-c", "umask 077; command -v taskset >/dev/null && exec taskset -c 0 \"$@\" || exec \"$@\"", "sh"]);
    command.arg(home.dir.join("casemate")).arg("build").arg(home.dir.join("source/images/minimal"));
    command.arg("--output").arg(&output).arg("--locked").arg(home.dir.join("lock.toml"));
    command.arg("--keys").arg(home.dir.join("keys")).args(["--json", "--explain"]);
    command
        .env_clear()
        .envs(home.environment())
        .current_dir(&home.dir)
        .stdin(Stdio::null())
        .uid(user.id)
        .gid(user.group);
    let built = said(command, "build as an ordinary user")?;
    let ran = crate::bench::ran(&built);
    ensure!(ran.len() == 8, "not every stage ran with an empty cache: {:?}", ran.keys());

    // As root, from the warm cache, with the same keys.
    let ours = bench.dir().join("as-root");
    let keys = home.dir.join("keys").to_string_lossy().into_owned();
    let lock = home.dir.join("lock.toml").to_string_lossy().into_owned();
    bench.build(&ours, &["--keys", &keys, "--locked", &lock])?;
    let mut different = Vec::new();
    for name in ARTIFACTS {
        if digest(&ours.join(name))? != digest(&output.join(name))? {
            different.push(name);
        }
    }
    if unsigned(&fs::read(ours.join(SIGNED))?)? != unsigned(&fs::read(output.join(SIGNED))?)? {
        different.push(SIGNED);
    }
    ensure!(different.is_empty(), "these differ: {different:?}; kept in {}", home.keep()?.display());
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(output.join("disk.raw"))?);
    ensure!(owner == user.id, "the output belongs to {owner}");
    home.remove()
}

/// A signed EFI program as it was before: PE specification, "Optional Header Data Directories", entry 4 is the certificate table,
/// which stands at the end of the file.
fn unsigned(program: &[u8]) -> Result<Vec<u8>> {
    const HEADER_POINTER: usize = 0x3c;
    const CHECKSUM: usize = 24 + 64;
    const CERTIFICATES: usize = 24 + 112 + 4 * 8;
    let number = |at: usize| -> Result<usize> {
        let bytes = program.get(at..at + 4).context("the program ends in its header")?;
        Ok(usize::try_from(u32::from_le_bytes(bytes.try_into()?))?)
    };
    let header = number(HEADER_POINTER)?;
    let end = number(header + CERTIFICATES)?;
    ensure!(end > header && end < program.len(), "the program is not signed");
    let mut bytes = program[..end].to_vec();
    bytes[header + CHECKSUM..][..4].fill(0);
    bytes[header + CERTIFICATES..][..8].fill(0);
    Ok(bytes)
}

/// A user of the machine.
struct User {
    id: u32,
    group: u32,
}

impl User {
    fn find(name: &str) -> Result<Self> {
        let passwd = fs::read_to_string("/etc/passwd")?;
        let row = passwd.lines().find(|line| line.starts_with(&format!("{name}:"))).context("no such user")?;
        let fields: Vec<&str> = row.split(':').collect();
        let number = |at: usize| fields.get(at).and_then(|text| text.parse().ok()).context("a malformed passwd");
        Ok(Self { id: number(2)?, group: number(3)? })
    }
}

/// What the user has: a home with an empty cache, the sources, the packages, the compiler, and granted ids.
struct Home {
    dir: PathBuf,
    mounts: Vec<tools::mount::Mount>,
}

impl Home {
    fn new(bench: &Bench, user: &User) -> Result<Self> {
        let dir = bench.dir().join("home of another");
        fs::create_dir(&dir)?;
        chown(&dir, Some(user.id), Some(user.group))?;
        copy_sources(&bench.repo(), &dir.join("source"))?;
        fs::copy(casemate(), dir.join("casemate"))?;
        fs::copy(bench.output().join("lock.toml"), dir.join("lock.toml"))?;
        let mut mounts = grant_ids(&dir)?;
        mounts.extend(show_compiler(&dir)?);
        share_packages(&Bench::cache()?, &dir, user)?;
        make_keys(&dir, user)?;
        Ok(Self { dir, mounts })
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let at = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", at("cargo/bin"));
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
    fn keep(&self) -> Result<PathBuf> {
        let kept = std::env::temp_dir().join(format!("casemate-different-{}", std::process::id()));
        fs::rename(&self.dir, &kept)?;
        Ok(kept)
    }

    fn remove(self) -> Result<()> {
        drop(self.mounts);
        Ok(fs::remove_dir_all(self.dir)?)
    }
}

/// Lays a grant of subordinate ids over the machine's own, for these tests only.
fn grant_ids(dir: &Path) -> Result<Vec<tools::mount::Mount>> {
    let grant = dir.join("subordinate-ids");
    fs::write(&grant, format!("{USER}:{FIRST_SUBORDINATE}:65536\n"))?;
    fs::set_permissions(&grant, std::fs::Permissions::from_mode(0o644))?;
    let mut mounts = Vec::new();
    for file in ["/etc/subuid", "/etc/subgid"] {
        if !Path::new(file).exists() {
            bail!("this machine has no `{file}`: make an empty one (`touch {file}`)");
        }
        mounts.push(tools::mount::bind(&grant, Path::new(file))?);
    }
    Ok(mounts)
}

/// The compiler lives in the home of whoever runs the tests, which the other user may not enter.
fn show_compiler(dir: &Path) -> Result<Vec<tools::mount::Mount>> {
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

/// Packages are not fetched twice; everything else of the user's cache is empty.
fn share_packages(cache: &Path, dir: &Path, user: &User) -> Result<()> {
    let (source, target) = (cache.join("packages"), dir.join("cache/packages"));
    fs::create_dir_all(target.join("partial"))?;
    for shelf in fs::read_dir(source.join("sha256"))? {
        let shelf = shelf?;
        let to = target.join("sha256").join(shelf.file_name());
        fs::create_dir_all(&to)?;
        for package in fs::read_dir(shelf.path())? {
            let package = package?;
            fs::copy(package.path(), to.join(package.file_name()))?;
        }
    }
    own(&dir.join("cache"), user)
}

fn make_keys(dir: &Path, user: &User) -> Result<()> {
    let status =
        Command::new(casemate()).args(["keys", "init"]).arg(dir.join("keys")).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "`casemate keys init` failed");
    own(&dir.join("keys"), user)
}

/// Gives a directory and everything in it to the user.
fn own(path: &Path, user: &User) -> Result<()> {
    chown(path, Some(user.id), Some(user.group))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), user)?;
        }
    }
    Ok(())
}

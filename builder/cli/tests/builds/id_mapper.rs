//! `newuidmap` and `newgidmap` for a machine that has none: Debian's own, from the tools tree.
//!
//! They are dynamic programs of another Debian and must start as root, so the tests put this very test program in their place, set-uid:
//! it changes its root to the tree and becomes the real one, which then decides by its own rules. All of it is on a mount that only these
//! tests and their children see; the files below lie in a directory that only root enters.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

/// The programs, and where they are found in the tree and taken from `PATH`.
const PROGRAMS: [&str; 2] = ["newuidmap", "newgidmap"];
const DEBIANS: &str = "/usr/bin";
const OURS: &str = "usr/local/bin";

/// The tree with the set-uid programs, seen as long as this lives.
pub(crate) struct IdMapper {
    path: PathBuf,
    // In this order: what lies on top goes first.
    _mounts: Vec<tools::mount::Mount>,
}

impl IdMapper {
    /// Makes the mapper in `dir`; `grant` is what `/etc/subuid` and `/etc/subgid` say.
    pub(crate) fn new(tree: &Path, dir: &Path, grant: &str) -> Result<Self> {
        let (hidden, seen) = (dir.join("id-mapper-layers"), dir.join("id-mapper"));
        let [upper, work] = ["upper", "work"].map(|name| hidden.join(name));
        for path in [&hidden, &upper, &work, &seen] {
            fs::create_dir(path)?;
        }
        fs::set_permissions(&hidden, mode(0o700))?;
        fs::set_permissions(&upper, mode(0o755))?;
        let mut mounts = vec![tools::mount::overlay(&[tree], &upper, &work, &seen)?];
        let bin = seen.join(OURS);
        fs::create_dir_all(&bin)?;
        for program in PROGRAMS {
            let path = bin.join(program);
            fs::copy(std::env::current_exe()?, &path)?;
            fs::set_permissions(&path, mode(0o4755))?;
        }
        fs::copy("/etc/passwd", seen.join("etc/passwd"))?;
        for file in ["etc/subuid", "etc/subgid"] {
            fs::write(seen.join(file), grant)?;
            fs::set_permissions(seen.join(file), mode(0o644))?;
        }
        mounts.insert(0, tools::mount::bind(Path::new("/proc"), &seen.join("proc"))?);
        Ok(Self { path: bin, _mounts: mounts })
    }

    /// What goes into `PATH`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Becomes Debian's program if this one was started under its name.
pub(crate) fn become_debians() -> Option<anyhow::Error> {
    let name = std::env::args_os().next()?;
    let name = Path::new(&name).file_name()?.to_str()?;
    let program = PROGRAMS.into_iter().find(|program| *program == name)?;
    match change(program) {
        Ok(never) => match never {},
        Err(error) => Some(error.context(format!("cannot become Debian's `{program}`"))),
    }
}

fn change(program: &str) -> Result<Infallible> {
    let own = fs::canonicalize("/proc/self/exe")?;
    let Some(tree) = own.parent().and_then(Path::to_str).and_then(|bin| bin.strip_suffix(OURS)) else {
        bail!("`{}` is not in a tree", own.display());
    };
    rustix::process::chroot(tree).context("cannot change the root")?;
    std::env::set_current_dir("/")?;
    let error = Command::new(Path::new(DEBIANS).join(program)).args(std::env::args_os().skip(1)).env_clear().exec();
    Err(error.into())
}

fn mode(bits: u32) -> std::fs::Permissions {
    std::fs::Permissions::from_mode(bits)
}

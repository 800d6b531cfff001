//! An ordinary user whom the machine lets have no user namespace: which rule stands in the way, and what to do.
//!
//! Each rule is set in namespaces of this test's own. The machine stays as it is.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::mount::{Mount, bind, overlay};

use crate::bench::{Bench, casemate};
use crate::own_cache::{refusal, says};

/// `nobody`, who has nothing.
const USER: u32 = 65_534;
/// Goes on when its ids are there: as root of its namespace it forbids further ones, then becomes the ordinary user.
const SCRIPT: &str = "echo ready; read line; exec sh -c '
    echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"' sh \"$@\"";

pub(crate) fn refused(bench: &Bench) -> Result<()> {
    let place = Place::new(bench)?;
    let lock = |command: &mut Command| {
        command.env("CASEMATE_CACHE", place.dir.join("cache")).arg("lock").arg(bench.repo().join("images/minimal"));
    };

    let mut plain = Command::new(&place.program);
    lock(plain.uid(USER).gid(USER));
    let said = refusal(&mut plain, 2, "no grant")?;
    says(
        &said,
        &["`/etc/subuid` grants `nobody` no range of 65535 subordinate ids", "usermod --add-subuids"],
        "no grant",
    )?;

    Place::grant()?;
    let mut without = Command::new(&place.program);
    lock(without.uid(USER).gid(USER).env("PATH", place.dir.join("empty")));
    let said = refusal(&mut without, 2, "no newuidmap")?;
    says(&said, &["this machine has no `newuidmap`", "apt install uidmap", "build as root"], "no newuidmap")?;

    let said = place.without_namespaces(lock)?;
    says(&said, &["user namespaces are switched off", "sysctl user.max_user_namespaces=10000"], "the limit")?;
    ensure!(!said.contains("No space left"), "that sends people to their disk:\n{said}");

    // Ubuntu's rule and Debian's old one, as the kernels that have them show them.
    for (file, value, parts) in [
        ("apparmor_restrict_unprivileged_userns", "1", ["AppArmor takes the rights", "`userns,`"]),
        ("unprivileged_userns_clone", "0", ["for root only", "sysctl kernel.unprivileged_userns_clone=1"]),
    ] {
        let shown = place.dir.join(file);
        fs::create_dir(&shown)?;
        fs::write(shown.join(file), format!("{value}\n"))?;
        let rule = bind(&shown, Path::new("/proc/sys/kernel"))?;
        let said = place.without_namespaces(lock)?;
        rule.unmount()?;
        says(&said, &parts, file)?;
    }
    ensure!(!place.dir.join("cache").exists(), "somebody made a cache");
    Ok(())
}

/// A program that everyone may start, and an `/etc` that only this test sees.
struct Place {
    dir: PathBuf,
    program: PathBuf,
    _etc: Mount,
}

impl Place {
    fn new(bench: &Bench) -> Result<Self> {
        let dir = bench.dir().join("namespaces");
        let [upper, work, empty] = ["upper", "work", "empty"].map(|name| dir.join(name));
        for path in [&upper, &work, &empty] {
            fs::create_dir_all(path)?;
        }
        let etc = overlay(&[Path::new("/etc")], &upper, &work, Path::new("/etc"))?;
        for file in ["/etc/subuid", "/etc/subgid"] {
            fs::write(file, "")?;
        }
        let program = dir.join("casemate");
        fs::copy(casemate(), &program)?;
        Ok(Self { dir, program, _etc: etc })
    }

    fn grant() -> Result<()> {
        ["/etc/subuid", "/etc/subgid"].iter().try_for_each(|file| Ok(fs::write(file, "nobody:1000000:65536\n")?))
    }

    /// What the command says in a user namespace that has none below it.
    fn without_namespaces(&self, arguments: impl Fn(&mut Command)) -> Result<String> {
        let mut command = Command::new("unshare");
        command.args(["--user", "sh", "-c", SCRIPT, "sh"]).arg(&self.program);
        arguments(&mut command);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", child.id()), "0 0 65536\n")?;
        }
        child.stdin.take().context("no input")?.write_all(b"go on\n")?;
        let mut said = String::new();
        child.stderr.take().context("no errors")?.read_to_string(&mut said)?;
        let status = child.wait()?;
        ensure!(status.code() == Some(2), "ended with {status}:\n{said}");
        Ok(said)
    }
}

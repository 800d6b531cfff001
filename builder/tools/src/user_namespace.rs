//! A whole range of user ids for an ordinary user: the builder unpacks files of many owners without being root.
//!
//! The kernel gives every user a namespace in which he is root; `newuidmap` (the one program that the host must have) fills it with the
//! subordinate ids that the host's administrator granted in `/etc/subuid` and `/etc/subgid`. The builder runs itself again inside and
//! waits. Files that belong to other ids inside belong to subordinate ids outside: remove the cache with `casemate cache prune`.

use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::sched::CloneFlags;
use rustix::fs::Mode;
use rustix::process::{Pid, Signal, WaitOptions, geteuid, getuid};

use crate::failure::Failure;
use crate::namespace::{enter_private_mounts, make_private};
use crate::process::shell_status;

/// Tells the inner process who waits for it; another parent means that the variable came from elsewhere.
const INNER: &str = "CASEMATE_NAMESPACE_OF";
/// Ids from 1 up to this one are taken from the subordinate range: Debian's `nogroup` is the last.
const NEEDED: u32 = 65_535;

/// Where the process is after [`enter`].
#[derive(Debug)]
pub enum Entered {
    /// In its own mounts, as root or as root of its own ids: go on.
    Inside,
    /// An inner process did all the work and ended like this.
    Ended(ExitCode),
}

/// Makes sure that files of any owner can be made, with the modes that are asked for, and nothing mounted is seen by others.
///
/// The caller's umask is put aside: a directory of an image must not be shut because the builder's user shuts his own.
/// What is secret names its mode.
///
/// Must run before any thread is started: the kernel lets only a process with one thread change its user namespace.
pub fn enter() -> anyhow::Result<Entered> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if std::env::var(INNER).ok() == parent_id() && parent_id().is_some() {
        become_root_inside()?;
        return Ok(Entered::Inside);
    }
    if geteuid().is_root() {
        enter_private_mounts()?;
        return Ok(Entered::Inside);
    }
    let ranges = Ranges::of_this_user()?;
    run_inside(&ranges).map(Entered::Ended)
}

/// Whether this process sees other user ids than the machine does.
pub fn is_own() -> bool {
    const WHOLE: &str = "0 0 4294967295";
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>().join(" ") != WHOLE
}

fn parent_id() -> Option<String> {
    rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string())
}

/// The inner process: takes a namespace, stops until its ids are there, goes on as root.
fn become_root_inside() -> anyhow::Result<()> {
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    nix::sched::unshare(flags).map_err(|error| refused_by_kernel(&error.into()))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    rustix::process::kill_process(rustix::process::getpid(), Signal::STOP)?;
    if !getuid().is_root() {
        return Err(Failure::environment("the ids of the namespace were not filled in").into());
    }
    // Where a security module takes the capabilities away again, this is the first thing that fails.
    make_private().map_err(|error| refused_by_kernel(&error.source))?;
    Ok(())
}

/// The outer process: starts the inner one, fills in its ids, waits for its end.
fn run_inside(ranges: &Ranges) -> anyhow::Result<ExitCode> {
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env(INNER, std::process::id().to_string());
    let mut child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let stopped = rustix::process::waitpid(Some(pid), WaitOptions::UNTRACED)?;
    if !stopped.is_some_and(|(_, status)| status.stopped()) {
        // It ended before it could stop, and has said why.
        let code = stopped.and_then(|(_, status)| status.exit_status()).unwrap_or(2);
        return Ok(exit_code(code));
    }
    if let Err(error) = ranges.fill(pid) {
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    pass_on_signals(pid)?;
    rustix::process::kill_process(pid, Signal::CONT)?;
    Ok(exit_code(shell_status(child.wait()?)))
}

/// The inner process ends in good order when it is told to; this one only tells how it ended.
fn pass_on_signals(inner: Pid) -> anyhow::Result<()> {
    use nix::sys::signal::{SigSet, Signal as Wanted};
    let signals: SigSet = [Wanted::SIGINT, Wanted::SIGTERM, Wanted::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    let pass_on = move || {
        while let Ok(signal) = signals.wait() {
            let signal = match signal {
                Wanted::SIGINT => Signal::INT,
                Wanted::SIGTERM => Signal::TERM,
                _ => Signal::HUP,
            };
            // Ctrl-C reaches both by itself: the second one changes nothing.
            let _ = rustix::process::kill_process(inner, signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(pass_on)?;
    Ok(())
}

fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(2))
}

/// Subordinate ids of one user, users and groups.
#[derive(Debug, PartialEq, Eq)]
struct Ranges {
    users: Range,
    groups: Range,
}

/// Consecutive ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

impl Ranges {
    fn of_this_user() -> anyhow::Result<Self> {
        let names = names_of_user()?;
        let of = |file: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            Range::find(&text, &names).ok_or_else(|| no_range(file, &names))
        };
        Ok(Self { users: of("/etc/subuid")?, groups: of("/etc/subgid")? })
    }

    fn fill(&self, pid: Pid) -> anyhow::Result<()> {
        let (user, group) = (geteuid().as_raw(), rustix::process::getegid().as_raw());
        fill_one("newuidmap", pid, user, self.users)?;
        fill_one("newgidmap", pid, group, self.groups)
    }
}

impl Range {
    /// subuid(5): `name or id:first:count`, of which the first row that is large enough is taken.
    fn find(text: &str, names: &[String]) -> Option<Self> {
        text.lines().find_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let range = Self { first: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? };
            (names.iter().any(|name| name == owner) && range.count >= NEEDED).then_some(range)
        })
    }
}

/// The user's id, and his name where the machine knows one.
fn names_of_user() -> anyhow::Result<Vec<String>> {
    let id = geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let name = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&id.as_str())).then(|| fields.first().map(ToString::to_string)).flatten()
    });
    // Users of a directory service are not in the file; the environment of a login names them.
    let name = name.or_else(|| std::env::var("USER").ok());
    Ok(name.into_iter().chain([id]).collect())
}

fn no_range(file: &str, names: &[String]) -> anyhow::Error {
    let user = names.first().map_or("USER", String::as_str);
    let message = format!("`{file}` grants `{user}` no range of {NEEDED} subordinate ids");
    let hint = format!(
        "as root: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}` (a range that nobody else has), or build as root"
    );
    Failure::environment(message).hint(hint).into()
}

/// Runs `newuidmap` or `newgidmap`: the caller is 0 inside, the range is 1 and up.
fn fill_one(program: &str, pid: Pid, own: u32, range: Range) -> anyhow::Result<()> {
    let pid = pid.as_raw_nonzero().to_string();
    let count = NEEDED.min(range.count);
    let ids = ["0", &own.to_string(), "1", "1", &range.first.to_string(), &count.to_string()].map(str::to_owned);
    let output = Command::new(program).arg(pid).args(ids).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::environment(format!("this machine has no `{program}`"))
            .hint("install it (Debian and Ubuntu: `apt install uidmap`; Fedora: `dnf install shadow-utils`), or build as root"),
        _ => Failure::environment(format!("cannot start `{program}`: {error}")),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::environment(format!("`{program}` refused: {said}"))
        .hint(
            "`newuidmap` must be set-uid root or hold cap_setuid, and the range must be in /etc/subuid and /etc/subgid",
        )
        .into())
}

/// Names the rule of the machine that stands in the way, and how to change it.
fn refused_by_kernel(error: &io::Error) -> anyhow::Error {
    let set = |name: &str, value: &str| {
        std::fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|text| text.trim() == value)
    };
    let (cause, hint) = if set("kernel/apparmor_restrict_unprivileged_userns", "1") {
        (
            "AppArmor takes the rights in user namespaces away from programs without a profile (Ubuntu 23.10 and later)",
            "allow it for this program with an AppArmor profile that says `userns,`, or for all with \
             `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or build as root",
        )
    } else if set("kernel/unprivileged_userns_clone", "0") {
        (
            "this kernel makes user namespaces for root only",
            "`sysctl kernel.unprivileged_userns_clone=1`, or build as root",
        )
    } else if set("user/max_user_namespaces", "0") {
        ("user namespaces are switched off", "`sysctl user.max_user_namespaces=10000`, or build as root")
    } else {
        ("the kernel refused a user namespace", "inside a container, let it make user namespaces; or build as root")
    };
    // unshare(2) says ENOSPC where the limit is reached, which would send people to look at their disk.
    let told =
        if error.kind() == io::ErrorKind::StorageFull { "the limit is reached".to_owned() } else { error.to_string() };
    Failure::environment(format!("{cause}: {told}")).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["carol".into(), "1002".into()]
    }

    #[test]
    fn the_first_large_range_of_the_user_is_taken_by_name_or_id() {
        let text = "alice:100000:65536\ncarol:200000:1000\n1002:300000:65536\ncarol:400000:65536\n";
        assert_eq!(Range::find(text, &names()), Some(Range { first: 300_000, count: 65_536 }));
    }

    #[test]
    fn nobody_elses_range_and_no_malformed_row_is_taken() {
        for text in ["", "alice:100000:65536", "carol", "carol:x:65536", "carol:100000:65534", "carol:100000"] {
            assert_eq!(Range::find(text, &names()), None, "{text}");
        }
    }

    #[test]
    fn a_missing_range_names_file_user_and_command() {
        let shown = crate::failure::render(&no_range("/etc/subuid", &names()));
        assert!(shown.contains("/etc/subuid") && shown.contains("usermod") && shown.contains("carol"), "{shown}");
    }
}

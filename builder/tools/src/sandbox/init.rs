//! The helper's inner half: PID 1 of the sandbox.
//!
//! It builds the tree, starts the program, reaps what the program leaves behind (maintainer scripts do) and
//! ends with the program's status; the kernel then kills whatever still runs inside.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::WaitOptions;

use super::enter::{Request, complain, die_with_parent, one_line};
use super::helper::Call;
use super::{STATUS_NOT_FOUND, tree};

/// Serves as PID 1; returns the exit status.
pub(super) fn run(request: &Request) -> Result<i32, String> {
    let spec = &request.spec;
    die_with_parent().map_err(|error| error.to_string())?;
    if outer_parent() != Some(spec.call.parent) {
        return Err("the builder has ended already".into());
    }
    // A session of its own: the program cannot push input into the builder's terminal.
    rustix::process::setsid().map_err(|error| format!("cannot start a session: {error}"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    tree::enter(&spec.sandbox).map_err(|error| one_line(&error))?;
    rustix::system::sethostname(spec.sandbox.hostname.as_bytes())
        .map_err(|error| format!("cannot set the host name: {error}"))?;
    start(&request.command, &spec.call)
}

/// Our parent is outside of this pid namespace, where `getppid` shows 0; the host's `/proc`, still mounted
/// here, shows its number there.
fn outer_parent() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Starts the program where this process is now, and reaps until it ends.
pub(super) fn start(command: &[OsString], call: &Call) -> Result<i32, String> {
    let (program, args) = command.split_first().ok_or("no program was named")?;
    let cwd = call.cwd.as_deref().unwrap_or_else(|| Path::new("/"));
    std::env::set_current_dir(cwd).map_err(|error| format!("cannot enter `{}`: {error}", cwd.display()))?;
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(&call.env);
    match command.spawn() {
        Ok(child) => reap_until(child.id()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(complain(&format!("cannot find `{}`", program.display()), STATUS_NOT_FOUND))
        }
        Err(error) => Err(format!("cannot start `{}`: {error}", program.display())),
    }
}

/// Reaps every child, own or adopted, until the program itself has ended.
fn reap_until(program: u32) -> Result<i32, String> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().unsigned_abs() == program => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                return Ok(status.exit_status().or(signal).unwrap_or(1));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("cannot wait for the program: {error}")),
        }
    }
}

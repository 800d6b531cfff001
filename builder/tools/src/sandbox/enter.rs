//! The helper's outer half: leaves the host's namespaces and starts PID 1 of the new ones.
//!
//! Runs in a fresh process with one thread, which is what the kernel asks of a process that changes
//! namespaces.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sched::CloneFlags;
use rustix::process::Signal;
use rustix::thread::LinkNameSpaceType;

use super::helper::Call;
use super::{MARK, Network, SPEC_OPTION, STAGE_INIT, STAGE_JOIN, STAGE_OUTER, STATUS_SETUP, Sandbox, Spec, init, join};
use crate::fs::{AtPath, PathError};
use crate::process::shell_status;

/// Whether this process can serve as its own helper.
static CALLED: AtomicBool = AtomicBool::new(false);

/// What a helper was started for: the program and its arguments, and how it is to be shut in.
pub(super) struct Request<S = Spec> {
    pub(super) spec: S,
    pub(super) command: Vec<OsString>,
}

/// Serves as the sandbox helper if the arguments ask for it, and then never returns.
///
/// Must be the first statement of `main`, before any thread exists.
pub fn enter_if_requested() {
    CALLED.store(true, Ordering::Relaxed);
    let mut args = std::env::args_os().skip(1);
    let stage = args.next().unwrap_or_default();
    let outcome = if stage == STAGE_OUTER {
        parse_request(args).and_then(|request| run_outer(&request))
    } else if stage == STAGE_INIT {
        parse_request(args).and_then(|request| init::run(&request))
    } else if stage == STAGE_JOIN {
        parse_request(args).and_then(|request| join::run(&request))
    } else {
        return;
    };
    let status = outcome.unwrap_or_else(|message| complain(&message, STATUS_SETUP));
    std::process::exit(status);
}

/// Whether `main` has passed through [`enter_if_requested`].
pub(super) fn was_called() -> bool {
    CALLED.load(Ordering::Relaxed)
}

/// Says why, in the form that the runner looks for.
pub(super) fn complain(message: &str, status: i32) -> i32 {
    let _ = writeln!(io::stderr(), "{MARK}{}", message.replace('\n', " "));
    status
}

/// Renders an error with its cause in one line.
pub(super) fn one_line(error: &PathError) -> String {
    format!("{error}: {}", error.source)
}

fn parse_request<S: serde::de::DeserializeOwned>(
    mut args: impl Iterator<Item = OsString>,
) -> Result<Request<S>, String> {
    let spec = args.next().unwrap_or_default();
    let json = spec.to_str().and_then(|text| text.strip_prefix(SPEC_OPTION)).ok_or("the description is missing")?;
    let spec = serde_json::from_str(json).map_err(|error| format!("the description is not ours: {error}"))?;
    let command: Vec<_> = args.skip(1).collect();
    if command.is_empty() {
        return Err("no program was named".into());
    }
    Ok(Request { spec, command })
}

fn run_outer(request: &Request) -> Result<i32, String> {
    die_with_parent().map_err(|error| error.to_string())?;
    check_parent(request.spec.call.parent)?;
    leave_host(&request.spec.sandbox).map_err(|error| one_line(&error))?;
    let spec = Spec {
        sandbox: request.spec.sandbox.clone(),
        call: Call { parent: std::process::id(), ..request.spec.call.clone() },
    };
    let json = serde_json::to_string(&spec).map_err(|error| error.to_string())?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(STAGE_INIT).arg(format!("{SPEC_OPTION}{json}")).arg("--").args(&request.command);
    let status = command.status().map_err(|error| format!("cannot start the inner helper: {error}"))?;
    Ok(shell_status(status))
}

/// Lets the kernel kill this process when the thread that started it ends.
pub(super) fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Ends a helper whose builder died before the death signal was armed.
pub(super) fn check_parent(expected: u32) -> Result<(), String> {
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if parent == Some(expected) { Ok(()) } else { Err("the builder has ended already".into()) }
}

fn leave_host(sandbox: &Sandbox) -> Result<(), PathError> {
    let mut flags =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    match &sandbox.network {
        Network::None => flags |= CloneFlags::CLONE_NEWNET,
        Network::Host => {}
        Network::Namespace(path) => {
            let file = crate::fs::open(path)?;
            let kind = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(file.as_fd(), kind).at("enter network namespace", path)?;
        }
    }
    if let Some(group) = &sandbox.cgroup {
        // First join, then unshare: the group we are in becomes the root of the new namespace.
        crate::fs::write(&group.join("cgroup.procs"), std::process::id().to_string())?;
        flags |= CloneFlags::CLONE_NEWCGROUP;
    }
    nix::sched::unshare(flags).at("make namespaces for", "/")?;
    if sandbox.network == Network::None {
        crate::netlink::loopback_up().at("bring up interface", "lo")?;
    }
    crate::namespace::make_private()
}

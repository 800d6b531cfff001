//! A program that goes on while we do other things: a machine, a container, a daemon of a test.
//!
//! The program is started by a thread that lives as long as it does, because the kernel's parent-death
//! signal, which the sandbox relies on, is tied to the thread that started the child.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::fs;
use crate::output::ToolError;
use crate::process::{prepare_stdin, shell_status, start_error};
use crate::tool::{Stdin, Tool};

/// How long the end of a killed sandbox may take: a large machine gives back its memory first.
const LONGEST_END: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Starts tools that go on running.
pub trait Launcher: Send + Sync {
    /// Starts the tool with both streams going to the file `log`, which is emptied first.
    fn launch(&self, tool: &Tool, log: &Path) -> Result<Running, ToolError>;
}

/// A program in its sandbox in flight; dropping it kills it and everything inside.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
    end: Receiver<i32>,
    status: Option<i32>,
}

impl Running {
    /// Starts a prepared command, the helper of a sandbox.
    pub(crate) fn start(command: Command, tool: &Tool, log: &Path) -> Result<Self, ToolError> {
        let command = redirect(command, tool, log)?;
        let (started, answer) = mpsc::sync_channel(1);
        let (ended, end) = mpsc::sync_channel(1);
        let keeper = thread::Builder::new().name("keeper".into());
        keeper
            .spawn(move || {
                let mut command = command;
                match command.spawn() {
                    Ok(child) => keep(child, &started, &ended),
                    Err(error) => drop(started.send(Err(error))),
                }
            })
            .map_err(|source| start_error(tool, "start", source))?;
        let lost = || Err(io::Error::other("the keeper thread ended"));
        let pid = answer.recv().unwrap_or_else(|_| lost()).map_err(|source| start_error(tool, "start", source))?;
        Ok(Self { pid, end, status: None })
    }

    /// The process id of the started process (of the helper, in a sandbox).
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The exit status if the program has ended; 128 + n for signal n.
    pub fn try_status(&mut self) -> Option<i32> {
        self.wait_timeout(Duration::ZERO)
    }

    /// Waits at most this long for the end; `None` when it still runs.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<i32> {
        if self.status.is_none() {
            self.status = self.end.recv_timeout(timeout).ok();
        }
        self.status
    }

    /// Kills the program at once, waits until it and everything inside is gone, and returns its status.
    pub fn kill(&mut self) -> i32 {
        if let Some(status) = self.try_status() {
            return status;
        }
        // The first process inside dies with its helper, and is gone when all others are (`pid_namespaces(7)`); until then they have
        // their files and ports.
        let inside = children_of(self.pid);
        // It may have ended in between; the keeper reaps, so the number can only be ours or nobody's.
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        let status = self.end.recv().unwrap_or(128 + 9);
        inside.iter().for_each(wait_until_gone);
        self.status = Some(status);
        status
    }
}

/// Handles of the processes that this one has started.
fn children_of(parent: Pid) -> Vec<OwnedFd> {
    let number = parent.as_raw_nonzero();
    let listed = std::fs::read_to_string(format!("/proc/{number}/task/{number}/children")).unwrap_or_default();
    let children = listed.split_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?));
    children.filter_map(|child| rustix::process::pidfd_open(child, PidfdFlags::empty()).ok()).collect()
}

/// A handle can be read from when its process has ended (`pidfd_open(2)`).
fn wait_until_gone(process: &OwnedFd) {
    let mut handles = [PollFd::new(process, PollFlags::IN)];
    // Nothing can be done about a process that the kernel does not let go.
    let _ = rustix::event::poll(&mut handles, Some(&LONGEST_END));
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn redirect(mut command: Command, tool: &Tool, log: &Path) -> Result<Command, ToolError> {
    let to_start = |error: fs::PathError| start_error(tool, "open the log of", io::Error::other(error));
    let file: File = fs::create(log).map_err(to_start)?;
    let copy = file.try_clone().map_err(|source| start_error(tool, "open the log of", source))?;
    let stdin = match tool.input() {
        // Nobody would feed a pipe while the caller goes on; a file does the same for a daemon.
        Stdin::Bytes(_) => {
            let source = io::Error::new(io::ErrorKind::Unsupported, "a launched tool takes no input bytes");
            return Err(start_error(tool, "start", source));
        }
        _ => prepare_stdin(tool)?.0,
    };
    command.stdin(stdin).stdout(Stdio::from(file)).stderr(Stdio::from(copy));
    Ok(command)
}

fn keep(mut child: Child, started: &mpsc::SyncSender<io::Result<Pid>>, ended: &mpsc::SyncSender<i32>) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let _ = started.send(pid.ok_or_else(|| io::Error::other("the child has no process id")));
    let status = child.wait().map_or(128 + 9, shell_status);
    let _ = ended.send(status);
}

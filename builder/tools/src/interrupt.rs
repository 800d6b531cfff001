//! Ending in good order when somebody says so: SIGINT, SIGTERM or SIGHUP.
//!
//! A thread waits for the signal. It ends the programs that run, removes every [`crate::scratch`] directory, says what happened and
//! ends the process; the other threads are not asked, so it takes no longer than that. A signal that was ignored when the program
//! was started (`nohup`, a background job) stays ignored.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, PidfdFlags, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::scratch;

/// The signal that ends this process; 0 while none came.
static ENDED_BY: AtomicI32 = AtomicI32::new(0);
/// Programs that run now, by process id.
static RUNNING: Mutex<BTreeMap<u32, OwnedFd>> = Mutex::new(BTreeMap::new());

/// From now on the three signals end this process in good order.
pub fn watch() -> io::Result<()> {
    let ignored = ignored_signals();
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(wanted)?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            end(signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

/// Keeps a thread that has an error to tell from telling it while a signal ends the process: the error is of that ending.
pub fn wait_if_ending() {
    while ENDED_BY.load(Ordering::SeqCst) != 0 {
        std::thread::park();
    }
}

fn end(signal: i32) -> ! {
    ENDED_BY.store(signal, Ordering::SeqCst);
    for process in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).values() {
        kill(process);
    }
    scratch::close();
    let name = match signal {
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        _ => "SIGHUP",
    };
    let text =
        format!("error: interrupted by {name}\nhint: nothing half done is left; run the same command again to go on\n");
    let _ = io::stderr().write_all(text.as_bytes());
    std::process::exit(128 + signal)
}

/// A program that ends with this process, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Watched(u32);

impl Watched {
    /// To be called before the child is waited for: until then its number is nobody else's.
    pub(crate) fn new(child: &Child) -> Self {
        let pid = Pid::from_child(child);
        if let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            if ENDED_BY.load(Ordering::SeqCst) != 0 {
                kill(&handle);
            }
            RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id(), handle);
        }
        Self(child.id())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// A sandbox's helper takes everything inside along.
fn kill(process: &OwnedFd) {
    // It may have ended by itself.
    let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
}

/// proc(5): `SigIgn` is a mask of the ignored signals, signal 1 in the lowest bit.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

//! The time in which a scenario has the build machine to itself, and its end.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Whether others may run beside the scenario that runs now.
static OVER: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
/// How soon it is noticed that nobody is left who could let others in.
const LOOK: Duration = Duration::from_millis(200);

/// Lets the others in: what is left of this scenario measures no time.
pub(crate) fn ends() {
    *OVER.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    OVER.1.notify_all();
}

/// Returns when those who run alone have let others in, or have ended.
pub fn wait_for_its_end<T>(alone: &JoinHandle<T>) {
    let mut over = OVER.0.lock().unwrap_or_else(PoisonError::into_inner);
    while !*over && !alone.is_finished() {
        over = OVER.1.wait_timeout(over, LOOK).unwrap_or_else(PoisonError::into_inner).0;
    }
}

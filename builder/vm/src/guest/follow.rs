//! Watching a machine: its console, its panics, its end.

use std::time::{Duration, Instant};

use anyhow::Result;
use tools::{Failure, ResultExt as _};

use super::{Console, Event, Seen, tail};
use crate::machine::{Machine, MachineError};

/// Time between two looks at the console.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long the other failing probes may take to be named after the first.
const GRACE: Duration = Duration::from_secs(2);
/// Firmware may restart once; a guest that restarts so often will never get further.
const RESTARTS: usize = 3;

/// Waits until the host is healthy or says that it is not; each event is handed to `say`.
///
/// A panic, an end, endless restarts and the end of the time are errors that show the end of the log.
pub fn until_settled(
    machine: &mut Machine,
    console: &mut Console,
    limit: Duration,
    say: &dyn Fn(&Event),
) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut settled: Option<Instant> = None;
    loop {
        // Asked before reading: what the guest wrote before its end is then in what is read.
        let ended = ended(machine, INTERVAL)?;
        let text = machine.serial().text().remedied()?;
        for event in console.read(&text) {
            seen.note(&event, machine.uptime());
            say(&event);
        }
        if seen.is_healthy() || settled.is_some_and(|since| since.elapsed() > GRACE) {
            return Ok(seen);
        }
        if seen.is_settled() {
            settled.get_or_insert_with(Instant::now);
        }
        if let Some(reason) = lost(machine, &seen, ended, limit) {
            return Err(Failure::refused(format!("{reason}; the console ends with{}", tail(&text)))
                .hint(hint(&seen))
                .into());
        }
    }
}

/// Waits at most this long for the end of the machine; its exit status if it has ended.
pub fn ended(machine: &mut Machine, limit: Duration) -> Result<Option<i32>> {
    match machine.wait_exit(limit) {
        Ok(status) => Ok(Some(status)),
        Err(MachineError::StillRunning(_)) => Ok(None),
        Err(error) => Err(error).remedied(),
    }
}

/// Why there is nothing more to wait for.
fn lost(machine: &Machine, seen: &Seen, ended: Option<i32>, limit: Duration) -> Option<String> {
    if let Some(line) = &seen.panic {
        return Some(format!("the kernel of the guest gave up: {line}"));
    }
    if machine.has_panicked() {
        return Some("the kernel of the guest gave up".to_owned());
    }
    let state = if seen.personalised.is_some() { "personalised but not healthy" } else { "not personalised" };
    if let Some(status) = ended {
        return Some(format!("the machine ended with status {status} while the host was {state}"));
    }
    if machine.reset_count() >= RESTARTS {
        return Some(format!("the host restarted {RESTARTS} times and is still {state}"));
    }
    (machine.uptime() > limit).then(|| format!("after {} s the host is {state}", limit.as_secs()))
}

fn hint(seen: &Seen) -> &'static str {
    if seen.personalised.is_some() {
        "see the probes of the overlays and the journal of the host"
    } else {
        "a line `casemate: waiting: REASON` above says what the host lacks; a document must be signed by a key that the image knows"
    }
}

//! What waits on the host for its relay.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use tools::{ResultExt as _, Tool};
use vm::Container;

/// What waits, one JSON object in a line.
pub(super) fn queue(container: &Container) -> Result<String> {
    Ok(container.exec(&Tool::new("postqueue").arg("-j")).remedied()?.stdout_text())
}

/// Waits until a message waits, and for this reason.
pub(super) fn wait_for_queue(container: &Container, reason: &str) -> Result<()> {
    let mut waiting = String::new();
    for _ in 0..100 {
        waiting = queue(container)?;
        if waiting.contains("\"deferred\"") && waiting.contains(reason) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(200));
    }
    bail!("no message waits because of `{reason}`: {waiting}")
}

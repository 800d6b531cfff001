//! Starts one prepared command, feeds and drains it without deadlock, and judges its end.
//!
//! Private: runners differ only in the command that they prepare.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::full_disk;
use crate::interrupt::Watched;
use crate::output::{Output, ToolError, tail};
use crate::runner::LineSink;
use crate::tool::{Stdin, Tool};

/// Standard error kept in memory, in bytes; a chatty tool does not fill the builder.
const STDERR_KEPT: usize = 1 << 20;

/// How often the disk of a tool is looked at, and how often in a row it must be full.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 6;

/// Why a program was killed.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    Time,
    FullDisk,
}

/// A raw end of a program: accepted or not, and whether the clock ended it.
pub(crate) struct Ended {
    pub(crate) output: Output,
    pub(crate) timed_out: bool,
    pub(crate) disk_full: bool,
}

/// Runs the command to its end.
pub(crate) fn complete(mut command: Command, tool: &Tool, sink: Option<&dyn LineSink>) -> Result<Ended, ToolError> {
    let (stdin, bytes) = prepare_stdin(tool)?;
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| start_error(tool, "start", source))?;
    let _watched = Watched::new(&child);
    let (input, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        scope.spawn(move || feed(input, bytes));
        let out = scope.spawn(move || drain(stdout, usize::MAX, sink));
        let err = scope.spawn(move || drain(stderr, STDERR_KEPT, sink));
        let (status, cut) = wait(&mut child, tool).map_err(|source| start_error(tool, "wait for", source))?;
        let output = Output {
            status: shell_status(status),
            stdout: out.join().unwrap_or_default(),
            stderr: err.join().unwrap_or_default(),
        };
        let disk_full = cut == Some(Cut::FullDisk) || failed_on_full_disk(tool, &output);
        Ok(Ended { output, timed_out: cut == Some(Cut::Time), disk_full })
    })
}

/// Not every program says why it could not write; whether there was room can be seen.
fn failed_on_full_disk(tool: &Tool, output: &Output) -> bool {
    !tool.accepts(output.status) && tool.watched_disk().is_some_and(full_disk::has_no_room)
}

/// Turns a raw end into the result of a runner.
pub(crate) fn judge(ended: Ended, tool: &Tool) -> Result<Output, ToolError> {
    let Ended { output, timed_out, disk_full } = ended;
    let (command, stderr_tail) = (tool.to_string(), tail(&output.stderr));
    if disk_full {
        return Err(ToolError::FullDisk { command, source: io::ErrorKind::StorageFull.into() });
    }
    match tool.time_limit() {
        Some(limit) if timed_out => Err(ToolError::TimedOut { command, limit, stderr_tail }),
        _ if tool.accepts(output.status) => Ok(output),
        _ => Err(ToolError::Failed { command, status: output.status, stderr_tail }),
    }
}

/// Opens what the tool reads; bytes are fed later by a thread.
pub(crate) fn prepare_stdin(tool: &Tool) -> Result<(Stdio, &[u8]), ToolError> {
    match tool.input() {
        Stdin::Empty => Ok((Stdio::null(), &[])),
        Stdin::Bytes(bytes) => Ok((Stdio::piped(), bytes)),
        Stdin::File(path) => {
            let file = File::open(path).map_err(|error| {
                let source = io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                start_error(tool, "open the input of", source)
            })?;
            Ok((file.into(), &[]))
        }
    }
}

/// Exit status as a shell shows it: 128 + n for signal n.
pub(crate) fn shell_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

pub(crate) fn start_error(tool: &Tool, action: &'static str, source: io::Error) -> ToolError {
    ToolError::Start { action, command: tool.to_string(), source }
}

/// A tool may stop reading early; that is its own affair, so a broken pipe is no error.
fn feed(input: Option<std::process::ChildStdin>, bytes: &[u8]) {
    if let Some(mut input) = input {
        let _ = input.write_all(bytes);
    }
}

/// Waits for the end; kills the child when its time is over or its disk full (a sandbox helper takes all of its sandbox along).
fn wait(child: &mut Child, tool: &Tool) -> io::Result<(ExitStatus, Option<Cut>)> {
    let (limit, disk) = (tool.time_limit(), tool.watched_disk());
    if limit.is_none() && disk.is_none() {
        return child.wait().map(|status| (status, None));
    }
    let (started, mut looked, mut full) = (Instant::now(), Instant::now(), 0);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, None));
        }
        if let Some(dir) = disk.filter(|_| looked.elapsed() >= LOOK) {
            looked = Instant::now();
            full = if full_disk::has_no_room(dir) { full + 1 } else { 0 };
        }
        let over = limit.is_some_and(|limit| started.elapsed() >= limit);
        if over || full >= LOOKS {
            child.kill()?;
            return child.wait().map(|status| (status, Some(if over { Cut::Time } else { Cut::FullDisk })));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Reads to the end, keeps the last `keep` bytes and hands on whole lines as they come.
fn drain(source: Option<impl Read>, keep: usize, sink: Option<&dyn LineSink>) -> Vec<u8> {
    let (mut kept, mut line, mut chunk) = (Vec::new(), Vec::new(), [0_u8; 16 * 1024]);
    let Some(mut source) = source else {
        return kept;
    };
    loop {
        let count = match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let bytes = chunk.get(..count).unwrap_or_default();
        kept.extend_from_slice(bytes);
        if kept.len() > keep.saturating_mul(2) {
            kept.drain(..kept.len() - keep);
        }
        if let Some(sink) = sink {
            split_lines(&mut line, bytes, sink);
        }
    }
    if let (Some(sink), false) = (sink, line.is_empty()) {
        sink.line(&String::from_utf8_lossy(&line));
    }
    let surplus = kept.len().saturating_sub(keep);
    kept.drain(..surplus);
    kept
}

fn split_lines(line: &mut Vec<u8>, bytes: &[u8], sink: &dyn LineSink) {
    for &byte in bytes {
        if byte == b'\n' {
            sink.line(&String::from_utf8_lossy(line));
            line.clear();
        } else {
            line.push(byte);
        }
    }
}

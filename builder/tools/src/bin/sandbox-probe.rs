//! A program for the tests of this crate: makes a sandbox from its arguments, and serves as what runs inside.
//!
//! `sandbox-probe run ROOT [OPTION...] -- PROGRAM ARG...` with the options `writable`, `host-network`,
//! `bind:SOURCE:TARGET`, `read-only:SOURCE:TARGET`; `sandbox-probe act WHAT` are the deeds inside.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitCode};
use std::time::Duration;

use tools::{Network, Runner, Sandbox, SandboxRunner, Tool, ToolError};

fn main() -> ExitCode {
    tools::enter_if_requested();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let status = match args.split_first() {
        Some((verb, rest)) if verb == "run" => run(rest),
        Some((verb, rest)) if verb == "join" => join(rest),
        Some((verb, rest)) if verb == "act" => act(rest),
        Some((verb, rest)) if verb == "mounts" => mounts(rest),
        _ => 2,
    };
    ExitCode::from(u8::try_from(status).unwrap_or(255))
}

/// Runs a tool in a sandbox, passing its standard input on.
fn run(args: &[String]) -> i32 {
    let mut words = args.iter();
    let mut sandbox = Sandbox::new(words.next().map_or("/", String::as_str));
    for option in words.by_ref().take_while(|word| *word != "--") {
        sandbox = apply(sandbox, option);
    }
    let program = words.next().map_or("/probe", String::as_str);
    let mut input = Vec::new();
    let tool = Tool::new(program).args(words).accept(&(0..=255).collect::<Vec<_>>());
    let _ = std::io::stdin().read_to_end(&mut input);
    match SandboxRunner::new(sandbox).run(&tool.stdin(input)) {
        Ok(output) => {
            let _ = std::io::stdout().write_all(&output.stdout);
            let _ = std::io::stderr().write_all(&output.stderr);
            output.status
        }
        Err(error) => {
            say(&format!("{}{error}", if matches!(error, ToolError::NotFound { .. }) { "NOT FOUND " } else { "" }));
            99
        }
    }
}

/// Runs a tool inside what process `LEADER` lives in: `join LEADER PROGRAM ARG...`.
fn join(args: &[String]) -> i32 {
    let [leader, program, rest @ ..] = args else {
        return 2;
    };
    let runner = tools::JoinRunner::new(leader.parse().unwrap_or(0));
    match runner.run(&Tool::new(program).args(rest)) {
        Ok(output) => verdict(std::io::stdout().write_all(&output.stdout)),
        Err(error) => say(&error.to_string()) + 99,
    }
}

fn apply(sandbox: Sandbox, option: &str) -> Sandbox {
    let words: Vec<&str> = option.split(':').collect();
    match words.as_slice() {
        ["writable"] => sandbox.writable(),
        ["host-network"] => sandbox.network(Network::Host),
        ["cgroup", directory] => sandbox.cgroup(*directory),
        ["bind", source, target] => sandbox.bind(*source, *target),
        ["read-only", source, target] => sandbox.bind_read_only(*source, *target),
        _ => sandbox,
    }
}

/// What the probe does inside; prints what it saw.
fn act(args: &[String]) -> i32 {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exit", status] => status.parse().unwrap_or(2),
        ["list", path] => list(path),
        ["write", path] => verdict(std::fs::write(path, "written")),
        ["cat"] => verdict(std::io::copy(&mut std::io::stdin(), &mut std::io::stdout())),
        ["pid"] => print_line(&std::process::id().to_string()),
        ["init"] => verdict_text(std::fs::read_to_string("/proc/1/cmdline")),
        ["hostname"] => verdict_text(std::fs::read_to_string("/proc/sys/kernel/hostname")),
        ["mounts"] => verdict_text(std::fs::read_to_string("/proc/self/mounts")),
        ["connect", address] => connect(address),
        ["abort"] => std::process::abort(),
        ["orphan", program] => orphan(program),
        ["beat", path] => beat(path),
        _ => 2,
    }
}

fn list(path: &str) -> i32 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 1;
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    print_line(&names.join(" "))
}

fn connect(address: &str) -> i32 {
    let Ok(address) = address.parse::<SocketAddr>() else {
        return 2;
    };
    match TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
        Ok(_) => print_line("connected"),
        Err(error) => print_line(&format!("{:?}", error.kind())) + 1,
    }
}

/// Leaves a child behind that would outlive its parent, once it is seen to live.
fn orphan(program: &str) -> i32 {
    let child = Command::new(program).args(["act", "beat", "/tmp/beat"]).spawn();
    while child.is_ok() && !std::path::Path::new("/tmp/beat").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    verdict(child)
}

/// Appends to a file for ever, so that a test sees whether it still lives.
fn beat(path: &str) -> i32 {
    loop {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        if file.and_then(|mut file| file.write_all(b".")).is_err() {
            return 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Mounts in a namespace of its own: `mounts DIRECTORY`, which holds `a`, `b`, `upper`, `work`, `target`.
fn mounts(args: &[String]) -> i32 {
    let Some(directory) = args.first().map(std::path::PathBuf::from) else {
        return 2;
    };
    let at = |name: &str| directory.join(name);
    let deeds = || -> Result<(), tools::PathError> {
        tools::namespace::enter_private_mounts()?;
        let (a, b) = (at("a"), at("b"));
        let overlay = tools::mount::overlay(&[&a, &b], &at("upper"), &at("work"), &at("target"))?;
        tools::fs::write(&overlay.path().join("new"), "new")?;
        list(&at("target").to_string_lossy());
        overlay.unmount()?;
        let stacked = tools::mount::overlay_read_only(&[&at("upper"), &a, &b], &at("target"))?;
        list(&at("target").to_string_lossy());
        let refused = tools::fs::write(&stacked.path().join("x"), "").is_err();
        print_line(if refused { "read-only" } else { "writable" });
        drop(stacked);
        list(&at("target").to_string_lossy());
        // Left mounted on purpose: the end of the process must take it away.
        std::mem::forget(tools::mount::tmpfs(&at("target"), 1, 0o755)?);
        tools::fs::write(&at("target").join("in memory"), "")
    };
    deeds().map_or_else(|error| say(&format!("{error}: {}", error.source)) + 1, |()| 0)
}

fn verdict<T>(result: std::io::Result<T>) -> i32 {
    result.map_or_else(|error| print_line(&format!("{:?}", error.kind())) + 1, |_| 0)
}

fn verdict_text(result: std::io::Result<String>) -> i32 {
    result.map_or(1, |text| print_line(text.replace('\0', " ").trim()))
}

fn print_line(text: &str) -> i32 {
    let _ = writeln!(std::io::stdout(), "{text}");
    0
}

fn say(text: &str) -> i32 {
    let _ = writeln!(std::io::stderr(), "{text}");
    0
}

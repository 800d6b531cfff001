//! Claims about the sandbox, proven with a tree that holds nothing but the probe and its libraries.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// A root with `/probe`, what the loader maps for it, and the usual empty directories.
fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in ["proc", "dev", "run", "tmp", "etc"] {
        std::fs::create_dir(root.path().join(name)).unwrap();
    }
    std::fs::copy(PROBE, root.path().join("probe")).unwrap();
    for library in libraries() {
        let target = root.path().join(library.strip_prefix("/").unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&library, target).unwrap();
    }
    root
}

/// The files of the test's own dynamic linking, by the names that the loader uses.
fn libraries() -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(PROBE).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn command(root: &Path, options: &[&str], words: &[&str]) -> Command {
    let mut command = Command::new(PROBE);
    command.arg("run").arg(root).args(options).arg("--").args(words).stdin(Stdio::null());
    command
}

fn run(root: &Path, options: &[&str], words: &[&str]) -> Output {
    command(root, options, words).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn act(root: &Path, options: &[&str], deed: &[&str]) -> Output {
    run(root, options, &[&["/probe", "act"], deed].concat())
}

#[test]
fn program_sees_only_the_tree() {
    let root = tree();
    std::fs::write(root.path().join("etc/mine"), "").unwrap();
    assert_eq!(text(&act(root.path(), &[], &["list", "/etc"])), "mine");
    let top = text(&act(root.path(), &[], &["list", "/"]));
    assert!(top.contains("probe") && !top.contains("root") && !top.contains("home"), "{top}");
    assert_eq!(text(&act(root.path(), &[], &["list", "/proc/1/root/etc"])), "mine");
    let dev = text(&act(root.path(), &[], &["list", "/dev"]));
    assert!(dev.contains("null") && dev.contains("ptmx") && !dev.contains("loop") && !dev.contains("vda"), "{dev}");
}

#[test]
fn exit_status_passes_exactly() {
    let root = tree();
    for status in [0, 1, 7, 125, 127, 255] {
        let output = act(root.path(), &[], &["exit", &status.to_string()]);
        assert_eq!(output.status.code(), Some(status));
    }
    assert_eq!(act(root.path(), &[], &["abort"]).status.code(), Some(128 + 6));
}

#[test]
fn read_only_tree_refuses_writing_and_writable_tree_takes_it() {
    let root = tree();
    let refused = act(root.path(), &[], &["write", "/etc/new"]);
    assert_eq!((refused.status.code(), text(&refused)), (Some(1), "ReadOnlyFilesystem".into()));
    assert!(act(root.path(), &["writable"], &["write", "/etc/new"]).status.success());
    assert_eq!(std::fs::read(root.path().join("etc/new")).unwrap(), b"written");
}

#[test]
fn run_and_tmp_are_private_memory() {
    let root = tree();
    assert!(act(root.path(), &[], &["write", "/tmp/x"]).status.success());
    assert!(act(root.path(), &["writable"], &["write", "/run/x"]).status.success());
    assert_eq!(std::fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(root.path().join("run")).unwrap().count(), 0);
}

#[test]
fn binds_show_host_directories_with_their_access() {
    let (root, host) = (tree(), tempfile::tempdir().unwrap());
    let source = host.path().to_str().unwrap();
    let (open, closed) = (format!("bind:{source}:/run/a/b"), format!("read-only:{source}:/tmp/c"));
    assert!(act(root.path(), &[&open], &["write", "/run/a/b/f"]).status.success());
    assert_eq!(std::fs::read(host.path().join("f")).unwrap(), b"written");
    assert_eq!(text(&act(root.path(), &[&closed], &["list", "/tmp/c"])), "f");
    assert_eq!(text(&act(root.path(), &[&closed], &["write", "/tmp/c/g"])), "ReadOnlyFilesystem");
}

#[test]
fn bind_through_a_symlink_of_the_tree_stays_in_the_tree() {
    let (root, host, outside) = (tree(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(outside.path(), root.path().join("trap")).unwrap();
    let bind = format!("bind:{}:/trap/inner", host.path().display());
    act(root.path(), &["writable", &bind], &["write", "/trap/inner/f"]);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "the host was written through a link");
}

#[test]
fn network_is_unreachable_unless_it_is_given() {
    let root = tree();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // `lo` is up inside: the answer is a refusal by the sandbox's own network, not "unreachable".
    assert_eq!(text(&act(root.path(), &[], &["connect", &address])), "ConnectionRefused");
    assert_eq!(text(&act(root.path(), &[], &["connect", "192.0.2.1:80"])), "NetworkUnreachable");
    assert_eq!(text(&act(root.path(), &["host-network"], &["connect", &address])), "connected");
}

#[test]
fn pid_one_is_our_init_and_the_host_name_is_fixed() {
    let root = tree();
    assert!(text(&act(root.path(), &[], &["init"])).contains("__sandbox-init"));
    assert_ne!(text(&act(root.path(), &[], &["pid"])), "1");
    assert_eq!(text(&act(root.path(), &[], &["hostname"])), "casemate");
}

#[test]
fn standard_input_reaches_the_program() {
    let root = tree();
    let mut child = command(root.path(), &[], &["/probe", "act", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"through the wall").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap()), "through the wall");
}

#[test]
fn missing_program_and_missing_tree_are_told_apart() {
    let root = tree();
    let missing = run(root.path(), &[], &["no-such-program"]);
    assert!(String::from_utf8_lossy(&missing.stderr).starts_with("NOT FOUND program `no-such-program`"));
    let no_tree = run(Path::new("/no/such/tree"), &[], &["x"]);
    let message = String::from_utf8_lossy(&no_tree.stderr).into_owned();
    assert!(message.contains("cannot take from the host `/no/such/tree`: No such file"), "{message}");
}

#[test]
fn sandbox_of_the_host_root_runs_host_programs_read_only() {
    let output = run(Path::new("/"), &[], &["/bin/sh", "-c", "touch /etc/x-probe 2>/dev/null || echo refused"]);
    assert_eq!(text(&output), "refused", "{}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until the file grows, or says that it never did.
fn grows(path: &Path, patience: Duration) -> bool {
    let length = || std::fs::metadata(path).map_or(0, |data| data.len());
    let (first, started) = (length(), Instant::now());
    while started.elapsed() < patience {
        if length() > first {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

#[test]
fn orphans_die_when_the_program_ends() {
    let (root, host) = (tree(), tempfile::tempdir().unwrap());
    let bind = format!("bind:{}:/tmp", host.path().display());
    let output = act(root.path(), &[&bind], &["orphan", "/probe"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(host.path().join("beat").exists());
    assert!(!grows(&host.path().join("beat"), Duration::from_millis(300)));
}

#[test]
fn everything_inside_dies_with_the_builder() {
    let (root, host) = (tree(), tempfile::tempdir().unwrap());
    let bind = format!("bind:{}:/tmp", host.path().display());
    let mut builder = command(root.path(), &[&bind], &["/probe", "act", "beat", "/tmp/beat"]).spawn().unwrap();
    assert!(grows(&host.path().join("beat"), Duration::from_secs(20)), "the program did not start");
    builder.kill().unwrap();
    builder.wait().unwrap();
    // Death is delivered by the kernel at once, but the last process needs a moment to be scheduled away.
    std::thread::sleep(Duration::from_millis(200));
    assert!(!grows(&host.path().join("beat"), Duration::from_millis(300)));
}

/// Its files and ports are free for the next one, and nothing more is written.
#[test]
fn a_killed_program_is_gone_when_kill_returns() {
    use tools::{Launcher as _, Sandbox, SandboxRunner, Tool};
    let (root, host) = (tree(), tempfile::tempdir().unwrap());
    let runner = SandboxRunner::new(Sandbox::new(root.path()).bind(host.path(), "/tmp")).with_helper(PROBE);
    for round in 0..20 {
        let beat = host.path().join(format!("beat-{round}"));
        let tool = Tool::new("/probe").args(["act", "beat", &format!("/tmp/beat-{round}")]);
        let mut running = runner.launch(&tool, &host.path().join("log")).unwrap();
        assert!(grows(&beat, Duration::from_secs(20)), "the program did not start");
        let inside = child_of(&running.id().to_string());
        let program = child_of(&inside);
        running.kill();
        for process in [&inside, &program] {
            let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // A process that has ended waits for its parent at most.
            assert!(state.is_empty() || state.contains(") Z "), "round {round}: {state}");
        }
    }
}

#[test]
fn mounts_of_the_sandbox_do_not_reach_the_host() {
    let (root, host) = (tree(), tempfile::tempdir().unwrap());
    let bind = format!("bind:{}:/tmp", host.path().display());
    let mut builder = command(root.path(), &[&bind], &["/probe", "act", "beat", "/tmp/beat"]).spawn().unwrap();
    assert!(grows(&host.path().join("beat"), Duration::from_secs(20)));
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    builder.kill().unwrap();
    builder.wait().unwrap();
    assert!(!mounts.contains(root.path().to_str().unwrap()), "{mounts}");
    assert_eq!(std::fs::read_dir(root.path().join("proc")).unwrap().count(), 0);
}

#[test]
fn overlays_stack_and_vanish_with_the_process() {
    let scratch = tempfile::Builder::new().prefix("odd:na,me=").tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    for name in ["a", "b", "upper", "work", "target"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::write(at("a/one"), "").unwrap();
    std::fs::write(at("b/two"), "").unwrap();
    let output = Command::new(PROBE).arg("mounts").arg(scratch.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text(&output), "new one two\nnew one two\nread-only");
    assert!(at("upper/new").exists() && !at("a/new").exists());
    assert_eq!(std::fs::read_dir(at("target")).unwrap().count(), 0);
}

/// The one child of a process.
fn child_of(process: &str) -> String {
    let path = format!("/proc/{process}/task/{process}/children");
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn joining_a_running_sandbox_sees_its_tree_and_passes_the_status() {
    let (root, host) = (tree(), tempfile::tempdir().unwrap());
    let bind = format!("bind:{}:/tmp", host.path().display());
    let mut builder = command(root.path(), &[&bind], &["/probe", "act", "beat", "/tmp/beat"]).spawn().unwrap();
    assert!(grows(&host.path().join("beat"), Duration::from_secs(20)));
    let init = child_of(&child_of(&builder.id().to_string()));
    let join = |words: &[&str]| Command::new(PROBE).arg("join").arg(&init).args(words).output().unwrap();
    let listed = join(&["/probe", "act", "list", "/tmp"]);
    let name = join(&["/probe", "act", "hostname"]);
    let missing = join(&["/bin/ls"]);
    builder.kill().unwrap();
    builder.wait().unwrap();
    assert_eq!((text(&listed), text(&name)), ("beat".into(), "casemate".into()));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("was not found"), "{missing:?}");
}

//! Builds that are killed, interrupted and find their cache damaged, in every stage: in the end the same image as undisturbed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use signal_hook::iterator::Signals;

use crate::bench::{Bench, ran};
use crate::cache_claims::{digest, newest_entry};
use crate::own_cache::hidden;

/// How long a build may take to end in good order.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a build is ended.
#[derive(Clone, Copy, PartialEq)]
enum Signal {
    Kill = 9,
    Interrupt = 2,
    Terminate = 15,
}

/// After this line of progress, so many milliseconds later; earlier where the stage that then runs is done sooner.
type Moment = (&'static str, u64, Signal);

/// In the order of a build; what one finished the next ones find in the cache.
const MOMENTS: [Moment; 10] = [
    // tools are unpacked
    ("lock ", 700, Signal::Kill),
    // the agent is compiled
    ("tools ", 3000, Signal::Kill),
    ("tools ", 4000, Signal::Terminate),
    // packages are unpacked, then configured
    ("fetch ", 1500, Signal::Kill),
    ("fetch ", 6000, Signal::Interrupt),
    // the overlays are laid
    ("rootfs ", 100, Signal::Kill),
    // sealed, and the initrd is made
    ("overlay ", 1500, Signal::Terminate),
    ("overlay ", 3000, Signal::Kill),
    // disk and bundle
    ("uki ", 100, Signal::Interrupt),
    ("disk ", 100, Signal::Kill),
];

/// What is done to one file of each stage's result.
const DAMAGES: [(&str, &str, Damage); 7] = [
    ("tools-", "root/usr/bin/mkfs.erofs", Damage::Removed),
    ("agent-", "casemate-agent", Damage::Changed),
    ("rootfs-", "root/usr/bin/env", Damage::SetId),
    ("overlay-", "upper/usr/lib/os-release", Damage::Truncated),
    ("seal-", "root.erofs", Damage::Changed),
    ("initrd-", "initrd.cpio.zst", Damage::Truncated),
    ("uki-", "cmdline", Damage::Changed),
];

#[derive(Clone, Copy)]
enum Damage {
    Changed,
    Truncated,
    Removed,
    SetId,
}

pub(crate) fn killed_and_damaged(bench: &Bench) -> Result<()> {
    let_children_hear_signals()?;
    let place = Place::new(bench)?;
    // Other claims built other images: now the entries of this one are the last used.
    bench.build(&bench.output(), &[])?;
    let sound = damage_all()?;
    for moment in MOMENTS {
        let started = Instant::now();
        place.end_at(bench, moment).with_context(|| format!("{} ms after `{}`", moment.1, moment.0))?;
        let (line, delay) = (moment.0.trim(), moment.1);
        let seconds = started.elapsed().as_secs_f64();
        writeln!(std::io::stderr(), "  ended {delay} ms after `{line}`, {seconds:.1} s")?;
    }
    let built = bench.build(&place.output, &[])?;
    ensure!(built["root_hash"] == bench.first["root_hash"], "another root hash: {}", built["root_hash"]);
    ensure!(ran(&built).contains_key("image"), "the image was not made: {:?}", ran(&built));
    for name in ["root.erofs", "root.verity", "initrd.cpio.zst", "cmdline", "linux", "lock.toml"] {
        ensure!(digest(&bench.output().join(name))? == digest(&place.output.join(name))?, "`{name}` differs");
    }
    for (path, digest_before, mode) in sound {
        let now = (digest(&path)?, fs::metadata(&path)?.permissions().mode());
        ensure!(now == (digest_before, mode), "`{}` is not what it was", path.display());
    }
    ensure!(place.left()?.is_empty(), "left: {:?}", place.left()?);
    Ok(fs::remove_dir_all(place.dir)?)
}

/// A test that runs under `nohup` or as a background job of a script was started with signals ignored, and so would be the builds.
///
/// A signal with a handler is what it usually is in a program that is started (execve(2)); here it does what it usually does too.
fn let_children_hear_signals() -> Result<()> {
    let mut signals = Signals::new([Signal::Interrupt as i32, Signal::Terminate as i32])?;
    thread::spawn(move || {
        for signal in signals.forever() {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
    Ok(())
}

/// Where the output goes, and where builds could leave something.
struct Place {
    dir: PathBuf,
    output: PathBuf,
    cache: PathBuf,
}

impl Place {
    fn new(bench: &Bench) -> Result<Self> {
        let dir = bench.dir().join("interrupted");
        fs::create_dir(&dir)?;
        Ok(Self { output: dir.join("image"), dir, cache: Bench::cache()? })
    }

    /// Ends a build at a moment and looks at what it left.
    fn end_at(&self, bench: &Bench, (line, delay, signal): Moment) -> Result<()> {
        let mut command = bench.command(&self.output, &["--progress", "plain"]);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let lines = lines_of(child.stderr.take().context("no standard error")?);
        let mut text = String::new();
        while !text.lines().last().is_some_and(|last| last.starts_with(line)) {
            text.push_str(&lines.recv().map_err(|_| anyhow::anyhow!("never said:\n{text}"))?);
        }
        let due = Instant::now() + Duration::from_millis(delay);
        while let Ok(told) = lines.recv_timeout(due.saturating_duration_since(Instant::now())) {
            text.push_str(&told);
            if ends_a_stage(&told) {
                break;
            }
        }
        send(signal, child.id())?;
        let sent = Instant::now();
        let status = child.wait()?;
        ensure!(!self.output.exists(), "there is an output");
        ensure!(mounts_below(&self.cache)?.is_empty(), "mounted: {:?}", mounts_below(&self.cache)?);
        if signal == Signal::Kill {
            ensure!(status.signal() == Some(9), "the build was not killed but ended with {status}");
            return Ok(());
        }
        ensure!(sent.elapsed() < PATIENCE, "it took {:?} to end", sent.elapsed());
        // What a compiler of this build still says is not waited for.
        while let Ok(told) = lines.recv_timeout(Duration::from_millis(500)) {
            text.push_str(&told);
        }
        let (code, name) = if signal == Signal::Interrupt { (130, "SIGINT") } else { (143, "SIGTERM") };
        ensure!(status.code() == Some(code), "ended with {status}, not {code}:\n{text}");
        ensure!(text.ends_with("run the same command again to go on\n"), "the end is not told last:\n{text}");
        ensure!(text.contains(&format!("error: interrupted by {name}\n")), "`{name}` is not told:\n{text}");
        ensure!(self.left()?.is_empty(), "left: {:?}", self.left()?);
        Ok(())
    }

    /// Directories of builds that did not finish.
    fn left(&self) -> Result<Vec<String>> {
        let mut left = hidden(&self.dir)?;
        left.extend(hidden(&self.cache)?);
        left.extend(hidden(&self.cache.join("stages"))?.into_iter().filter(|name| name != ".used"));
        Ok(left)
    }
}

fn send(signal: Signal, process: u32) -> Result<()> {
    let option = format!("-{}", signal as i32);
    ensure!(Command::new("kill").args([&option, &process.to_string()]).status()?.success(), "cannot send a signal");
    Ok(())
}

/// Whether a line of progress says that a stage is done: on a fast machine the build would be, before it is ended.
fn ends_a_stage(line: &str) -> bool {
    line.trim_end().ends_with(" cached") || line.contains(" done in ")
}

/// The lines that a build writes, as they come, with their ends.
fn lines_of(stream: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (told, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while matches!(reader.read_line(&mut line), Ok(1..)) && told.send(std::mem::take(&mut line)).is_ok() {}
    });
    lines
}

/// What this test sees mounted there: builds mount in a view of their own.
fn mounts_below(dir: &Path) -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let dir = format!(" {}/", dir.display());
    Ok(table.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect())
}

/// Damages each stage's result; returns the files with what they were.
fn damage_all() -> Result<Vec<(PathBuf, bundle::Sha256Digest, u32)>> {
    let stages = Bench::cache()?.join("stages");
    let mut sound = Vec::new();
    for (stage, file, damage) in DAMAGES {
        let path = newest_entry(&stages, stage)?.join(file);
        let mode = fs::metadata(&path)?.permissions().mode();
        sound.push((path.clone(), digest(&path)?, mode));
        match damage {
            Damage::Changed => {
                let mut bytes = fs::read(&path)?;
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&path, bytes)?;
            }
            Damage::Truncated => fs::OpenOptions::new().write(true).open(&path)?.set_len(10)?,
            Damage::Removed => fs::remove_file(&path)?,
            Damage::SetId => fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755))?,
        }
    }
    Ok(sound)
}

//! The disk is full, at each moment of a build: an error that names place and remedy, nothing half done, and later the right image.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use tools::mount::{Mount, tmpfs};

use crate::bench::{Bench, said};
use crate::cache_claims::newest_entry;
use crate::mirror::{Lie, Mirror};
use crate::own_cache::{OwnCache, hidden, refusal, says};

/// What is said wherever the kernel found the disk full.
const FULL: [&str; 3] =
    ["error: the disk is full", "`casemate cache prune --to SIZE`", "`--cache DIR` or `--output DIR`"];
const ROOMY: u64 = 4096;

pub(crate) fn at_each_moment(bench: &Bench) -> Result<()> {
    let scene = Scene::new(bench)?;
    scene.fetching(bench)?;
    scene.cache.share_packages()?;

    // The packages are unpacked into 40 MiB; the root that they would become is then taken from the shared cache.
    scene.cache_disk.leave(40)?;
    let error = scene.fails(&[&["cannot make the stage `rootfs` in `", &scene.stages()], &FULL], None)?;
    ensure!(!error.contains("overlay"), "the build went on:\n{error}");
    scene.cache_disk.leave(ROOMY)?;
    for stage in ["rootfs-", "initrd-"] {
        scene.cache.share_stage(&newest_entry(&Bench::cache()?.join("stages"), stage)?)?;
    }

    let cache = |room| (&scene.cache_disk, room);
    scene
        .fails(&[&["cannot make the stage `overlay` in `", &scene.stages()], &FULL], Some(("fetch done", cache(1))))?;
    scene.cache_disk.leave(ROOMY)?;
    scene.fails(&[&["cannot make the stage `seal` in `", &scene.stages()], &FULL], Some(("overlay ", cache(20))))?;
    scene.cache_disk.leave(ROOMY)?;

    // It is known before the first byte how large the output will be.
    scene.output_disk.leave(16)?;
    let place = scene.output_disk.dir.display().to_string();
    scene.fails(&[&[&place, "is full: the output needs ", "16 MiB are free", "`--output DIR`"]], None)?;
    scene.output_disk.leave(ROOMY)?;
    // Somebody else fills the disk meanwhile.
    let output = |room| (&scene.output_disk, room);
    scene.fails(&[&[&place], &FULL], Some(("uki ", output(8))))?;
    scene.output_disk.leave(ROOMY)?;
    scene.fails(&[&[&place], &FULL], Some(("disk done", output(8))))?;
    scene.output_disk.leave(ROOMY)?;

    let built = said(scene.command(), "build")?;
    ensure!(built["root_hash"] == bench.first["root_hash"], "another root hash than on a roomy disk");
    Ok(())
}

/// A cache and an output on small disks of their own.
struct Scene {
    cache: OwnCache,
    cache_disk: Disk,
    output_disk: Disk,
    image: PathBuf,
    lock: PathBuf,
}

impl Scene {
    fn new(bench: &Bench) -> Result<Self> {
        let (cache_disk, output_disk) = (Disk::new(bench, "small-cache")?, Disk::new(bench, "small-output")?);
        let cache = OwnCache::new(cache_disk.dir.clone())?;
        for stage in ["tools-", "agent-"] {
            cache.share_stage(&newest_entry(&Bench::cache()?.join("stages"), stage)?)?;
        }
        let (image, lock) = (bench.repo().join("images/minimal"), bench.output().join("lock.toml"));
        Ok(Self { cache, cache_disk, output_disk, image, lock })
    }

    fn stages(&self) -> String {
        self.cache.dir.join("stages").display().to_string()
    }

    fn output(&self) -> PathBuf {
        self.output_disk.dir.join("image")
    }

    fn command(&self) -> Command {
        let mut command = self.cache.casemate();
        command.arg("build").arg(&self.image).arg("--output").arg(self.output()).arg("--locked").arg(&self.lock);
        command.args(["--json", "--explain"]);
        command
    }

    /// No room for the packages: first from the start, then while they come.
    fn fetching(&self, bench: &Bench) -> Result<()> {
        let mirror = Mirror::start(&Bench::cache()?, &bench.output().join("lock.toml"))?;
        let fetch = |what: &str| {
            let mut command = self.command();
            refusal(mirror.serve(&mut command), 2, what)
        };
        self.cache_disk.leave(8)?;
        let error = fetch("no room for packages")?;
        says(&error, &["the disk of `", "files of ", " MiB are to be fetched, ", " MiB are free"], "no room")?;
        says(&error, &FULL, "no room for packages")?;
        self.is_clean()?;
        self.cache_disk.leave(ROOMY)?;
        let filler = self.cache.dir.join("filler");
        mirror.lie("/pool/main/o/openssh/openssh-server_", Lie::FillDisk(filler.clone()))?;
        self.cache_disk.leave(300)?;
        let error = fetch("a disk that fills up")?;
        says(&error, &["packages/partial/"], "a disk that fills up")?;
        says(&error, &FULL, "a disk that fills up")?;
        fs::remove_file(filler)?;
        fs::remove_dir_all(self.cache.dir.join("packages"))?;
        self.is_clean()
    }

    /// A build that must fail and say all this; when it prints a line, a disk shrinks to so many free MiB.
    fn fails(&self, parts: &[&[&str]], shrink: Option<(&str, (&Disk, u64))>) -> Result<String> {
        let mut command = self.command();
        let mut child = command.arg("--offline").stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("no standard error")?);
        let mut text = String::new();
        if let Some((line, (disk, room))) = shrink {
            while !text.lines().last().is_some_and(|last| last.starts_with(line)) {
                if lines.read_line(&mut text)? == 0 {
                    bail!("`{line}` was never said:\n{text}");
                }
            }
            disk.leave(room)?;
        }
        lines.read_to_string(&mut text)?;
        let status = child.wait()?;
        ensure!(status.code() == Some(2), "the build ended with {status}:\n{text}");
        parts.iter().try_for_each(|parts| says(&text, parts, "a full disk"))?;
        self.is_clean()?;
        Ok(text)
    }

    fn is_clean(&self) -> Result<()> {
        ensure!(!self.output().exists(), "there is an output");
        ensure!(hidden(&self.output_disk.dir)?.is_empty(), "left: {:?}", hidden(&self.output_disk.dir)?);
        ensure!(self.cache.unfinished()?.is_empty(), "left: {:?}", self.cache.unfinished()?);
        Ok(())
    }
}

/// A file system in memory whose size can be changed.
struct Disk {
    dir: PathBuf,
    _mount: Mount,
}

impl Disk {
    fn new(bench: &Bench, name: &str) -> Result<Self> {
        let dir = bench.dir().join(name);
        fs::create_dir(&dir)?;
        let mount = tmpfs(&dir, ROOMY, 0o755)?;
        Ok(Self { dir, _mount: mount })
    }

    /// Makes it as large as what is on it and so many MiB.
    fn leave(&self, mebibytes: u64) -> Result<()> {
        // Whoever writes meanwhile may be faster.
        for _ in 0..20 {
            let size = used_kib(&self.dir)? + mebibytes * 1024;
            let options = format!("remount,size={size}k");
            if Command::new("mount").args(["-o", &options]).arg(&self.dir).stderr(Stdio::null()).status()?.success() {
                return Ok(());
            }
        }
        bail!("cannot change the size of `{}`", self.dir.display())
    }
}

fn used_kib(dir: &Path) -> Result<u64> {
    let output = Command::new("df").args(["--output=used", "-k"]).arg(dir).output()?;
    let text = String::from_utf8(output.stdout)?;
    text.lines().nth(1).and_then(|line| line.trim().parse().ok()).context("`df` says nothing of the disk")
}

//! What is done again, and what is not.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::bench::{Bench, ran};

/// A file of an overlay that no other file depends on.
const OVERLAY_FILE: &str = "overlays/ssh/overlay.toml";

pub(crate) fn nothing_changed(bench: &Bench) -> Result<()> {
    let before = fs::metadata(bench.output().join("disk.raw"))?.modified()?;
    let again = bench.build(&bench.output(), &[])?;
    ensure!(ran(&again).is_empty(), "stages ran: {}", again["explanation"]);
    ensure!(again["root_hash"] == bench.first["root_hash"], "another root hash");
    ensure!(fs::metadata(bench.output().join("disk.raw"))?.modified()? == before, "the disk image was written again");

    // Its twin: an output that somebody wrote to is made again, from the same stages.
    fs::write(bench.output().join("cmdline"), "changed")?;
    let mended = bench.build(&bench.output(), &[])?;
    let stages: Vec<String> = ran(&mended).into_keys().collect();
    ensure!(stages == ["image"], "other stages ran: {stages:?}");
    let line = fs::read_to_string(bench.output().join("cmdline"))?;
    ensure!(line.starts_with("roothash="), "the changed file was kept: {line}");
    Ok(())
}

pub(crate) fn one_overlay_file(bench: &Bench) -> Result<()> {
    // Each run changes it to something else: the cache remembers what an earlier run changed.
    let file = bench.repo().join(OVERLAY_FILE);
    let text = fs::read_to_string(&file)?;
    fs::write(&file, format!("{text}\n# one line more, in {}\n", bench.dir().display()))?;
    let built = bench.build(&bench.output(), &[])?;
    let ran = ran(&built);
    let stages: Vec<&str> = ran.keys().map(String::as_str).collect();
    ensure!(stages == ["image", "overlay", "seal", "uki"], "other stages ran: {stages:?}");
    ensure!(ran["overlay"] == [OVERLAY_FILE], "the changed input is not named: {:?}", ran["overlay"]);
    ensure!(built["root_hash"] != bench.first["root_hash"], "the change is not in the root");

    fs::write(&file, text)?;
    let back = bench.build(&bench.output(), &[])?;
    ensure!(back["root_hash"] == bench.first["root_hash"], "the old definition gives another root hash");
    let stages: Vec<String> = crate::bench::ran(&back).into_keys().collect();
    ensure!(stages == ["image"], "what the cache holds was made again: {stages:?}");
    Ok(())
}

pub(crate) fn changed_entry(bench: &Bench) -> Result<()> {
    let entry = newest_entry(&Bench::cache()?.join("stages"), "seal-")?;
    let hash = fs::read_to_string(entry.join("root-hash"))?;
    ensure!(bench.first["root_hash"] == hash.as_str(), "the newest seal is not the one of this image");
    flip_byte(&entry.join("root.erofs"), 1 << 20)?;
    let output = bench.dir().join("repaired");
    let built = bench.build(&output, &[])?;
    ensure!(ran(&built).contains_key("seal"), "the changed entry was used");
    ensure!(built["root_hash"] == bench.first["root_hash"], "another root hash");
    let sound = digest(&bench.output().join("root.erofs"))? == digest(&output.join("root.erofs"))?;
    ensure!(sound, "the damaged bytes are in the output");
    Ok(fs::remove_dir_all(output)?)
}

pub(crate) fn killed(bench: &Bench) -> Result<()> {
    let file = bench.repo().join(OVERLAY_FILE);
    let text = fs::read_to_string(&file)?;
    fs::write(&file, format!("{text}\n# for a build that is killed, in {}\n", bench.dir().display()))?;
    let output = bench.dir().join("killed");
    let mut child =
        bench.command(&output, &["--progress", "plain"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let lines = BufReader::new(child.stderr.take().context("no standard error")?).lines();
    for line in lines {
        // The file system is being made now.
        if line?.starts_with("overlay done") {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    ensure!(!output.exists(), "a killed build left an output");
    let built = bench.build(&output, &[])?;
    ensure!(!ran(&built).contains_key("overlay"), "the finished overlay was made again: {:?}", ran(&built));
    ensure!(ran(&built).contains_key("seal"), "half a seal was taken for a whole one");
    fs::write(&file, text)?;
    Ok(fs::remove_dir_all(output)?)
}

/// The entry of a stage that was used last.
pub(crate) fn newest_entry(stages: &Path, prefix: &str) -> Result<PathBuf> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(stages.join(".used"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            entries.push((entry.metadata()?.modified()?, stages.join(entry.file_name())));
        }
    }
    entries.sort();
    entries.pop().map(|(_, path)| path).with_context(|| format!("no `{prefix}` entry in the cache"))
}

fn flip_byte(path: &Path, offset: u64) -> Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file.write_all(&[byte[0] ^ 1])?)
}

/// SHA-256 of a file.
pub(crate) fn digest(path: &Path) -> Result<bundle::Sha256Digest> {
    Ok(bundle::Sha256Digest::of(&fs::read(path)?))
}

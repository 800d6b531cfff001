//! Changes to a disk that somebody made behind the host's back: one bit, at a place that matters.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::{ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

use crate::artifacts::{Artifacts, Image};

/// First byte of slot A on the disk: 1 MiB and the ESP of 512 MiB (docs/formats/first-boot.md).
const SLOT_A: u64 = 513 << 20;

/// A change that can be taken back.
pub(crate) struct Flip {
    disk: PathBuf,
    offset: u64,
}

impl Flip {
    pub(crate) fn undo(self) -> Result<()> {
        flip(&self.disk, self.offset)
    }
}

/// Flips one bit in the first stored block of `file` in slot A.
pub(crate) fn flip_in_file(artifacts: &Artifacts, image: Image, disk: &Path, file: &str) -> Result<Flip> {
    let root = artifacts.image(image).join("root.erofs");
    let tool = Tool::new("dump.erofs").args(["-e", &format!("--path={file}"), "/run/root.erofs"]);
    let sandbox = Sandbox::new(artifacts.run_tree()).bind_read_only(&root, "/run/root.erofs");
    let shown = SandboxRunner::new(sandbox).run(&tool).remedied()?.stdout_text();
    let offset = first_extent(&shown).with_context(|| format!("`{file}` has no extent of its own:\n{shown}"))?;
    flip(disk, SLOT_A + offset)?;
    Ok(Flip { disk: disk.to_owned(), offset: SLOT_A + offset })
}

/// `dump.erofs -e` ends with lines ` Ext: logical offset | length : physical offset | length`.
fn first_extent(shown: &str) -> Option<u64> {
    let line = shown.lines().find(|line| line.trim_start().starts_with("0:"))?;
    let physical = line.split(':').nth(2)?;
    physical.split("..").next()?.trim().parse().ok()
}

/// Flips one bit in the middle of the signed kernel image on the ESP.
pub(crate) fn flip_in_uki(disk: &Path) -> Result<Flip> {
    // The command line stands once on the ESP, as a section of the signed image.
    const WORDS: &[u8] = b"systemd.verity_root_options=panic-on-corruption";
    let mut file = fs::File::open(disk)?;
    let mut esp = Vec::new();
    std::io::Read::take(&mut file, SLOT_A).read_to_end(&mut esp)?;
    let at = esp.windows(WORDS.len()).position(|window| window == WORDS).context("no kernel image on the ESP")?;
    flip(disk, at as u64)?;
    Ok(Flip { disk: disk.to_owned(), offset: at as u64 })
}

fn flip(disk: &Path, offset: u64) -> Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(disk)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))?;
    ensure!(file.read(&mut byte)? == 1, "the disk ends before byte {offset}");
    byte[0] ^= 1;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&byte)?;
    Ok(file.sync_all()?)
}

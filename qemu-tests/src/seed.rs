//! Volumes with files on them, made and read with the programs that people use for it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use tools::{ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

use crate::artifacts::Artifacts;

/// Where the folder of the volume lies for the programs.
const INSIDE: &str = "/run/volume";
/// The label that a host looks for (docs/formats/host-toml.md).
const LABEL: &str = "CASEMATE";
/// Size of the volume in KiB.
const KIB: &str = "2048";

/// Makes a seed volume in `dir`: a FAT file system with these files at its top.
pub(crate) fn volume(artifacts: &Artifacts, dir: &Path, files: &[(&str, &[u8])]) -> Result<PathBuf> {
    let folder = dir.join("seed");
    fs::create_dir_all(&folder)?;
    let image = format!("{INSIDE}/seed.img");
    run(artifacts, &folder, &Tool::new("mkfs.vfat").args(["-n", LABEL, "-C", &image, KIB]))?;
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes)?;
        run(artifacts, &folder, &Tool::new("mcopy").args(["-i", &image, &format!("{INSIDE}/{name}"), "::"]))?;
    }
    Ok(folder.join("seed.img"))
}

/// Reads a file on the EFI system partition of a disk.
pub(crate) fn read_from_esp(artifacts: &Artifacts, disk: &Path, name: &str) -> Result<Vec<u8>> {
    let folder = disk.parent().context("the disk has no folder")?;
    let file = disk.file_name().context("the disk has no name")?.to_string_lossy();
    let (offset, _) = vm::guest::esp(disk)?;
    let tool = Tool::new("mtype").args(["-i", &format!("{INSIDE}/{file}@@{offset}"), &format!("::{name}")]);
    Ok(run(artifacts, folder, &tool)?.stdout)
}

fn run(artifacts: &Artifacts, folder: &Path, tool: &Tool) -> Result<tools::Output> {
    let sandbox = Sandbox::new(artifacts.build_tree()).bind(folder, INSIDE);
    SandboxRunner::new(sandbox).run(&tool.clone().env("MTOOLS_SKIP_CHECK", "1")).remedied()
}

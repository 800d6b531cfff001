//! `mkfs.vfat` (dosfstools) and mtools: the EFI system partition, in place inside a disk image or device.

use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use tools::Tool;

use super::{ToolsTree, Workplace};

/// Where a FAT file system lies inside an image or device.
#[derive(Debug, Clone, Copy)]
pub struct Extent<'a> {
    /// The image or device.
    pub disk: &'a Path,
    /// First byte; a multiple of 512.
    pub offset: u64,
    /// Size in bytes; a multiple of 1024.
    pub size: u64,
}

impl Extent<'_> {
    /// An image is sparse, so its disk may be full before it is written. A device has its room.
    fn watched(&self, tool: Tool) -> Tool {
        match self.disk.parent() {
            Some(dir) if self.disk.is_file() => tool.killed_when_full(dir),
            _ => tool,
        }
    }
}

const DISK: &str = "/run/disk";

/// Makes an empty FAT32 file system; the volume id is taken from the time, so equal builds are equal.
pub fn make_file_system(tools: &ToolsTree, place: Extent<'_>, epoch: u64) -> Result<()> {
    let tool = Tool::new("mkfs.vfat")
        .args(["--invariant", "-F", "32", "-S", "512", "-s", "8", "-n", "ESP"])
        .args(["-i", &format!("{:08x}", epoch & 0xffff_ffff), "--offset", &(place.offset / 512).to_string()])
        .args([DISK, &(place.size / 1024).to_string()])
        .source_date_epoch(epoch);
    tools.run(&place.watched(tool), &[Workplace::Output(place.disk, DISK)])?;
    Ok(())
}

/// Copies the tree at `source` into the file system, making directories, replacing files, in sorted order; every time in it is `epoch`.
pub fn copy_in(tools: &ToolsTree, place: Extent<'_>, source: &Path, epoch: u64) -> Result<()> {
    for child in sorted_children(source)? {
        let tool = on(place, "mcopy", epoch).args(["-s", "-o", "-Q"]).arg(format!("/run/source/{child}")).arg("::/");
        tools.run(
            &place.watched(tool),
            &[Workplace::Output(place.disk, DISK), Workplace::Input(source, "/run/source")],
        )?;
    }
    Ok(())
}

/// Reads one file of the file system; `None` if it has no such file.
pub fn read_file(tools: &ToolsTree, place: Extent<'_>, name: &str) -> Result<Option<Vec<u8>>> {
    let tool = on(place, "mtype", 0).arg(format!("::{name}")).accept(&[0, 1]);
    let output = tools.run(&tool, &[Workplace::Input(place.disk, DISK)])?;
    Ok((output.status == 0).then_some(output.stdout))
}

/// Copies everything in the file system to the directory `target`.
pub fn copy_out(tools: &ToolsTree, place: Extent<'_>, target: &Path) -> Result<()> {
    let tool = on(place, "mcopy", 0).args(["-s", "-n", "-Q", "::*", "/run/target/"]);
    tools.run(&tool, &[Workplace::Input(place.disk, DISK), Workplace::Output(target, "/run/target")])?;
    Ok(())
}

fn on(place: Extent<'_>, program: &str, epoch: u64) -> Tool {
    // The check compares the file system with the geometry of a floppy.
    Tool::new(program)
        .env("MTOOLS_SKIP_CHECK", "1")
        .args(["-i", &format!("{DISK}@@{}", place.offset)])
        .source_date_epoch(epoch)
}

fn sorted_children(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for child in fs::read_dir(dir)? {
        names.push(child?.file_name().into_string().ok().context("a name for the ESP is not UTF-8")?);
    }
    names.sort();
    Ok(names)
}

//! The EFI system partition of an image or device: found in the partition table, read and written with mtools.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use formats::guid::Guid;
use fs_err as fs;
use tools::Failure;

use crate::partition_table;
use crate::programs::ToolsTree;
use crate::programs::mtools::{self, Extent};

/// An EFI system partition on a disk image or device.
#[derive(Debug, Clone)]
pub struct Esp {
    disk: PathBuf,
    offset: u64,
    size: u64,
}

/// A file of the EFI system partition and what it holds.
#[derive(Debug, Clone)]
pub struct EspFile<'a> {
    /// Path from the root of the file system, with `/`.
    pub name: &'a str,
    /// The content.
    pub bytes: &'a [u8],
}

impl Esp {
    /// Finds the partition on `disk`.
    pub fn find(disk: &Path) -> Result<Self> {
        let mut file = fs::File::open(disk)?;
        let size = std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
        let table =
            partition_table::read(&mut file, size).with_context(|| format!("cannot read `{}`", disk.display()))?.table;
        let Some(partition) = table.partitions().iter().find(|partition| partition.type_guid == Guid::ESP) else {
            return Err(Failure::refused(format!("`{}` has no EFI system partition", disk.display()))
                .hint("name a disk or disk image that `casemate build` or `casemate flash` wrote")
                .into());
        };
        let (offset, size) = table.extent(partition);
        Ok(Self { disk: disk.to_owned(), offset, size })
    }

    /// Writes files, replacing those of the same name.
    pub fn write(&self, tools: &ToolsTree, files: &[EspFile<'_>], epoch: u64) -> Result<()> {
        let staging = tempfile::tempdir()?;
        for file in files {
            let path = staging.path().join(file.name);
            fs::create_dir_all(path.parent().unwrap_or(staging.path()))?;
            fs::write(&path, file.bytes)?;
        }
        mtools::copy_in(tools, self.extent(), staging.path(), epoch)
    }

    /// Reads one file, if it is there.
    pub fn read(&self, tools: &ToolsTree, name: &str) -> Result<Option<Vec<u8>>> {
        mtools::read_file(tools, self.extent(), name)
    }

    /// Copies all files to the directory `target`.
    pub fn copy_out(&self, tools: &ToolsTree, target: &Path) -> Result<()> {
        mtools::copy_out(tools, self.extent(), target)
    }

    fn extent(&self) -> Extent<'_> {
        Extent { disk: &self.disk, offset: self.offset, size: self.size }
    }
}

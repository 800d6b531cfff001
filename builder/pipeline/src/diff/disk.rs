//! The disk: its partitions as the table has them, and the files of the EFI system partition.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use formats::gpt::{Partition, Table};
use fs_err as fs;

use super::change::{PartChange, differing};
use crate::esp::Esp;
use crate::partition_table;
use crate::programs::ToolsTree;
use crate::root_tree::RootTree;

/// The tables, partition by partition.
pub(super) fn compare_tables(before: &Path, after: &Path) -> Result<Vec<PartChange>> {
    let (old, new) = (read(before)?, read(after)?);
    let rows = |table: &Table| -> BTreeMap<String, String> {
        let numbered = table.partitions().iter().zip(1..);
        let mut rows: BTreeMap<String, String> =
            numbered.map(|(partition, number)| (format!("partition {number}"), describe(table, partition))).collect();
        rows.insert("identity of the disk".to_owned(), table.disk_guid().to_string());
        rows.insert("size".to_owned(), table.disk_bytes().to_string());
        rows
    };
    let (old, new) = (rows(&old), rows(&new));
    let rows = differing(&old, &new).into_iter();
    Ok(rows.map(|(name, old, new)| PartChange::of_texts("disk", name, old.cloned(), new.cloned())).collect())
}

fn describe(table: &Table, partition: &Partition) -> String {
    let (offset, size) = table.extent(partition);
    format!(
        "{} {} type {} at {offset} with {size} bytes {}",
        partition.name, partition.part_guid, partition.type_guid, partition.attributes
    )
}

fn read(disk: &Path) -> Result<Table> {
    let mut file = fs::File::open(disk)?;
    let size = file.metadata()?.len();
    let parsed = partition_table::read(&mut file, size).with_context(|| format!("cannot read `{}`", disk.display()))?;
    Ok(parsed.table)
}

/// The files of both EFI system partitions.
pub(super) fn compare_esps(before: &Path, after: &Path, tools: &ToolsTree, scratch: &Path) -> Result<Vec<PartChange>> {
    let old = files(before, tools, &scratch.join("esp-before"))?;
    let new = files(after, tools, &scratch.join("esp-after"))?;
    Ok(PartChange::of_contents("esp", &old, &new, |bytes| bytes.len() as u64))
}

fn files(disk: &Path, tools: &ToolsTree, target: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    fs::create_dir(target)?;
    Esp::find(disk)?.copy_out(tools, target)?;
    let entries = RootTree::new(target.to_owned()).walk()?.into_iter().filter(|entry| entry.metadata.is_file());
    entries.map(|entry| Ok((entry.name.trim_start_matches('/').to_owned(), fs::read(&entry.path)?))).collect()
}

//! A disk: its partition table and the state of both copies.

use std::io::{Read, Seek};

use anyhow::Result;
use formats::gpt::Copies;
use formats::guid::Guid;
use serde_json::{Value, json};

use crate::partition_table;

/// Describes a disk of `size` bytes.
pub(super) fn describe(file: &mut (impl Read + Seek), size: u64) -> Result<Value> {
    let parsed = partition_table::read(file, size)?;
    let table = parsed.table;
    let rows: Vec<Value> = table
        .partitions()
        .iter()
        .zip(1..)
        .map(|(partition, number)| {
            let (offset, size) = table.extent(partition);
            json!({
                "number": number, "label": partition.name.as_str(), "type": type_name(partition.type_guid),
                "type_guid": partition.type_guid, "guid": partition.part_guid, "offset": offset, "size": size,
                "attributes": partition.attributes.to_string(),
            })
        })
        .collect();
    Ok(json!({
        "kind": "disk", "size": size, "table_for_size": table.disk_bytes(), "disk_guid": table.disk_guid(),
        "sector_size": table.sector_size().bytes(), "table": copies_text(&parsed.copies), "partitions": rows,
    }))
}

fn copies_text(copies: &Copies) -> String {
    match copies {
        Copies::BothGood => "both copies are good".to_owned(),
        Copies::Differ => "both copies are whole but differ: a change was interrupted, the first one counts".to_owned(),
        Copies::PrimaryOnly { backup } => {
            format!("only the copy at the start is good; at the end {backup}")
        }
        Copies::BackupOnly { primary } => {
            format!("only the copy at the end is good; at the start {primary}")
        }
    }
}

/// The name of a partition type; an unknown one has only its number.
fn type_name(guid: Guid) -> &'static str {
    match guid {
        Guid::ESP => "esp",
        Guid::ROOT_X86_64 => "root-x86-64",
        Guid::ROOT_VERITY_X86_64 => "root-x86-64-verity",
        Guid::VAR => "var",
        Guid::LINUX_GENERIC => "linux-generic",
        _ => "other",
    }
}

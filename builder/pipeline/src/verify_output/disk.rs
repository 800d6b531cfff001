//! The disk: its table, and that slot A and the ESP hold the same bytes as the parts.

use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bundle::PartName;
use formats::blocks::first_difference;
use formats::gpt::{Attributes, Copies, Partition, Table};
use formats::guid::Guid;
use formats::loader;
use fs_err as fs;

use super::Output;
use super::problems::Problems;
use crate::esp::Esp;
use crate::flash::fill;
use crate::partition_table;
use crate::programs::ToolsTree;

pub(super) fn check(output: &Output<'_>, tools: Option<&ToolsTree>, problems: &mut Problems) {
    let Some(disk) = output.manifest.disk.as_ref().map(|part| output.dir.join(part.file.as_str())) else {
        return;
    };
    let Some(table) = problems.note("disk", read_table(&disk, problems_of_copies)) else {
        return;
    };
    let (table, copies) = table;
    if let Some(what) = copies {
        problems.add("disk", &what);
    }
    check_table(output, &table, problems);
    for (part, type_guid) in [(PartName::Root, Guid::ROOT_X86_64), (PartName::Verity, Guid::ROOT_VERITY_X86_64)] {
        let partition = table.partitions().iter().find(|partition| partition.type_guid == type_guid);
        if let (Some(partition), Some(path)) = (partition, output.part(part)) {
            let place = format!("disk, partition `{}`", partition.name);
            problems.note(&place, compare(&disk, table.extent(partition), &path));
        }
    }
    if let Some(tools) = tools {
        problems.note("disk, partition `esp`", check_esp(output, tools, &disk));
    }
}

fn read_table<T>(disk: &Path, judge: impl FnOnce(&Copies) -> T) -> Result<(Table, T)> {
    let mut file = fs::File::open(disk)?;
    let size = file.metadata()?.len();
    let parsed = partition_table::read(&mut file, size)?;
    if parsed.table.disk_bytes() != size {
        bail!("its partition table is for {} bytes, it has {size}", parsed.table.disk_bytes());
    }
    let judged = judge(&parsed.copies);
    Ok((parsed.table, judged))
}

fn problems_of_copies(copies: &Copies) -> Option<String> {
    match copies {
        Copies::BothGood => None,
        Copies::Differ => Some("the two copies of its partition table differ".to_owned()),
        Copies::PrimaryOnly { backup } => Some(format!("the partition table at its end is damaged: {backup}")),
        Copies::BackupOnly { primary } => Some(format!("the partition table at its start is damaged: {primary}")),
    }
}

/// ESP, root A and verity A, with the names and identities that follow from image, version and root hash.
fn check_table(output: &Output<'_>, table: &Table, problems: &mut Problems) {
    let (root, verity) = output.root_hash.partition_guids();
    let label = output.label();
    let expected = [
        (Guid::ESP, None, "esp".to_owned(), false),
        (Guid::ROOT_X86_64, Some(root), label.clone(), true),
        (Guid::ROOT_VERITY_X86_64, Some(verity), format!("{label}_verity"), true),
    ];
    if table.partitions().len() != expected.len() {
        problems.add("disk", &format!("it has {} partitions, expected {}", table.partitions().len(), expected.len()));
    }
    for (partition, (type_guid, guid, name, read_only)) in table.partitions().iter().zip(expected) {
        let place = format!("disk, partition `{name}`");
        let mut compare = |what: &str, found: String, expected: String| {
            if found != expected {
                problems.add(&place, &format!("its {what} is `{found}`, expected `{expected}`"));
            }
        };
        compare("label", partition.name.to_string(), name.clone());
        compare("type", partition.type_guid.to_string(), type_guid.to_string());
        if let Some(guid) = guid {
            compare("PARTUUID", partition.part_guid.to_string(), guid.to_string());
        }
        if read_only && !is_read_only(partition) {
            problems.add(&place, "it is not marked read-only");
        }
    }
}

fn is_read_only(partition: &Partition) -> bool {
    partition.attributes.contains(Attributes::READ_ONLY)
}

/// Compares the start of a partition with a part; what lies behind it must be zeros.
fn compare(disk: &Path, (offset, size): (u64, u64), part: &Path) -> Result<()> {
    const BLOCK: usize = 1 << 20;
    let mut file = fs::File::open(disk)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut there = file.take(size);
    let wanted = fs::File::open(part)?;
    if wanted.metadata()?.len() > size {
        bail!("`{}` is larger than the partition", part.display());
    }
    let mut wanted = BufReader::new(wanted).chain(std::io::repeat(0));
    let (mut left, mut right) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut at = 0;
    loop {
        let filled = fill(&mut there, &mut left)?;
        if filled == 0 {
            break;
        }
        wanted.read_exact(&mut right[..filled])?;
        if let Some(first) = first_difference(&left[..filled], &right[..filled]) {
            bail!("it differs from `{}` at byte {}", part.display(), at + first as u64);
        }
        at += filled as u64;
    }
    if at == size { Ok(()) } else { bail!("the disk ends inside it") }
}

/// The kernel image that the machine will start, and the boot loader, are the signed parts.
fn check_esp(output: &Output<'_>, tools: &ToolsTree, disk: &Path) -> Result<()> {
    let esp = Esp::find(disk)?;
    let kernel_image = format!("EFI/Linux/{}.efi", output.label());
    let loaders = loader::PLACES.map(|name| (PartName::Loader, name));
    for (part, name) in loaders.into_iter().chain([(PartName::Uki, kernel_image.as_str())]) {
        let Some(path) = output.part(part) else { continue };
        let there = esp.read(tools, name)?.with_context(|| format!("it has no `{name}`"))?;
        if there != fs::read(path)? {
            bail!("its `{name}` differs from the part `{part}`");
        }
    }
    Ok(())
}

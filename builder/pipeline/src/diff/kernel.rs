//! The kernel image by its sections, the initrd by its members, the command line by its words.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use formats::cpio::{self, Content};
use formats::pe::Pe;
use fs_err as fs;

use super::change::PartChange;

/// Most bytes that an initrd may unpack to; ours have about 30 MiB.
const LARGEST_INITRD: u64 = 1 << 30;

/// Sections of two kernel images; what lies outside of them are headers and the signature.
pub(super) fn compare_uki(before: &Path, after: &Path) -> Result<Vec<PartChange>> {
    let (old, new) = (fs::read(before)?, fs::read(after)?);
    if old == new {
        return Ok(Vec::new());
    }
    let (old_pe, new_pe) = (Pe::parse(&old)?, Pe::parse(&new)?);
    let mut changes =
        PartChange::of_contents("uki", &sections(&old_pe), &sections(&new_pe), |bytes| bytes.len() as u64);
    if changes.is_empty() {
        let size = |pe: &Pe<'_>| Some(u64::from(pe.signature_size));
        changes.push(PartChange::of_sizes("uki", "headers and signature", size(&old_pe), size(&new_pe)));
    }
    Ok(changes)
}

fn sections<'a>(pe: &Pe<'a>) -> BTreeMap<String, &'a [u8]> {
    pe.sections.iter().map(|section| (section.name.clone(), pe.content(&section.name).unwrap_or_default())).collect()
}

/// Members of two initrds.
pub(super) fn compare_initrd(before: &Path, after: &Path) -> Result<Vec<PartChange>> {
    let (old, new) = (fs::read(before)?, fs::read(after)?);
    if old == new {
        return Ok(Vec::new());
    }
    let packed = (Some(old.len() as u64), Some(new.len() as u64));
    let (old, new) = (unpack(&old, before)?, unpack(&new, after)?);
    let (old, new) = (cpio::parse(&old)?, cpio::parse(&new)?);
    let size = |member: &Member<'_>| match member.content {
        Content::File(bytes) => bytes.len() as u64,
        _ => 0,
    };
    let mut changes = PartChange::of_contents("initrd", &members(&old), &members(&new), size);
    if changes.is_empty() {
        changes.push(PartChange::of_sizes("initrd", "only how it is compressed", packed.0, packed.1));
    }
    Ok(changes)
}

fn unpack(bytes: &[u8], path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut unpacked = Vec::new();
    let decoder = zstd::Decoder::new(bytes)?;
    decoder
        .take(LARGEST_INITRD)
        .read_to_end(&mut unpacked)
        .with_context(|| format!("cannot unpack `{}`", path.display()))?;
    Ok(unpacked)
}

/// All of a member but its name.
#[derive(PartialEq)]
struct Member<'a> {
    permissions: u32,
    owner: (u32, u32),
    content: Content<'a>,
}

fn members<'a>(entries: &[cpio::Entry<'a>]) -> BTreeMap<String, Member<'a>> {
    let member = |entry: &cpio::Entry<'a>| Member {
        permissions: entry.permissions,
        owner: (entry.uid, entry.gid),
        content: entry.content,
    };
    entries.iter().map(|entry| (entry.path.to_string(), member(entry))).collect()
}

/// Words of two command lines; a word may stand there more than once.
pub(super) fn compare_command_lines(before: &Path, after: &Path) -> Result<Vec<PartChange>> {
    let (old, new) = (fs::read_to_string(before)?, fs::read_to_string(after)?);
    let (old_words, new_words) = (words(&old), words(&new));
    let mut changes = PartChange::of_contents("command line", &old_words, &new_words, |_| 0);
    for change in &mut changes {
        (change.before_size, change.after_size) = (None, None);
    }
    if changes.is_empty() && old != new {
        changes.push(PartChange::of_texts("command line", "order of its words", Some(old), Some(new)));
    }
    Ok(changes)
}

fn words(line: &str) -> BTreeMap<String, usize> {
    let mut words = BTreeMap::new();
    for word in line.split_whitespace() {
        *words.entry(word.to_owned()).or_default() += 1;
    }
    words
}

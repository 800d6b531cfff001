//! What firmware, boot loader and kernel would start from a disk and an ESP: a model that knows nothing of the code it
//! judges but the formats.

use std::fs;
use std::path::Path;

use formats::boot_entry::BootEntry;
use formats::gpt;
use formats::guid::Guid;
use formats::uki::Uki;
use formats::verity;
use formats::verity::RootHash;
use formats::verity::Superblock;

use super::bench::SECTOR;

/// The version that starts, and all of whose blocks are right; or why nothing would.
pub(super) fn starts(disk: &Path, esp: &Path) -> Result<String, String> {
    let images = esp.join("EFI/Linux");
    let first = first_entry(&images)?;
    let image = fs::read(images.join(first.to_string())).map_err(|error| format!("{first}: {error}"))?;
    let uki = Uki::parse(&image).map_err(|error| format!("{first}: {error}"))?;
    let root_hash = uki.command_line.value("roothash").ok_or("no root hash")?;
    let root_hash: RootHash = root_hash.parse().map_err(|error| format!("{error}"))?;
    check_slot(&fs::read(disk).unwrap(), &root_hash).map_err(|error| format!("{first}: {error}"))?;
    Ok(uki.os_release.get("IMAGE_VERSION").unwrap_or_default().to_owned())
}

/// Whether a command line with this root hash, of a kernel image that somebody has kept, leads to a whole slot or to
/// none.
pub(super) fn leads_to_a_whole_slot_or_none(disk: &Path, root_hash: &RootHash) -> Result<(), String> {
    check_slot(&fs::read(disk).unwrap(), root_hash)
        .or_else(|error| if error.starts_with("no partition") { Ok(()) } else { Err(error) })
}

/// Does what the boot loader does before it starts the first entry: it counts.
pub(super) fn count_start(esp: &Path) -> String {
    let images = esp.join("EFI/Linux");
    let first = first_entry(&images).unwrap();
    let tries = first.tries.map(|tries| tries.started().unwrap_or(tries));
    let counted = BootEntry { tries, ..first.clone() };
    fs::rename(images.join(first.to_string()), images.join(counted.to_string())).unwrap();
    counted.to_string()
}

/// Does what `systemd-bless-boot` does.
pub(super) fn bless(esp: &Path) {
    let images = esp.join("EFI/Linux");
    let first = first_entry(&images).unwrap();
    let good = BootEntry { tries: None, ..first.clone() };
    fs::rename(images.join(first.to_string()), images.join(good.to_string())).unwrap();
}

/// The loader looks at files with one ending, in any case; all of them must be ours.
fn first_entry(images: &Path) -> Result<BootEntry, String> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(images).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.to_lowercase().ends_with(".efi") {
            entries.push(name.parse::<BootEntry>().map_err(|error| error.to_string())?);
        }
    }
    entries.into_iter().min_by(BootEntry::start_order).ok_or_else(|| "no entry".to_owned())
}

/// Finds both partitions by identity and type, in the primary table or else in the backup, and checks every block.
fn check_slot(disk: &[u8], root_hash: &RootHash) -> Result<(), String> {
    let sectors = disk.len() as u64 / SECTOR.bytes();
    let tail = disk.len() - usize::try_from(SECTOR.tail_bytes()).unwrap();
    let table = gpt::parse(SECTOR, sectors, disk, &disk[tail..]).map_err(|error| error.to_string())?.table;
    let find = |type_guid: Guid, part_guid: Guid| {
        let mut all = table.partitions().iter();
        let found = all.find(|part| part.type_guid == type_guid && part.part_guid == part_guid);
        let (offset, length) = table.extent(found.ok_or(format!("no partition {part_guid}"))?);
        let (start, end) = (usize::try_from(offset).unwrap(), usize::try_from(offset + length).unwrap());
        Ok::<_, String>(&disk[start..end])
    };
    let (data_guid, hash_guid) = root_hash.partition_guids();
    let data = find(Guid::ROOT_X86_64, data_guid)?;
    let hash = find(Guid::ROOT_VERITY_X86_64, hash_guid)?;
    let superblock = Superblock::parse(hash).map_err(|error| error.to_string())?;
    let size = superblock.data_size().ok_or("size")?;
    let tree = usize::try_from(superblock.hash_image_size().ok_or("size")?).unwrap();
    verity::verify(&mut &*data, size, &hash[..tree], root_hash).map_err(|error| error.to_string())
}

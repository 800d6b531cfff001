//! An asset that is a tar archive, plain or compressed; the compression is seen in its first bytes.

use std::io::{BufReader, Read, Seek};

use anyhow::{Result, bail};
use debian::decode;
use debian::tar::{Kind, TarReader};

use super::laying::Laying;

/// First bytes and the suffix by which [`decode`] knows the compression.
const COMPRESSIONS: [(&[u8], &str); 3] =
    [(b"\x1f\x8b", "asset.tar.gz"), (b"\xfd7zXZ\0", "asset.tar.xz"), (b"\x28\xb5\x2f\xfd", "asset.tar.zst")];

/// Unpacks a file of `size` bytes.
pub(super) fn unpack<F: Read + Seek>(mut file: F, size: u64, laying: &mut Laying<'_>) -> Result<()> {
    let mut first = Vec::new();
    file.by_ref().take(6).read_to_end(&mut first)?;
    file.rewind()?;
    let member = COMPRESSIONS.iter().find(|(magic, _)| first.starts_with(magic)).map_or("asset.tar", |(_, name)| name);
    let mut tar = TarReader::new(decode::open(member, size, BufReader::new(file))?).with_global_comments();
    while let Some(entry) = tar.next_entry()? {
        let Some(path) = laying.place(&format!("./{}", entry.path.as_str()))? else { continue };
        if !entry.xattrs.is_empty() {
            bail!("refused `{path}`: it has extended attributes, which an asset does not need");
        }
        if entry.kind != Kind::Directory && entry.mode & 0o6000 != 0 {
            bail!("refused `{path}`: it is set-id");
        }
        match entry.kind {
            Kind::Directory => laying.directory(&path)?,
            Kind::File => laying.file(&path, entry.mode & 0o111 != 0, entry.size, &mut tar.content())?,
            Kind::Symlink(target) => laying.link(&path, &target)?,
            Kind::HardLink(_) => bail!("refused `{path}`: a hard link; make the archive with `--hard-dereference`"),
            Kind::CharDevice(..) | Kind::BlockDevice(..) | Kind::Fifo => bail!("refused `{path}`: a device or pipe"),
        }
    }
    Ok(())
}

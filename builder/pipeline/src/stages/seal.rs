//! Sealing: the finished tree becomes one read-only file system with a hash tree, and a root hash that stands for all of it.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use formats::guid::Guid;
use formats::verity::{self, RootHash, Salt};
use fs_err as fs;
use sha2::{Digest as _, Sha256};

use crate::programs::ToolsTree;
use crate::programs::mkfs_erofs::{self, Compression};

/// The sealed root.
#[derive(Debug)]
pub struct SealedRoot {
    /// The file system.
    pub root: PathBuf,
    /// Its hash tree.
    pub verity: PathBuf,
    /// The root hash.
    pub root_hash: RootHash,
}

/// Makes `root.erofs` and `root.verity` in `output` from the tree at `tree`.
///
/// `identity` is what the file system's UUID and the salt are derived from: equal input, equal bytes.
pub fn seal(
    tools: &ToolsTree,
    tree: &Path,
    output: &Path,
    identity: &str,
    epoch: u64,
    compression: Compression,
) -> Result<SealedRoot> {
    let root = output.join("root.erofs");
    mkfs_erofs::make(tools, tree, &root, Guid::derived_from(&format!("{identity} erofs")), epoch, compression)?;
    let size = pad_to_block(&root)?;
    let salt = Salt::new(&Sha256::digest(format!("{identity} salt")))?;
    let mut data = BufReader::with_capacity(1 << 20, fs::File::open(&root)?);
    let tree = verity::build(&mut data, size, &salt, Guid::derived_from(&format!("{identity} verity")))?;
    let verity_path = output.join("root.verity");
    fs::write(&verity_path, &tree.hash_image)?;
    Ok(SealedRoot { root, verity: verity_path, root_hash: tree.root_hash })
}

/// Checks what was written by reading all of it back: the file system against its hash tree and the root hash.
pub fn verify(sealed: &SealedRoot) -> Result<()> {
    let size = fs::metadata(&sealed.root)?.len();
    let mut data = BufReader::with_capacity(1 << 20, fs::File::open(&sealed.root)?);
    Ok(verity::verify(&mut data, size, &fs::read(&sealed.verity)?, &sealed.root_hash)?)
}

fn pad_to_block(path: &Path) -> Result<u64> {
    let size = fs::metadata(path)?.len();
    if size == 0 {
        bail!("`{}` is empty", path.display());
    }
    let padded = size.next_multiple_of(verity::BLOCK_SIZE as u64);
    fs::OpenOptions::new().write(true).open(path)?.set_len(padded)?;
    Ok(padded)
}

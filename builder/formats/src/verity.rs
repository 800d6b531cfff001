//! dm-verity hash trees: built, written and checked as `veritysetup` does with a separate hash device.
//!
//! Format: dm-verity superblock version 1, hash type 1, SHA-256, 4096-byte data and hash blocks (kernel documentation,
//! "dm-verity" and cryptsetup's on-disk format). The digest of a block is SHA-256 over salt and block. Digests are packed 128 to a hash
//! block; levels are stored from the top down, behind one block with the superblock. Data is read once, in chunks, and hashed on
//! all cores; the result does not depend on their number. Nothing here opens a device, and no salt is chosen here.

mod hashing;
mod root_hash;
mod superblock;

use std::io::Read;

use hashing::{DIGEST_SIZE, hash_blocks, hash_stream};
pub use root_hash::RootHash;
pub use superblock::{Salt, Superblock};

use crate::blocks::first_difference;
use crate::guid::Guid;

/// Bytes of a data block and of a hash block.
pub const BLOCK_SIZE: usize = 4096;

/// A finished hash tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerityTree {
    /// The digest that stands for all data; goes to the kernel command line.
    pub root_hash: RootHash,
    /// The content of the hash partition: superblock and all levels, a multiple of 4096 bytes.
    pub hash_image: Vec<u8>,
}

/// Why a tree could not be built or does not match.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    /// The data has no blocks or a part of one.
    #[error(
        "data size is {size} bytes, expected a positive multiple of 4096: pad the file system image to whole blocks"
    )]
    DataSize {
        /// The size given, in bytes.
        size: u64,
    },
    /// The reader failed or ended early.
    #[error("cannot read data block {block} of {blocks}: check that the image has the stated size")]
    Read {
        /// Number of the block, from 0.
        block: u64,
        /// Number of blocks stated.
        blocks: u64,
        /// What the reader said.
        #[source]
        source: std::io::Error,
    },
    /// The salt is longer than the superblock can hold.
    #[error("salt has {length} bytes, expected at most 256")]
    SaltLength {
        /// Length in bytes.
        length: usize,
    },
    /// The superblock is not one that this code (and the image) uses.
    #[error(
        "verity superblock: `{field}` is {got}, expected {expected}: this is not a hash partition made by this builder"
    )]
    Superblock {
        /// Name of the field.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// Data size and superblock disagree.
    #[error("data has {got} blocks, the superblock says {expected}: data and hash tree are not of the same build")]
    BlockCount {
        /// Blocks named by the superblock.
        expected: u64,
        /// Blocks of the data.
        got: u64,
    },
    /// A data block differs from what the tree says.
    #[error("data block {block} does not match the hash tree: the data is damaged, write it again from the bundle")]
    DataMismatch {
        /// Number of the first such block, from 0.
        block: u64,
    },
    /// The hash image differs from what the data gives.
    #[error("hash tree differs at byte {offset}: the hash partition is damaged, write it again from the bundle")]
    HashMismatch {
        /// First differing byte of the hash image.
        offset: usize,
    },
    /// Data and tree agree with each other but not with the root hash.
    #[error("root hash is {got}, expected {expected}: data and hash tree belong to another build than the root hash")]
    RootHashMismatch {
        /// The root hash asked for.
        expected: RootHash,
        /// The root hash computed.
        got: RootHash,
    },
}

/// Builds the hash tree of `data_size` bytes from `data`.
///
/// `uuid` is stored in the superblock. The hash image equals what `veritysetup format --salt=… --uuid=…` writes.
pub fn build(data: &mut impl Read, data_size: u64, salt: &Salt, uuid: Guid) -> Result<VerityTree, VerityError> {
    let blocks = count_blocks(data_size)?;
    let leaves = hash_stream(data, blocks, salt)?;
    let superblock = Superblock { uuid, data_blocks: blocks, salt: salt.clone() };
    Ok(assemble(&superblock, leaves))
}

/// Checks that `data`, `hash_image` and `root_hash` belong together, reading all data once.
///
/// `hash_image` is exactly the tree ([`Superblock::hash_image_size`]), without what else a partition holds behind it. The error names
/// the first damaged data block if the tree itself is sound.
pub fn verify(
    data: &mut impl Read,
    data_size: u64,
    hash_image: &[u8],
    root_hash: &RootHash,
) -> Result<(), VerityError> {
    let superblock = Superblock::parse(hash_image)?;
    let blocks = count_blocks(data_size)?;
    if superblock.data_blocks != blocks {
        return Err(VerityError::BlockCount { expected: superblock.data_blocks, got: blocks });
    }
    let leaves = hash_stream(data, blocks, &superblock.salt)?;
    let tree = assemble(&superblock, leaves);
    if tree.root_hash != *root_hash {
        return Err(blame(&superblock, &tree, hash_image, root_hash));
    }
    match first_difference(&tree.hash_image, hash_image) {
        None => Ok(()),
        Some(offset) => Err(VerityError::HashMismatch { offset }),
    }
}

/// Finds what to report when the computed root hash is wrong: a data block, the hash image or the root hash itself.
fn blame(superblock: &Superblock, tree: &VerityTree, hash_image: &[u8], expected: &RootHash) -> VerityError {
    let Some(offset) = first_difference(&tree.hash_image, hash_image) else {
        return VerityError::RootHashMismatch { expected: *expected, got: tree.root_hash };
    };
    if reduce(&superblock.salt, stored_leaves(superblock, hash_image)).0 != *expected {
        return VerityError::HashMismatch { offset };
    }
    // The stored leaves lead to the wanted root, so they are right and the data is not.
    let stored = stored_leaves(superblock, hash_image);
    let computed = stored_leaves(superblock, &tree.hash_image);
    match first_difference(&computed, &stored) {
        Some(position) => VerityError::DataMismatch { block: (position / DIGEST_SIZE) as u64 },
        None => VerityError::HashMismatch { offset },
    }
}

/// Returns the number of 4096-byte blocks of `data_size` bytes.
fn count_blocks(data_size: u64) -> Result<u64, VerityError> {
    let block = BLOCK_SIZE as u64;
    if data_size == 0 || !data_size.is_multiple_of(block) {
        return Err(VerityError::DataSize { size: data_size });
    }
    Ok(data_size / block)
}

/// Puts superblock and levels together.
fn assemble(superblock: &Superblock, leaves: Vec<u8>) -> VerityTree {
    let (root_hash, levels) = reduce(&superblock.salt, leaves);
    let mut hash_image = superblock.to_block();
    for level in levels.iter().rev() {
        hash_image.extend_from_slice(level);
    }
    VerityTree { root_hash, hash_image }
}

/// Hashes digests level by level until one is left; returns it and the padded levels from the bottom up.
fn reduce(salt: &Salt, mut digests: Vec<u8>) -> (RootHash, Vec<Vec<u8>>) {
    let mut levels = Vec::new();
    while digests.len() > DIGEST_SIZE {
        digests.resize(digests.len().next_multiple_of(BLOCK_SIZE), 0);
        let upper = hash_blocks(&digests, salt);
        levels.push(std::mem::replace(&mut digests, upper));
    }
    let mut root = [0; DIGEST_SIZE];
    for (target, byte) in root.iter_mut().zip(digests) {
        *target = byte;
    }
    (RootHash::from_bytes(root), levels)
}

/// Returns the leaf digests as stored at the end of a hash image; as many as are there.
fn stored_leaves(superblock: &Superblock, hash_image: &[u8]) -> Vec<u8> {
    let wanted = usize::try_from(superblock.data_blocks).unwrap_or(usize::MAX).saturating_mul(DIGEST_SIZE);
    let start = hash_image.len().saturating_sub(wanted.next_multiple_of(BLOCK_SIZE));
    let end = start.saturating_add(wanted).min(hash_image.len());
    hash_image.get(start..end).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests;

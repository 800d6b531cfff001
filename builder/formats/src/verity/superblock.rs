//! The verity superblock: the first block of a hash partition.
//!
//! Only the one shape that the image uses is read or written (version 1, hash type 1, SHA-256, 4096-byte blocks); everything
//! else is refused with the field's name.

use crate::guid::Guid;
use crate::little_endian::{array_at, u16_at, u32_at, u64_at};

use super::{BLOCK_SIZE, VerityError};

const MAGIC: &[u8; 8] = b"verity\0\0";
const VERSION: u32 = 1;
/// Hash type 1 is the normal one: salt before data, digests packed without gaps.
const HASH_TYPE: u32 = 1;
const ALGORITHM: &[u8; 32] = b"sha256\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const SALT_OFFSET: usize = 88;
const MAX_SALT: usize = 256;
const DIGESTS_PER_BLOCK: u64 = 128;

/// Bytes hashed before each block; at most 256, may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salt(Vec<u8>);

impl Salt {
    /// Makes a salt, or refuses one that the superblock cannot hold.
    pub fn new(bytes: &[u8]) -> Result<Self, VerityError> {
        if bytes.len() > MAX_SALT {
            return Err(VerityError::SaltLength { length: bytes.len() });
        }
        Ok(Self(bytes.to_vec()))
    }

    /// Returns the salt's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a hash partition says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Identifier of the tree.
    pub uuid: Guid,
    /// Number of 4096-byte data blocks.
    pub data_blocks: u64,
    /// Salt of every digest.
    pub salt: Salt,
}

impl Superblock {
    /// Reads the superblock at the start of a hash partition.
    pub fn parse(hash_image: &[u8]) -> Result<Self, VerityError> {
        let block = hash_image.get(..BLOCK_SIZE).ok_or_else(|| wrong("length", &BLOCK_SIZE, &hash_image.len()))?;
        if !block.starts_with(MAGIC) {
            return Err(wrong("signature", &"`verity`", &format!("`{}`", block[..8].escape_ascii())));
        }
        for (field, offset, expected) in [
            ("version", 8, VERSION),
            ("hash type", 12, HASH_TYPE),
            ("data block size", 64, 4096),
            ("hash block size", 68, 4096),
        ] {
            let got = u32_at(block, offset).unwrap_or_default();
            if got != expected {
                return Err(wrong(field, &expected, &got));
            }
        }
        if block[32..64] != ALGORITHM[..] {
            return Err(wrong("algorithm", &"`sha256`", &format!("`{}`", block[32..64].escape_ascii())));
        }
        Self::parse_values(block)
    }

    /// Reads the fields that differ from image to image.
    fn parse_values(block: &[u8]) -> Result<Self, VerityError> {
        let length = usize::from(u16_at(block, 80).unwrap_or_default());
        let salt = block.get(SALT_OFFSET..SALT_OFFSET + length).unwrap_or_default();
        if length > MAX_SALT {
            return Err(wrong("salt size", &"at most 256", &length));
        }
        let data_blocks = u64_at(block, 72).unwrap_or_default();
        if data_blocks == 0 {
            return Err(wrong("data blocks", &"at least 1", &0));
        }
        let uuid = Guid::from_bytes(array_at(block, 16).unwrap_or_default());
        Ok(Self { uuid, data_blocks, salt: Salt::new(salt)? })
    }

    /// Returns how many bytes of the data partition the tree covers; `None` past 2^64.
    pub fn data_size(&self) -> Option<u64> {
        self.data_blocks.checked_mul(BLOCK_SIZE as u64)
    }

    /// Returns how many bytes of the hash partition are superblock and tree; the rest is unused. `None` past 2^64.
    pub fn hash_image_size(&self) -> Option<u64> {
        let mut blocks = 1_u64;
        let mut level = self.data_blocks;
        while level > 1 {
            level = level.div_ceil(DIGESTS_PER_BLOCK);
            blocks = blocks.checked_add(level)?;
        }
        blocks.checked_mul(BLOCK_SIZE as u64)
    }

    /// Returns the superblock as one whole block.
    pub(super) fn to_block(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK_SIZE);
        block.extend_from_slice(MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&HASH_TYPE.to_le_bytes());
        block.extend_from_slice(&self.uuid.to_bytes());
        block.extend_from_slice(ALGORITHM);
        block.extend_from_slice(&4096_u32.to_le_bytes());
        block.extend_from_slice(&4096_u32.to_le_bytes());
        block.extend_from_slice(&self.data_blocks.to_le_bytes());
        // `Salt` holds at most 256 bytes, so the length fits.
        block.extend_from_slice(&u16::try_from(self.salt.0.len()).unwrap_or(u16::MAX).to_le_bytes());
        block.resize(SALT_OFFSET, 0);
        block.extend_from_slice(&self.salt.0);
        block.resize(BLOCK_SIZE, 0);
        block
    }
}

/// Makes the error for one field.
fn wrong(field: &'static str, expected: &dyn ToString, got: &dyn ToString) -> VerityError {
    VerityError::Superblock { field, expected: expected.to_string(), got: got.to_string() }
}

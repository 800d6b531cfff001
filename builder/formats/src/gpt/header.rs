//! The 92-byte header of one copy of the table.
//!
//! Holds the fields as stored; whether they make sense for a disk is decided by the reader of the whole copy.

use crate::guid::Guid;
use crate::little_endian::{array_at, u32_at, u64_at};

use super::crc::crc32;
use super::reading::CopyError;
use super::{ENTRY_COUNT, ENTRY_SIZE};

const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER_SIZE: u32 = 92;
const CRC_OFFSET: usize = 16;

/// The fields of a header that differ from table to table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) my_lba: u64,
    pub(super) alternate_lba: u64,
    pub(super) first_usable_lba: u64,
    pub(super) last_usable_lba: u64,
    pub(super) disk_guid: Guid,
    pub(super) entries_lba: u64,
    pub(super) entries_crc: u32,
}

impl Header {
    /// Returns the stored form without padding to a sector.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_SIZE as usize);
        bytes.extend_from_slice(SIGNATURE);
        bytes.extend_from_slice(&REVISION.to_le_bytes());
        bytes.extend_from_slice(&HEADER_SIZE.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        for lba in [self.my_lba, self.alternate_lba, self.first_usable_lba, self.last_usable_lba] {
            bytes.extend_from_slice(&lba.to_le_bytes());
        }
        bytes.extend_from_slice(&self.disk_guid.to_gpt_bytes());
        bytes.extend_from_slice(&self.entries_lba.to_le_bytes());
        bytes.extend_from_slice(&ENTRY_COUNT.to_le_bytes());
        bytes.extend_from_slice(&ENTRY_SIZE.to_le_bytes());
        bytes.extend_from_slice(&self.entries_crc.to_le_bytes());
        let crc = crc32(&bytes);
        bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads and checks the stored form at the start of `sector`.
    pub(super) fn parse(sector: &[u8]) -> Result<Self, CopyError> {
        let bytes: [u8; HEADER_SIZE as usize] = array_at(sector, 0).ok_or(CopyError::Missing)?;
        if !bytes.starts_with(SIGNATURE) {
            return Err(wrong("signature", &"`EFI PART`", &format!("`{}`", bytes[..8].escape_ascii())));
        }
        expect_u32(&bytes, "header size", 12, HEADER_SIZE)?;
        let unsummed = bytes.iter().enumerate().map(|(index, byte)| match index {
            CRC_OFFSET..20 => &0,
            _ => byte,
        });
        expect_u32(&bytes, "header CRC", CRC_OFFSET, crc32(unsummed))?;
        expect_u32(&bytes, "revision", 8, REVISION)?;
        expect_u32(&bytes, "number of entries", 80, ENTRY_COUNT)?;
        expect_u32(&bytes, "entry size", 84, ENTRY_SIZE)?;
        let lba = |offset| u64_at(&bytes, offset).unwrap_or_default();
        Ok(Self {
            my_lba: lba(24),
            alternate_lba: lba(32),
            first_usable_lba: lba(40),
            last_usable_lba: lba(48),
            disk_guid: Guid::from_gpt_bytes(array_at(&bytes, 56).unwrap_or_default()),
            entries_lba: lba(72),
            entries_crc: u32_at(&bytes, 88).unwrap_or_default(),
        })
    }
}

/// Checks one 32-bit field.
fn expect_u32(bytes: &[u8], field: &'static str, offset: usize, expected: u32) -> Result<(), CopyError> {
    match u32_at(bytes, offset).unwrap_or_default() {
        got if got == expected => Ok(()),
        got => Err(wrong(field, &format!("{expected:#x}"), &format!("{got:#x}"))),
    }
}

/// Makes the error for one field.
pub(super) fn wrong(field: &'static str, expected: &dyn ToString, got: &dyn ToString) -> CopyError {
    CopyError::Field { field, expected: expected.to_string(), got: got.to_string() }
}

//! What a power cut can leave: a recorded disk, replayed up to any moment, with any of the writes that no flush had made last yet.
//!
//! QEMU's `blklogwrites` records what the guest writes and when it flushes. Everything before a flush is on the disk; of what comes after it any part may
//! be: writes are kept in any order, and one of them may be torn between two sectors. [`model`] says what firmware, boot loader and kernel would start
//! from such a disk; it knows nothing of the code that wrote it.

mod disk;
mod fat;
mod log;
pub mod model;
mod random;

pub use disk::ReplayedDisk;
pub use fat::{Fat, FatError};
pub use log::{Epoch, LogError, Write, WriteLog};
pub use model::{Expected, Judge, Started};
pub use random::Random;

/// Bytes of a sector: what a disk writes whole or not at all.
pub const SECTOR: u64 = 512;
const SECTOR_BYTES: usize = 512;

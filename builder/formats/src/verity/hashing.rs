//! Block hashing on all cores.
//!
//! The calling thread reads chunks in order and hands them to helpers over a short queue; when that is full, it hashes
//! the chunk itself, so that no more threads run than there are cores. Buffers of hashed chunks are filled again: at
//! most a few are in memory, and no time goes into zeroing fresh ones. Digests are put back in order by block number;
//! the result never depends on timing.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;

use sha2::{Digest, Sha256};

use super::{BLOCK_SIZE, Salt, VerityError};

/// Bytes of a SHA-256 digest.
pub(super) const DIGEST_SIZE: usize = 32;
/// Blocks per chunk: 1 MiB, small enough to stay in cache, large enough to make the queue cheap and to pass by the
/// buffer of the callers' `BufReader`, which would cost a copy.
const CHUNK_BLOCKS: u64 = 256;

/// Number of the first block, and as many whole data blocks (or their digests) as there are.
type Chunk = (u64, Vec<u8>);

/// What all threads share.
struct Hashing<'a> {
    salt: &'a Salt,
    queue: Mutex<Receiver<Chunk>>,
    digests: Sender<Chunk>,
    /// Takes buffers of hashed chunks back.
    spares: Sender<Vec<u8>>,
}

/// Returns the digests of all 4096-byte blocks in `bytes`, packed.
pub(super) fn hash_blocks(bytes: &[u8], salt: &Salt) -> Vec<u8> {
    let salted = Sha256::new_with_prefix(salt.as_bytes());
    let mut digests = Vec::with_capacity(bytes.len().div_ceil(BLOCK_SIZE) * DIGEST_SIZE);
    for block in bytes.chunks(BLOCK_SIZE) {
        digests.extend_from_slice(&salted.clone().chain_update(block).finalize());
    }
    digests
}

/// Reads `blocks` blocks and returns their digests, packed and in order.
pub(super) fn hash_stream(data: &mut impl Read, blocks: u64, salt: &Salt) -> Result<Vec<u8>, VerityError> {
    let helpers = thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
    let (send_chunk, receive_chunk) = sync_channel(helpers * 2);
    let (send_spare, receive_spare) = channel();
    let (send_digests, receive_digests) = channel();
    let hashing = Hashing { salt, queue: Mutex::new(receive_chunk), digests: send_digests, spares: send_spare };
    thread::scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|| hashing.help());
        }
        hashing.feed(data, blocks, send_chunk, &receive_spare)
    })?;
    drop(hashing);
    let ordered: BTreeMap<u64, Vec<u8>> = receive_digests.into_iter().collect();
    Ok(ordered.into_values().collect::<Vec<_>>().concat())
}

impl Hashing<'_> {
    /// Reads all chunks into the queue, or hashes them here where it is full, and returns when the queue is empty.
    fn feed(
        &self,
        data: &mut impl Read,
        blocks: u64,
        queue: SyncSender<Chunk>,
        spares: &Receiver<Vec<u8>>,
    ) -> Result<(), VerityError> {
        let mut next = 0;
        while next < blocks {
            let count = CHUNK_BLOCKS.min(blocks - next);
            let mut bytes = spares.try_recv().unwrap_or_default();
            // At most 256 blocks, so the product is small. A spare buffer is as long already, but for the last chunk.
            bytes.resize(usize::try_from(count).unwrap_or_default() * BLOCK_SIZE, 0);
            data.read_exact(&mut bytes).map_err(|source| VerityError::Read { block: next, blocks, source })?;
            if let Err(TrySendError::Full(chunk) | TrySendError::Disconnected(chunk)) = queue.try_send((next, bytes)) {
                self.hash(chunk);
            }
            next += count;
        }
        // The helpers stop when the queue is closed and empty; until then, this is one more of them.
        drop(queue);
        self.help();
        Ok(())
    }

    /// Hashes chunks until the queue is closed and empty.
    fn help(&self) {
        while let Some(chunk) = self.next_chunk() {
            self.hash(chunk);
        }
    }

    /// Waits for a chunk; the queue is free for the others when this returns.
    fn next_chunk(&self) -> Option<Chunk> {
        self.queue.lock().ok()?.recv().ok()
    }

    /// Hashes one chunk and gives its buffer back.
    fn hash(&self, (first, bytes): Chunk) {
        // Neither can fail: the receiving ends outlive all threads.
        let _ = self.digests.send((first, hash_blocks(&bytes, self.salt)));
        let _ = self.spares.send(bytes);
    }
}

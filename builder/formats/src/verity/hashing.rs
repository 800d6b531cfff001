//! Block hashing on all cores.
//!
//! One thread reads chunks in order and hands them to workers over a short queue, so at most a few chunks are in memory. Digests are
//! put back in order by chunk number; the result never depends on timing.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use sha2::{Digest, Sha256};

use super::{BLOCK_SIZE, Salt, VerityError};

/// Bytes of a SHA-256 digest.
pub(super) const DIGEST_SIZE: usize = 32;
/// Blocks per chunk: 1 MiB, large enough to make the queue cheap, small enough to stay in cache.
const CHUNK_BLOCKS: u64 = 256;

/// A chunk of whole data blocks and its place in the stream.
type Chunk = (u64, Vec<u8>);

/// Returns the digests of all 4096-byte blocks in `bytes`, packed.
pub(super) fn hash_blocks(bytes: &[u8], salt: &Salt) -> Vec<u8> {
    let salted = Sha256::new_with_prefix(salt.as_bytes());
    bytes.chunks(BLOCK_SIZE).flat_map(|block| salted.clone().chain_update(block).finalize()).collect()
}

/// Reads `blocks` blocks and returns their digests, packed and in order.
pub(super) fn hash_stream(data: &mut impl Read, blocks: u64, salt: &Salt) -> Result<Vec<u8>, VerityError> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (send_chunk, receive_chunk) = sync_channel(workers * 2);
    let receive_chunk = Mutex::new(receive_chunk);
    let (send_digests, receive_digests) = channel();
    let outcome = thread::scope(|scope| {
        for _ in 0..workers {
            let send_digests = send_digests.clone();
            let receive_chunk = &receive_chunk;
            scope.spawn(move || work(receive_chunk, &send_digests, salt));
        }
        // The workers stop when the queue is closed, which `feed` does by dropping its end.
        feed(data, blocks, send_chunk)
    });
    drop(send_digests);
    outcome?;
    let ordered: BTreeMap<u64, Vec<u8>> = receive_digests.into_iter().collect();
    Ok(ordered.into_values().flatten().collect())
}

/// Reads all chunks into the queue.
fn feed(data: &mut impl Read, blocks: u64, queue: SyncSender<Chunk>) -> Result<(), VerityError> {
    let mut next = 0;
    while next < blocks {
        let count = CHUNK_BLOCKS.min(blocks - next);
        // At most 256 blocks, so the product is small.
        let mut chunk = vec![0; usize::try_from(count).unwrap_or_default() * BLOCK_SIZE];
        data.read_exact(&mut chunk).map_err(|source| VerityError::Read { block: next, blocks, source })?;
        if queue.send((next, chunk)).is_err() {
            // Only a panicking worker closes the queue; the scope passes that panic on.
            break;
        }
        next += count;
    }
    drop(queue);
    Ok(())
}

/// Hashes chunks until the queue is closed.
fn work(queue: &Mutex<Receiver<Chunk>>, results: &Sender<Chunk>, salt: &Salt) {
    loop {
        let received = match queue.lock() {
            Ok(receiver) => receiver.recv(),
            Err(_) => return,
        };
        let Ok((position, chunk)) = received else {
            return;
        };
        if results.send((position, hash_blocks(&chunk, salt))).is_err() {
            return;
        }
    }
}

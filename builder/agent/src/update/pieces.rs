//! A part of a bundle on its way to the disk: one thread reads and hashes, another writes, in large pieces and bounded
//! memory.
//!
//! At most four pieces are in memory: one that fills, two that wait, one that is written. What was written is flushed
//! every so often, so that the page cache holds little of it and the last flush is short.

use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;
use std::thread;

use bundle::BundleReader;
use rustix::fs::Advice;

use super::UpdateError;
use crate::files::FileError;
use crate::files::Files;

/// Bytes of one write: large enough for any disk, and four of them are little memory.
pub const PIECE: usize = 4 << 20;
/// Pieces that may wait for the disk.
const WAITING: usize = 2;
/// Pieces after which what was written is flushed.
const FLUSH_EVERY: u32 = 8;

/// Where a part is written to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination<'a> {
    /// How the disk is changed.
    pub(super) files: &'a Files,
    /// Name of the disk or file, for errors.
    pub(super) path: &'a Path,
    /// The disk or file.
    pub(super) file: &'a fs::File,
    /// First byte.
    pub(super) offset: u64,
    /// Bytes of one write.
    pub(super) piece: usize,
}

/// Writes the next part of the bundle to its place. It may be used once it was flushed and the bundle was read to its
/// end.
pub(super) fn write_part(bundle: &mut BundleReader<impl Read>, to: Destination<'_>) -> Result<(), UpdateError> {
    let (full, pieces) = sync_channel(WAITING);
    thread::scope(|scope| {
        let writing = scope.spawn(move || to.write_all(&pieces));
        let mut sink = Pieces { piece: to.piece.max(1), filling: Vec::new(), full };
        let read = bundle.read_part(&mut sink);
        let rest = sink.finish();
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Where the writer gave up, the reader only knows that nobody takes its pieces.
        written?;
        read?;
        Ok(rest.map_err(|source| FileError { action: "write", path: to.path.to_owned(), source })?)
    })
}

impl Destination<'_> {
    fn write_all(&self, pieces: &Receiver<Vec<u8>>) -> Result<(), FileError> {
        let (mut offset, mut since_flush) = (self.offset, 0);
        for piece in pieces {
            self.files.write_at(self.path, self.file, &piece, offset)?;
            offset += piece.len() as u64;
            since_flush += 1;
            if since_flush == FLUSH_EVERY {
                self.files.flush(self.path, self.file)?;
                forget(self.file, self.offset, offset);
                since_flush = 0;
            }
        }
        Ok(())
    }
}

/// Gives pages back that are on the disk already. That it does not work costs memory and nothing else.
fn forget(file: &fs::File, start: u64, end: u64) {
    let _ = rustix::fs::fadvise(file, start, NonZeroU64::new(end.saturating_sub(start)), Advice::DontNeed);
}

/// Collects what it is given into pieces.
struct Pieces {
    piece: usize,
    filling: Vec<u8>,
    full: SyncSender<Vec<u8>>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.filling);
        self.full.send(piece).map_err(|_| io::Error::other("the disk takes no more"))
    }

    /// Hands over the last one. The writer ends when this is dropped.
    fn finish(mut self) -> io::Result<()> {
        if self.filling.is_empty() { Ok(()) } else { self.send() }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filling.is_empty() {
            self.filling.reserve_exact(self.piece);
        }
        let taken = bytes.len().min(self.piece.saturating_sub(self.filling.len()));
        self.filling.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.filling.len() >= self.piece {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

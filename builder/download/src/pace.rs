//! A body that must keep a pace: a server that drips is as good as one that stalls.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Bytes in a second of waiting that a server must send; the slowest line that anybody would install over is several times as fast.
pub(crate) const SLOWEST: u64 = 1024;

/// A reader that fails when what it reads from gave less than [`SLOWEST`] over a whole `window` of waiting for it.
///
/// Time that the caller takes between two reads does not count: a slow disk of ours is no fault of the server.
#[derive(Debug)]
pub(crate) struct Paced<R> {
    inner: R,
    window: Duration,
    waited: Duration,
    received: u64,
}

/// Too few bytes in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("fewer than {SLOWEST} bytes a second")]
pub(crate) struct TooSlow;

impl<R: Read> Paced<R> {
    pub(crate) fn new(inner: R, window: Duration) -> Self {
        Self { inner, window, waited: Duration::ZERO, received: 0 }
    }

    /// Counts one answer of the reader below.
    fn count(&mut self, bytes: usize, waited: Duration) -> Result<(), TooSlow> {
        self.received = self.received.saturating_add(bytes as u64);
        self.waited = self.waited.saturating_add(waited);
        if self.waited < self.window {
            return Ok(());
        }
        let least = u128::from(SLOWEST).saturating_mul(self.waited.as_millis()) / 1000;
        let enough = u128::from(self.received) >= least;
        (self.waited, self.received) = (Duration::ZERO, 0);
        if enough { Ok(()) } else { Err(TooSlow) }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let asked = Instant::now();
        let bytes = self.inner.read(buffer)?;
        // The end came, however slowly.
        if bytes > 0 {
            self.count(bytes, asked.elapsed()).map_err(io::Error::other)?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    /// What becomes of answers of so many bytes, each after so many milliseconds.
    fn counted(answers: &[(usize, u64)]) -> Result<(), TooSlow> {
        let mut paced = Paced::new(io::empty(), WINDOW);
        answers.iter().try_for_each(|(bytes, waited)| paced.count(*bytes, Duration::from_millis(*waited)))
    }

    #[test]
    fn a_drip_is_too_slow_and_a_late_flood_is_not() {
        assert_eq!(counted(&[(1, 1000); 9]), Ok(()), "the window is not over");
        assert_eq!(counted(&[(1, 1000); 10]), Err(TooSlow));
        assert_eq!(counted(&[(1023, 1000); 10]), Err(TooSlow));
        assert_eq!(counted(&[(1024, 1000); 100]), Ok(()));
        assert_eq!(counted(&[(1, 9_000), (64 * 1024, 1000)]), Ok(()), "a pause, then the file");
    }

    #[test]
    fn each_window_is_judged_by_itself() {
        assert_eq!(counted(&[(1 << 20, 10_000), (1, 10_000)]), Err(TooSlow), "what came before is no credit");
        assert_eq!(counted(&[(usize::MAX, u64::MAX); 3]), Err(TooSlow), "sums stay in their range");
    }

    #[test]
    fn bytes_come_through_as_they_are() {
        let mut read = Vec::new();
        Paced::new(b"deb".as_slice(), Duration::ZERO).read_to_end(&mut read).unwrap();
        assert_eq!(read, b"deb");
    }
}

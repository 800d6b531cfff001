//! Reading what nobody vouches for yet: up to a limit, whatever the source claims of its size.
//!
//! The limits are those of `docs/formats/signature.md`, "Rules for a verifier". The caller opens the source; this reads it.

use std::io::{self, Read};

use thiserror::Error;

use crate::signature::{Context, LARGEST_ENVELOPE};

/// Why the bytes of a source are not taken.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The source broke.
    #[error(transparent)]
    Source(#[from] io::Error),
    /// More bytes than allowed.
    #[error("it is larger than {largest} bytes, the most that {what} may have: it is not what its name says")]
    TooLarge {
        /// Largest size in bytes.
        largest: usize,
        /// What was to be read.
        what: Limit,
    },
}

/// What is read, which says how large it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A document of this kind.
    Document(Context),
    /// A signature envelope (`*.sig`).
    Signature,
    /// Anything else, with its largest size in bytes.
    Bytes(usize),
}

impl Limit {
    /// Largest accepted size in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Document(context) => context.largest_document(),
            Self::Signature => LARGEST_ENVELOPE,
            Self::Bytes(largest) => largest,
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Document(context) => write!(out, "a `{context}`"),
            Self::Signature => out.write_str("a signature"),
            Self::Bytes(_) => out.write_str("this file"),
        }
    }
}

/// Reads a source to its end. One that is too large is left after one byte more than the limit, so it costs no memory.
pub fn read_limited(source: impl Read, limit: Limit) -> Result<Vec<u8>, ReadError> {
    let largest = limit.bytes();
    let mut bytes = Vec::new();
    source.take((largest as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    if largest < bytes.len() { Err(ReadError::TooLarge { largest, what: limit }) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_as_large_as_allowed_and_not_a_byte_more() {
        for limit in [Limit::Signature, Limit::Document(Context::Host), Limit::Bytes(0)] {
            let size = limit.bytes() as u64;
            assert_eq!(read_limited(io::repeat(1).take(size), limit).unwrap().len() as u64, size);
            let error = read_limited(io::repeat(1).take(size + 1), limit).unwrap_err().to_string();
            assert!(error.contains(&size.to_string()), "{error}");
        }
    }

    #[test]
    fn an_endless_source_is_refused() {
        let error = read_limited(io::repeat(1), Limit::Signature).unwrap_err().to_string();
        assert!(error.contains("a signature"), "{error}");
    }

    #[test]
    fn the_limits_are_those_of_the_written_format() {
        let sizes = [
            Limit::Document(Context::Host),
            Limit::Document(Context::Manifest),
            Limit::Document(Context::TestReport),
            Limit::Document(Context::Provenance),
            Limit::Signature,
        ];
        assert_eq!(sizes.map(Limit::bytes), [1 << 20, 16 << 20, 16 << 20, 16 << 20, 64 << 10]);
    }
}

//! `hostconf`: not yet written.

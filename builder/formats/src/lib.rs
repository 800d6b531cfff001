//! `formats`: not yet written.

//! `debian`: not yet written.

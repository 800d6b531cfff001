//! `pipeline`: not yet written.

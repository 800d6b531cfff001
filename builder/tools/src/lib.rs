//! `tools`: not yet written.

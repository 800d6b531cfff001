//! `vm`: not yet written.

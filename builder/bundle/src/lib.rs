//! `bundle`: not yet written.

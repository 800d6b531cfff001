//! The archive half against keys, indexes and a mirror that the tests make themselves: no network, nothing of the host.

#![expect(clippy::unwrap_used, reason = "what a test sets up must work")]

mod downloads;
mod keys;
mod locks;
mod mirror_server;
mod opened;
mod resolved;
mod shelf;
mod signatures;

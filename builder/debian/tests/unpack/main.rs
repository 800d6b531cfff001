//! Unpacking packages that are made on the spot: good ones, and a zoo of malformed and hostile ones.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its input must stop there")]

mod deb_factory;
mod tree;
mod zoo;

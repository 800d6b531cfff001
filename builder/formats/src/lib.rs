//! Byte formats of the image: partition table, hash tree, archives, executables and small text files; and the names and digests that stand in them,
//! each defined once for all crates.
//!
//! Every function here turns bytes into values or values into bytes. Nothing in this crate opens a path or a socket, reads the
//! clock, or knows in which order an image is made; the caller passes time, salts and identifiers in. Parsers of foreign
//! bytes never panic: they return an error that says what was expected and what was found.

pub mod blocks;
pub mod boot_entry;
pub mod bzimage;
pub mod cmdline;
pub mod cpio;
pub mod digest;
pub mod elf;
pub mod fixedtime;
pub mod gpt;
pub mod guid;
mod little_endian;
pub mod loader;
pub mod modules;
pub mod names;
pub mod os_release;
pub mod pe;
pub mod sbat;
pub mod signature_list;
pub mod slots;
pub mod uki;
pub mod verity;
pub mod version_order;

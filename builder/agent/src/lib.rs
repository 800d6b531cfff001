//! The agent on the host.

pub mod accounts;
pub mod commands;
pub mod console;
pub mod disk;
pub mod document;
pub mod facts;
pub mod files;
pub mod health;
pub mod host;
pub mod initrd;
pub mod mount;
pub mod paths;
pub mod screen;
pub mod secrets;
pub mod select;
pub mod source;
pub mod status;
#[cfg(test)]
mod testing;

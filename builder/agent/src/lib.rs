//! `casemate-agent`: turns a sealed image and a signed document into a running host.
//!
//! The whole way is in [`personalise`], one call per line. What it decides is decided by pure functions ([`mod@select`], [`resolve`],
//! `hostconf`); what it changes goes through [`files`], what it runs through `tools::Runner`, so tests can cut it at every step.
//! It never opens a connection to the outside, never writes to the root, and asks no name service.

pub mod accounts;
pub mod addresses;
pub mod banned;
pub mod certificates;
pub mod checks;
pub mod commands;
pub mod console;
pub mod disk;
pub mod document;
pub mod facts;
pub mod fastcgi;
pub mod files;
pub mod health;
pub mod host;
pub mod image;
pub mod initrd;
pub mod mount;
pub mod paths;
pub mod personalise;
pub mod rendering;
pub mod resolve;
pub mod screen;
pub mod secrets;
pub mod secure_boot;
pub mod select;
pub mod setup;
pub mod sites;
pub mod source;
pub mod state_directories;
pub mod status;
#[cfg(test)]
mod testing;
pub mod update;
pub mod work;

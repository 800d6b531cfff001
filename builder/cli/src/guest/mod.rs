//! A host in a virtual machine, as `run` and `test` need one: its disk, its document, its console and a client beside it.
//!
//! Everything lies in one directory and QEMU dies with this process, so nothing is left running whatever happens.

mod client;
mod console;
mod disk;
mod document;
mod follow;
mod host;
mod ports;
mod seen;
mod workdir;

pub(crate) use client::{Client, SshKey};
pub(crate) use console::{Console, Event, tail};
pub(crate) use disk::make_disk;
pub(crate) use document::{for_trying, lets_in};
pub(crate) use follow::{ended, until_settled};
pub(crate) use host::{Guest, Start, accelerator_text};
pub(crate) use ports::Ports;
pub(crate) use seen::Seen;
pub(crate) use workdir::WorkDir;

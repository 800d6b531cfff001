//! What `run` and `test` need of a guest beside the machine (`vm::guest`): its document, its directory, the ports a person chose.

mod document;
mod ports;
mod workdir;

pub(crate) use document::{for_trying, lets_in};
pub(crate) use ports::check as check_ports;
pub(crate) use workdir::WorkDir;

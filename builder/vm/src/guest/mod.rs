//! A host in a virtual machine, as `casemate run`, `casemate test` and the scenarios need one: its disk, its console,
//! clients beside it, and ways to damage it.
//!
//! Everything lies in one directory and QEMU dies with this process, so nothing is left running whatever happens.

mod client;
mod console;
mod disk;
mod follow;
mod host;
mod partitions;
mod ports;
mod seen;
mod tamper;

pub use client::{Answer, Client, SshKey};
pub use console::{Console, Event, tail};
pub use disk::{copy_sparse, make_disk};
pub use follow::{ended, until_settled};
pub use host::{Guest, Start, accelerator_text};
pub use partitions::{esp, slot_a, slot_b_tree};
pub use ports::Ports;
pub use seen::Seen;
pub use tamper::{Flip, flip_in_file, flip_in_uki};

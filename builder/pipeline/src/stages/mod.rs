//! The stages of a build, one file each; their order is in [`crate::build`].

pub mod agent;
pub mod bundle;
pub mod bytecode;
pub mod disk;
pub mod firewall;
pub mod generated;
pub mod initrd;
pub mod initrd_closure;
pub mod lint;
pub mod overlay;
pub mod package_database;
pub mod rootfs;
pub mod seal;
pub mod skeleton;
pub mod uki;
pub mod units;

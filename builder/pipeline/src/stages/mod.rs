//! The stages of a build, one file each; their order is in [`crate::build`].

pub mod agent;
pub mod disk;
pub mod initrd;
pub mod initrd_closure;
pub mod lint;
pub mod seal;
pub mod units;

//! Debian's own builders on the packages of our lock: compared with ours in content (the test) and in time (the program).
//!
//! Everything here is given the same `.deb` files, from a mirror on this machine. Nothing of it is used by a build.

pub mod allowed;
pub mod difference;
pub mod listing;
pub mod mirror;
pub mod mmdebstrap;
pub mod ours;
pub mod same_root;
pub mod workshop;

//! Debian's own builders on the packages of our lock: compared with ours in content (the test) and in time (the program).
//!
//! Everything here is given the same `.deb` files, from a mirror on this machine. Nothing of it is used by a build.

pub mod allowed;
pub mod applying;
pub mod bars;
pub mod contests;
pub mod difference;
pub mod initrd;
pub mod listing;
pub mod machine;
pub mod measure;
pub mod mirror;
pub mod mkosi;
pub mod mmdebstrap;
pub mod ours;
pub mod page;
pub mod parts;
pub mod plan;
pub mod report;
pub mod same_root;
pub mod scaling;
pub mod verity;
pub mod workshop;

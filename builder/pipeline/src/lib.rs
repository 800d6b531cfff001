//! From an image definition to artifacts: the only crate that knows the order of the stages.
//!
//! [`build::Builder`] is the door. No stage reads the clock, the environment or a file that its arguments do not name.

pub mod cache;
pub mod esp;
pub mod flash;
pub mod keys;
pub mod partition_table;
pub mod programs;
pub mod root_tree;
pub mod stages;
pub mod trees;

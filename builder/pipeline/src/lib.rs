//! From an image definition to artifacts: the only crate that knows the order of the stages.
//!
//! [`build::Builder`] is the door. No stage reads the clock, the environment or a file that its arguments do not name.

pub mod assets;
pub mod audit;
pub mod build;
pub mod cache;
pub mod definition;
pub mod diff;
pub mod esp;
pub mod explain;
pub mod flash;
pub mod flash_image;
pub mod host_document;
pub mod inspect;
pub mod keys;
pub mod overlay_folders;
pub mod packages;
pub mod partition_table;
pub mod programs;
pub mod proof;
pub mod provenance;
pub mod repo;
pub mod root_tree;
pub mod sbom;
pub mod sealed_trust_root;
pub mod stages;
pub mod summary;
#[cfg(test)]
mod test_artifacts;
pub mod trees;
pub mod trust_root;
pub mod verbs;
pub mod verify_output;

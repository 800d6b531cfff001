//! The Debian archive, from its signed index to a root tree.
//!
//! The archive half turns addresses and wanted names into a lock and a store of verified `.deb` files:
//! [`mirror`] (where), [`keyring`] and [`release`] (whom to believe, and how fresh), [`packages`] (what there is),
//! [`resolve`] (what is needed), [`lock`] (the choice, for review), [`fetch`] into [`store`] (the bytes).
//! [`archive`] ties these together and [`choice`] remembers what was chosen. Everything but [`fetch`], [`store`], `lists`, [`archive`],
//! [`choice`] and the loader in [`mirror`] is pure.

mod package_view;
mod relations;
mod signature_policy;
mod stanza;

pub mod accounts;
pub mod apt;
pub mod ar;
pub mod archive;
pub mod choice;
pub mod claims;
pub mod clearsign;
pub mod conffiles;
pub mod configure_order;
pub mod control;
pub mod date;
pub mod deb;
pub mod decode;
pub mod dependency;
pub mod diversions;
pub mod dpkg_db;
pub mod extract;
pub mod fetch;
pub mod fetch_address;
pub mod keyring;
pub mod lists;
pub mod lock;
pub mod lock_error;
pub mod mirror;
pub mod package;
pub mod package_facts;
pub mod packages;
pub mod packages_error;
pub mod parallel;
pub mod placeholder;
pub mod plan;
pub mod pool_path;
pub mod release;
pub mod release_error;
pub mod resolve;
pub mod resolve_error;
pub mod root_dir;
pub mod rootfs;
pub mod settle;
pub mod store;
pub mod suite;
pub mod tar;
pub mod tar_header;
pub mod tree_path;
mod trigger;
pub mod trim;
pub mod unpack_error;
pub mod version;
pub mod wish;

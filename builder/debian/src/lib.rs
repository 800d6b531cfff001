//! The Debian archive, from its signed index to a root tree.
//!
//! The archive half turns addresses and wanted names into a lock and a store of verified `.deb` files:
//! [`mirror`] (where), [`keyring`] and [`release`] (whom to believe, and how fresh), [`packages`] (what there is),
//! [`resolve`] (what is needed), [`lock`] (the choice, for review), [`fetch`] into [`store`] (the bytes).
//! [`archive`] ties these together. Everything but [`fetch`], [`store`], [`archive`] and the loader in [`mirror`] is pure.

pub mod control;
pub mod date;
pub mod dependency;
pub mod digest;
pub mod package;
pub mod version;

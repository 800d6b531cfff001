//! The copy of the document that this host accepted last.

use super::Gathered;
use super::Origin;
use super::read_folder;
use crate::paths::Paths;

/// Reads the folder that the link `accepted` points to.
pub fn read(paths: &Paths, gathered: &mut Gathered) {
    read_folder(gathered, Origin::State, &paths.accepted());
}

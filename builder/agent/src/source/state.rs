//! The copy of the document that this host accepted last.

use super::Gathered;
use super::Names;
use super::Origin;
use crate::paths::Paths;

/// Reads the folder that the link `accepted` points to, and the id that the host had then.
pub fn read(paths: &Paths, gathered: &mut Gathered) {
    let folder = paths.accepted();
    let names = Names {
        document: &folder.join("host.toml"),
        signature: &folder.join("host.toml.sig"),
        host_id: &paths.host_id(),
    };
    gathered.read(Origin::State, &names);
}

//! Deletes everything of a site that has left `host.toml`.

use anyhow::Result;

use super::Site;
use super::database;
use super::snapshot;
use super::volume;
use crate::host::Host;
use crate::secrets::tls;

/// Deletes database, snapshots, keys and files. What was cut is simply run again; the account stays assigned, so no other site gets its numbers.
pub fn purge(host: Host<'_>, site: &Site) -> Result<()> {
    let id = site.account.id();
    database::delete(host, site)?;
    snapshot::remove_all(host, site)?;
    host.files.remove(&host.paths.keys().join("wordpress").join(&id))?;
    let [key, certificate] = ["key", "crt"].map(|end| host.paths.tls().join(format!("{id}.{end}")));
    tls::remove(host, &key, &certificate)?;
    // What a cut restore, clone, import or export left.
    for name in [format!("{id}.sql"), format!("{id}.sql.new")] {
        host.files.remove(&host.paths.snapshots().join(name))?;
    }
    volume::remove(host, &host.paths.site(&format!(".{id}.new")))?;
    volume::remove(host, &host.paths.site(&id))
}

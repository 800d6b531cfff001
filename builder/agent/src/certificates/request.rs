//! Root's first step: a request for each site whose certificate is missing, ends soon, or lacks a name.

use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;

use super::Places;
use super::Site;
use super::Wanted;
use super::foreign_lines;
use super::record::Record;
use crate::files::Access;
use crate::host::Host;
use crate::secrets::tls;

/// Which names are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// All.
    All,
    /// Where the authority has just refused some: the others. A name that does not lead here yet takes no certificate from those that do.
    Rest,
}

/// Writes the requests, and takes away those of the last time. Returns the ids of the sites.
pub fn write(host: Host<'_>, wanted: &Wanted, names: Names, now: u64) -> Result<Vec<String>> {
    let places = Places::of(host.paths);
    let mut written = Vec::new();
    for site in &wanted.sites {
        let path = places.request(site);
        let due = wanted.authority.as_ref().and_then(|authority| {
            let asked = asked(site, names, &places);
            let lasts =
                Record::of(&site.certificate).is_some_and(|record| record.lasts(&authority.directory, &asked, now));
            (!asked.is_empty() && !lasts).then_some(asked)
        });
        match due {
            Some(names) => {
                write_one(host, site, &names, &path).with_context(|| format!("no request for {}", site.id))?;
                written.push(site.id.clone());
            }
            None => host.files.remove(&path)?,
        }
    }
    Ok(written)
}

fn asked(site: &Site, names: Names, places: &Places) -> Vec<String> {
    let refused = foreign_lines(&places.refused(site));
    match names {
        Names::All => site.names.clone(),
        Names::Rest if refused.is_empty() => Vec::new(),
        Names::Rest => site.names.iter().filter(|name| !refused.contains(name)).cloned().collect(),
    }
}

fn write_one(host: Host<'_>, site: &Site, names: &[String], path: &Path) -> Result<()> {
    let request = tls::request(host, &site.key, names, path)?;
    Ok(host.files.write(path, request.as_bytes(), Access::PUBLIC)?)
}

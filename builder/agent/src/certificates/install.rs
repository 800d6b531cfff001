//! Root's last step: what came back is looked at and put in place.

use std::fs;

use anyhow::Result;
use tools::Tool;

use super::Places;
use super::Site;
use super::Wanted;
use super::chain::Chain;
use super::chain::LARGEST;
use super::chain::Request;
use super::record::Record;
use crate::files::Access;
use crate::files::read_foreign;
use crate::host::Host;

/// Puts every good answer in place and tells who serves it. Returns why others were no good.
pub fn install(host: Host<'_>, wanted: &Wanted, now: u64) -> Result<Vec<String>> {
    let places = Places::of(host.paths);
    let Some(authority) = &wanted.authority else { return Ok(Vec::new()) };
    let (mut installed, mut failed) = (0, Vec::new());
    for site in &wanted.sites {
        if !places.request(site).exists() {
            continue;
        }
        match install_one(host, &places, site, &authority.directory, now) {
            Ok(true) => installed += 1,
            Ok(false) => {}
            Err(error) => {
                let name = site.names.first().unwrap_or(&site.id);
                failed.push(format!("the certificate for {name} is not used: {error:#}"));
            }
        }
    }
    if installed > 0 {
        for unit in &wanted.reload {
            host.runner.run(&Tool::new("systemctl").args(["reload", unit.as_str()]))?;
        }
    }
    Ok(failed)
}

fn install_one(host: Host<'_>, places: &Places, site: &Site, directory: &str, now: u64) -> Result<bool> {
    let path = places.request(site);
    let Some(answer) = read_foreign(&places.answer(site), LARGEST)? else { return Ok(false) };
    let request = Request::read(&fs::read_to_string(&path)?)?;
    let chain = Chain::read(&answer)?;
    chain.answers(&request, now)?;
    host.files.write(&site.certificate, chain.to_pem()?.as_bytes(), Access::PUBLIC)?;
    let record = Record {
        directory: directory.to_owned(),
        names: chain.names.iter().cloned().collect(),
        not_before: chain.validity.0,
        not_after: chain.validity.1,
    };
    host.files.write(&Record::place(&site.certificate), &serde_json::to_vec(&record)?, Access::PUBLIC)?;
    host.files.remove(&path)?;
    Ok(true)
}

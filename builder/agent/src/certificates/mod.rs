//! Certificates of an authority for the sites of this host (RFC 8555), with the keys that the host has made.
//!
//! Three steps with different rights: root writes a request for each site that needs one ([`request`]), a user of its own asks the authority
//! ([`order`]), and root looks at what came back and puts it in place ([`install`]). The program that talks to the authority never sees a key
//! of a site, and what it brings is not trusted. What to do stands in a file that an overlay renders; the agent knows no authority and no server.

pub mod chain;
pub mod install;
pub mod order;
pub mod record;
pub mod request;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use anyhow::Result;
use serde::Deserialize;

use self::chain::LARGEST;
use crate::files::read_foreign;
use crate::paths::Paths;

/// What is wanted: the file `casemate/certificates.json` of the rendered configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Who signs; absent: nobody, the host's own certificates are in use.
    pub authority: Option<Authority>,
    /// The sites.
    pub sites: Vec<Site>,
    /// Units that read a certificate when they are reloaded.
    pub reload: Vec<String>,
}

/// A certificate authority and the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Address of its directory.
    pub directory: String,
    /// Whom it may write to.
    pub email: String,
    /// A file of the certificates to trust when it is asked; absent: those that Debian trusts.
    pub roots: Option<PathBuf>,
    /// The proxy through which it is asked.
    pub proxy: String,
    /// Where answers to its questions are put, for the web server to show.
    pub webroot: PathBuf,
}

/// A site with its key and the place of its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Id of its account.
    pub id: String,
    /// Its names, the first is the site's own.
    pub names: Vec<String>,
    /// Place of its key.
    pub key: PathBuf,
    /// Place of its certificate.
    pub certificate: PathBuf,
}

/// The places where the three steps meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Root's: requests.
    pub requests: PathBuf,
    /// The client's: what came back.
    pub answers: PathBuf,
    /// The client's own: its account with the authority.
    pub client: PathBuf,
    /// `key-id:secret` for authorities that want to know a customer (RFC 8555 7.3.4); an administrator puts it there.
    pub customer: PathBuf,
}

impl Places {
    /// On this host.
    pub fn of(paths: &Paths) -> Self {
        let run = paths.at("/run/casemate-certificates");
        Self {
            answers: run.join("answers"),
            requests: run,
            client: paths.state().join("acme-client"),
            customer: paths.keys().join("acme/customer"),
        }
    }

    pub(crate) fn request(&self, site: &Site) -> PathBuf {
        self.requests.join(format!("{}.csr", site.id))
    }

    pub(crate) fn answer(&self, site: &Site) -> PathBuf {
        self.answers.join(format!("{}.pem", site.id))
    }

    /// Names that the authority has refused, one in a line.
    pub(crate) fn refused(&self, site: &Site) -> PathBuf {
        self.answers.join(format!("{}.refused", site.id))
    }
}

/// Reads what is wanted.
pub fn read(paths: &Paths) -> Result<Wanted> {
    let path = paths.rendered().join("casemate/certificates.json");
    let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot understand `{}`", path.display()))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

/// Names in lines; nothing where there is no such file, or something else.
fn foreign_lines(path: &Path) -> Vec<String> {
    let bytes = read_foreign(path, LARGEST).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

#[cfg(test)]
pub(crate) mod tests;

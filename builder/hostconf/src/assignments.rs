//! Which site has which account of the pool: `/var/lib/casemate/sites.toml` on the host.
//!
//! An account is never given to another site, because the old site's files and database still belong to its number. A site that
//! leaves `host.toml` keeps its line; when it comes back it finds its data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use thiserror::Error;

use crate::accounts::{LARGEST_POOL, SiteAccount};
use crate::document::read;
use crate::domain_name::DomainName;
use crate::mistake::Mistakes;

/// The pool has no account left for a new site.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "no account is left for site `{site}`: all {pool} of the image are assigned; raise `sites` in `[size]` of image.toml and build the image again"
)]
pub struct PoolFull {
    /// The first site that got none.
    pub site: DomainName,
    /// Size of the pool.
    pub pool: u16,
}

/// Accounts by site name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignments(BTreeMap<DomainName, SiteAccount>);

impl Assignments {
    /// Reads `sites.toml`. `name` is how messages call the document.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistakes> {
        read(name, text, |root| {
            root.allow(&["schema", "site"]);
            root.schema(1);
            let Some(sites) = root.optional_section("site") else {
                return Some(Self::default());
            };
            let mut used = BTreeSet::new();
            let mut assigned = BTreeMap::new();
            for (site, key) in sites.names::<DomainName>() {
                let number =
                    sites.integer(&key, 1..=u64::from(LARGEST_POOL)).and_then(|number| u16::try_from(number).ok());
                let account = number.and_then(SiteAccount::new)?;
                if !used.insert(account) {
                    sites.note(
                        sites.spot_of(&key),
                        format!("account {} is assigned twice: the file was changed by hand; restore it", account.id()),
                    );
                }
                assigned.insert(site, account);
            }
            Some(Self(assigned))
        })
    }

    /// The text of `sites.toml`.
    pub fn to_toml(&self) -> String {
        let mut text = String::from(
            "# Which site has which account, for ever. Made by casemate-agent; changing it mixes up the data of sites.\nschema = 1\n\n[site]\n",
        );
        for (site, account) in &self.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\"{site}\" = {}", account.number());
        }
        text
    }

    /// The account of a site.
    pub fn account(&self, site: &DomainName) -> Option<SiteAccount> {
        self.0.get(site).copied()
    }

    /// All sites that ever had an account here, with it.
    pub fn iter(&self) -> impl Iterator<Item = (&DomainName, SiteAccount)> {
        self.0.iter().map(|(site, &account)| (site, account))
    }

    /// Keeps every assignment and gives each new site of `wanted`, in that order, the lowest account that no site ever had.
    pub fn assign<'s>(&self, wanted: impl IntoIterator<Item = &'s DomainName>, pool: u16) -> Result<Self, PoolFull> {
        let mut assigned = self.0.clone();
        let used: BTreeSet<SiteAccount> = assigned.values().copied().collect();
        let mut free = SiteAccount::pool(pool).filter(|account| !used.contains(account));
        for site in wanted {
            if assigned.contains_key(site) {
                continue;
            }
            let account = free.next().ok_or_else(|| PoolFull { site: site.clone(), pool })?;
            assigned.insert(site.clone(), account);
        }
        Ok(Self(assigned))
    }
}

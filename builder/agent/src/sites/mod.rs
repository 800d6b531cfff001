//! What is done with one site of a running host: `casemate-agent site`.
//!
//! A site is found by its name, an alias or its id. One that has left `host.toml` is still here: its data waits for a decision.

pub mod clone;
pub mod code;
#[cfg(test)]
mod cuts;
pub mod database;
pub mod database_limit;
pub mod login;
pub mod pages;
pub mod php;
pub mod purge;
pub mod snapshot;
pub mod volume;

use anyhow::Result;
use hostconf::Assignments;
use hostconf::DomainName;
use hostconf::HostConfig;
use hostconf::SiteAccount;
use hostconf::SiteContent;
use hostconf::SiteKind;
use tools::Failure;

use crate::accounts::Owner;

/// A site with its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: DomainName,
    /// Its account of the pool.
    pub account: SiteAccount,
    /// What `host.toml` says of it; nothing where the site has left the document.
    pub settings: Option<hostconf::Site>,
}

impl Site {
    /// Numbers of the owner.
    pub fn owner(&self) -> Owner {
        Owner { uid: self.account.uid(), gid: self.account.uid() }
    }

    /// Numbers of the user that runs PHP.
    pub fn php(&self) -> Owner {
        Owner { uid: self.account.php_uid(), gid: self.account.php_uid() }
    }

    /// Its kind; nothing where the site has left the document.
    pub fn kind(&self) -> Option<SiteKind> {
        self.settings.as_ref().map(|settings| settings.content.kind())
    }

    /// Whether it has PHP and a database now.
    pub fn runs_php(&self) -> bool {
        self.kind().is_some_and(|kind| kind != SiteKind::Static)
    }

    /// Settings of its `WordPress`, or a refusal.
    pub fn wordpress(&self) -> Result<&hostconf::WordPress> {
        match self.settings.as_ref().map(|settings| &settings.content) {
            Some(SiteContent::WordPress(settings)) => Ok(settings),
            _ => Err(Failure::refused(format!("`{}` is no WordPress site", self.name))
                .hint("`casemate-agent site list` shows the kind of each site")
                .into()),
        }
    }

    /// Refuses a site that has left the document.
    pub fn present(&self) -> Result<&Self> {
        if self.settings.is_some() {
            return Ok(self);
        }
        Err(Failure::refused(format!("`{}` is not in host.toml any more; only its data is here", self.name))
            .hint("add the site to host.toml again, or delete its data with `casemate-agent site purge`")
            .into())
    }
}

/// All sites that this host ever had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sites(Vec<Site>);

impl Sites {
    /// Those of the document in its order, then those that have left it.
    pub fn of(document: &HostConfig, assignments: &Assignments) -> Self {
        let mut sites: Vec<Site> = document
            .sites()
            .filter_map(|settings| {
                let account = assignments.account(&settings.name)?;
                Some(Site { name: settings.name.clone(), account, settings: Some(settings.clone()) })
            })
            .collect();
        let left = assignments.iter().filter(|(name, _)| document.sites().all(|site| site.name != **name));
        sites.extend(left.map(|(name, account)| Site { name: name.clone(), account, settings: None }));
        Self(sites)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Site> {
        self.0.iter()
    }

    /// The site of this name, alias or id.
    pub fn find(&self, wanted: &str) -> Result<&Site> {
        let is_alias = |site: &Site| {
            site.settings.as_ref().is_some_and(|settings| settings.aliases.iter().any(|alias| alias.as_str() == wanted))
        };
        let is_meant = |site: &&Site| site.name.as_str() == wanted || site.account.id() == wanted || is_alias(site);
        self.iter().find(is_meant).ok_or_else(|| {
            let names: Vec<String> = self.iter().map(|site| site.name.to_string()).collect();
            let hint = if names.is_empty() {
                "this host has no sites".to_owned()
            } else {
                format!("there are {}", names.join(", "))
            };
            Failure::refused(format!("there is no site `{wanted}` here")).hint(hint).into()
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Three sites of all kinds, and one that has left the document.
    pub(crate) fn sites() -> Sites {
        let text = hostconf::SMALL_HOST.to_owned()
            + "[[domain.site]]\nname = \"blog.example.org\"\nkind = \"wordpress\"\naliases = [\"example.org\"]\ntitle = \"Blog\"\n\
               admin_user = \"editor\"\nadmin_email = \"editor@example.org\"\n\
               [[domain.site]]\nname = \"staging.example.org\"\nkind = \"wordpress\"\ntitle = \"Staging\"\n\
               admin_user = \"editor\"\nadmin_email = \"editor@example.org\"\n";
        let document = HostConfig::parse("host.toml", &text).unwrap();
        let old: DomainName = "old.example.org".parse().unwrap();
        let names = document.sites().map(|site| &site.name).chain([&old]);
        let assignments = Assignments::default().assign(names, 10).unwrap();
        Sites::of(&document, &assignments)
    }

    #[test]
    fn finds_a_site_by_name_alias_and_id() {
        let sites = sites();
        for wanted in ["blog.example.org", "example.org", "site002"] {
            assert_eq!(sites.find(wanted).unwrap().name.as_str(), "blog.example.org");
        }
        let error = tools::failure::render(&sites.find("nobody.example.org").unwrap_err());
        assert!(error.contains("no site `nobody.example.org`") && error.contains("blog.example.org"), "{error}");
    }

    #[test]
    fn a_site_that_left_the_document_is_known_and_refused() {
        let sites = sites();
        let old = sites.find("old.example.org").unwrap();
        assert!(old.kind().is_none() && !old.runs_php() && old.present().is_err() && old.wordpress().is_err());
        assert!(sites.find("www.example.org").unwrap().wordpress().is_err());
        assert!(sites.find("site002").unwrap().wordpress().is_ok());
    }
}

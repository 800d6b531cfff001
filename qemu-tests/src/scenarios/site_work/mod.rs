//! What owners and administrators do with sites: log in by a link, bring files by SFTP, go back to a snapshot, make a staging site,
//! move paths, show a site before its name leads here, and take one away.

mod files;
mod kept;
mod login;
mod pages;
mod served;
mod session;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use serde::Deserialize;
use std::path::Path;
use tools::{ResultExt as _, Tool};
use vm::Container;
use vm::guest::{Answer, Client};

use crate::artifacts::Artifacts;
use crate::container_host::{ContainerHost, NEIGHBOUR, shell};
use crate::host::PATIENCE;
use crate::neighbour::Neighbour;
use crate::operator::{Facts, Operator};

const TITLE: &str = "Looked after";
const SITE: &str = "www.example.org";
const STAGING: &str = "staging.example.org";
const FILES: &str = "files.example.net";
const PREVIEW: &str = "staging-example-org.hosts.example.com";
const MACHINE_ID: &str = "10de10de10de10de10de10de10de10de";
const SFTP: u16 = 2222;
const PROBE: &str = include_str!("probe.php");
const ADMIN_PAGE: &str = "<title>Dashboard";

/// Two domains with three sites; the first is the operator's own.
const FURTHER: &str = r#"ssh_keys = ["OWNER"]
redirect = [{ from = "/old", to = "/?moved=1" }, { from = "/elsewhere", to = "https://example.com/new" }]

[[domain.site]]
name = "staging.example.org"
kind = "wordpress"
title = "Staging"
admin_user = "stager"
admin_email = "stager@example.org"
preview = "staging-example-org.hosts.example.com"

[[domain]]
name = "example.net"
[[domain.site]]
name = "files.example.net"
kind = "static"
ssh_keys = ["OTHER"]
"#;

/// What the probe finds.
#[derive(Debug, Deserialize)]
struct Found {
    plain: Option<String>,
    nested: Option<String>,
    json: Option<String>,
    other: Option<String>,
    cleared: bool,
    content: Option<String>,
    writes: bool,
}

struct Visitor<'a> {
    container: &'a Container,
    client: &'a Client,
}

pub(crate) fn is_done(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let [operator, owner, other] = ["operator", "owner", "other"].map(|name| Operator::new(artifacts, dir, name));
    let (operator, owner, other) = (operator?, owner?, other?);
    let document = |serial, sites: &str| -> Result<String> {
        let facts = Facts { hostname: "sites.example.org", serial, wordpress: Some(TITLE) };
        let further = sites.replace("OWNER", &owner.key.public).replace("OTHER", &other.key.public);
        Ok(fs::read_to_string(operator.document(dir, &facts)?)? + &further)
    };
    let mut host = ContainerHost::new(artifacts, dir, &document(1, FURTHER)?, MACHINE_ID)?;
    // Somebody who answers: WordPress asks for news and versions, and waits where nobody does.
    let _neighbour = Neighbour::start(&host.neighbour, NEIGHBOUR)?;
    let client = host.client();

    let (mut container, _, _) = host.boot()?;
    let visitor = Visitor { container: &container, client: &client };
    visitor.list(&[("site001", "wordpress", SITE), ("site002", "wordpress", STAGING), ("site003", "static", FILES)])?;
    visitor.log_in_by_link()?;
    visitor.edit(dir)?;
    visitor.bring_files(&owner, &other, dir)?;
    visitor.planned_work()?;
    visitor.pages_are_kept()?;
    visitor.was_refused_nothing()?;
    visitor.database_out_and_in(dir)?;
    visitor.snapshots(&owner)?;
    visitor.strangers(&owner, &other)?;
    visitor.clone()?;
    visitor.names_and_paths()?;
    let before = visitor.configuration()?;
    ensure!(container.power_off(PATIENCE)? == 0, "the container does not end in good order");
    drop(container);

    let (mut container, _, _) = host.boot()?;
    let visitor = Visitor { container: &container, client: &client };
    let again = visitor.configuration()?;
    ensure!(before == again, "the same document made another host:\n{before}\nand then\n{again}");
    ensure!(visitor.probe(SITE, "")?.plain.is_some(), "the site has lost its data");
    ensure!(container.power_off(PATIENCE)? == 0, "the container does not end in good order");
    drop(container);

    let (only, _) = FURTHER.split_once("\n[[domain.site]]").context("the document has one site")?;
    host.give(&document(2, only)?);
    let (container, _, _) = host.boot()?;
    Visitor { container: &container, client: &client }.sites_that_left()
}

impl Visitor<'_> {
    /// A command of the administrator, as root.
    fn run(&self, words: &str) -> Result<String> {
        self.shell(&format!("casemate-agent {words}"))
    }

    fn shell(&self, script: &str) -> Result<String> {
        shell(self.container, script)
    }

    /// A day's work looks like no attack.
    fn was_refused_nothing(&self) -> Result<()> {
        let log = self.shell("journalctl --sync; journalctl --boot --no-pager --output=cat --identifier=apache2")?;
        let refused: Vec<&str> = log.lines().filter(|line| line.contains("ModSecurity: Access denied")).collect();
        ensure!(refused.is_empty(), "the WAF has refused what people do:\n{}", refused.join("\n"));
        Ok(())
    }

    /// A command that must be refused; returns what it says.
    fn refused(&self, words: &str) -> Result<String> {
        let tool = Tool::new("sh").args(["-c", &format!("casemate-agent {words} 2>&1")]).accept(&[1]);
        Ok(self.container.exec(&tool).remedied()?.stdout_text())
    }

    fn list(&self, wanted: &[(&str, &str, &str)]) -> Result<()> {
        let shown = self.run("site list")?;
        let words: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        ensure!(words.len() == wanted.len(), "the list of sites is {shown}");
        for ((id, kind, name), line) in wanted.iter().zip(&words) {
            ensure!(
                line.first() == Some(id) && line.get(1) == Some(kind) && line.last() == Some(name),
                "not {id}: {shown}"
            );
        }
        Ok(())
    }

    fn page(&self, name: &str, path: &str, further: &[&str]) -> Result<Answer> {
        self.client.https_with(name, path, further)
    }

    fn probe(&self, site: &str, query: &str) -> Result<Found> {
        let answer = self.page(site, &format!("/wp-content/plugins/probe/probe.php{query}"), &[])?;
        ensure!(answer.status == 200, "the probe of {site} answers {}{}", answer.head, answer.body);
        serde_json::from_str(&answer.body).with_context(|| format!("the probe says {}", answer.body))
    }

    fn title(&self, site: &str) -> Result<String> {
        let front = self.page(site, "/", &[])?;
        ensure!(front.status == 200, "the front page of {site} answers {}", front.head);
        let title = front.body.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        Ok(title.context("the front page has no title")?.0.to_owned())
    }
}

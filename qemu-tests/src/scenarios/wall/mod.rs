//! What stands in front of the sites: requests that attack are refused before anything runs, and whoever is not guarded shows that they would
//! have arrived.

mod requests;
mod sqlmap;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use vm::Container;
use vm::guest::Client;

use crate::artifacts::{Artifacts, say};
use crate::container_host::{ContainerHost, NEIGHBOUR, lift_measures, put_file, shell};
use crate::operator::{Facts, Operator};
use requests::{ATTACKS, Attack, ORDINARY};

const MACHINE_ID: &str = "3a113a113a113a113a113a113a113a11";
/// The same program in three sites, which differ by what `host.toml` says of their WAF.
const PROGRAM: &str = include_str!("seen.php");
const GUARDED: &str = "guarded.example.net";
const OPEN: &str = "open.example.net";
const LEARNING: &str = "learning.example.net";
const FILES: &str = "files.example.net";
const SITES: &str = r#"
[[domain]]
name = "example.net"
[[domain.site]]
name = "guarded.example.net"
kind = "php"
[[domain.site.waf_exclusion]]
rule = "942000-942999"
path = "/essay"
argument = "text"
[[domain.site.waf_exclusion]]
rule = "941000-941999"
path = "/markup/"
[[domain.site.waf_exclusion]]
rule = "942000-942999"
argument = "essay"
[[domain.site]]
name = "open.example.net"
kind = "php"
waf = "off"
[[domain.site]]
name = "learning.example.net"
kind = "php"
waf = "learn"
[[domain.site]]
name = "files.example.net"
kind = "static"
"#;

struct Wall<'a> {
    container: &'a Container,
    client: &'a Client,
}

pub(crate) fn refuses_attacks_and_nothing_else(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let facts = Facts { hostname: "wall.example.org", serial: 1, wordpress: None };
    let document = fs::read_to_string(operator.document(dir, &facts)?)? + SITES;
    let mut host = ContainerHost::new(artifacts, dir, &document, MACHINE_ID)?;
    let (container, _, _) = host.boot()?;
    // What is refused is refused for what it is, not for how much it is.
    lift_measures(&container)?;
    let client = host.client();
    let wall = Wall { container: &container, client: &client };
    for id in ["site001", "site002", "site003"] {
        put_file(&container, &format!("/var/lib/casemate/sites/{id}/htdocs/index.php"), PROGRAM)?;
    }
    put_file(&container, "/var/lib/casemate/sites/site004/htdocs/index.html", "files")?;

    wall.attacks_arrive_nowhere()?;
    wall.all_else_arrives()?;
    wall.learns()?;
    wall.overlooks_what_it_is_told_to()?;
    wall.withstands_sqlmap(artifacts, &host, dir)?;
    ensure!(
        client.https_unverified(FILES, "/?q=%3Cscript%3Ealert(1)%3C/script%3E")?.status == 403,
        "a site of files is not guarded"
    );
    ensure!(client.https_unverified(FILES, "/")?.body == "files", "a site of files does not answer");
    Ok(())
}

impl Wall<'_> {
    /// How many requests PHP of a site has seen.
    fn seen(&self, id: &str) -> Result<usize> {
        let count = shell(self.container, &format!("cat /var/lib/casemate/sites/{id}/tmp/seen 2>/dev/null | wc -l"))?;
        count.trim().parse().with_context(|| format!("`{count}` requests were seen"))
    }

    fn status(&self, site: &str, attack: &Attack) -> Result<u16> {
        Ok(self.client.https_with(site, attack.path, attack.arguments)?.status)
    }

    /// Findings of the WAF in the journal that name this site.
    fn findings(&self, site: &str) -> Result<Vec<String>> {
        let log =
            shell(self.container, "journalctl --sync; journalctl --boot --no-pager --output=cat --identifier=apache2")?;
        let name = format!("[hostname \"{site}\"]");
        Ok(log
            .lines()
            .filter(|line| line.contains("ModSecurity: ") && line.contains(&name))
            .map(str::to_owned)
            .collect())
    }

    fn attacks_arrive_nowhere(&self) -> Result<()> {
        let mut refused = 0;
        for attack in ATTACKS {
            let status = self.status(GUARDED, attack)?;
            ensure!([400, 403].contains(&status), "{} ({}) is answered with {status}", attack.what, attack.path);
            refused += usize::from(status == 403);
            let status = self.status(OPEN, attack)?;
            ensure!(status == 200, "without a guard {} is answered with {status}", attack.what);
        }
        let (guarded, open) = (self.seen("site001")?, self.seen("site002")?);
        ensure!(guarded == 0, "PHP has seen {guarded} attacks");
        ensure!(open == ATTACKS.len(), "without a guard PHP has seen {open} of {} attacks", ATTACKS.len());
        let address = format!("[client {NEIGHBOUR}:");
        let lines = self.findings(GUARDED)?;
        let denied =
            lines.iter().filter(|line| line.contains("Access denied with code 403") && line.contains(&address)).count();
        ensure!(denied == refused, "{denied} of {refused} refusals stand in the journal with who asked");
        ensure!(self.findings(OPEN)?.is_empty(), "a site without a guard has findings");
        say(&format!("wall: {} attacks refused", ATTACKS.len()));
        Ok(())
    }

    fn all_else_arrives(&self) -> Result<()> {
        let before = self.seen("site001")?;
        for request in ORDINARY {
            let status = self.status(GUARDED, request)?;
            ensure!(status == 200, "{} ({}) is answered with {status}", request.what, request.path);
        }
        let seen = self.seen("site001")? - before;
        ensure!(seen == ORDINARY.len(), "PHP has seen {seen} of {} ordinary requests", ORDINARY.len());
        Ok(())
    }

    fn learns(&self) -> Result<()> {
        for attack in ATTACKS {
            let status = self.status(LEARNING, attack)?;
            ensure!(status == 200, "a site that learns answers {} with {status}", attack.what);
        }
        ensure!(self.seen("site003")? == ATTACKS.len(), "not all requests have arrived");
        let lines = self.findings(LEARNING)?;
        let requests: BTreeSet<&str> =
            lines.iter().filter_map(|line| line.split_once("[unique_id \"")).map(|(_, id)| id).collect();
        ensure!(requests.len() == ATTACKS.len(), "findings of {} of {} attacks", requests.len(), ATTACKS.len());
        ensure!(
            !lines.iter().any(|line| line.contains("Access denied")),
            "the journal says that something was refused"
        );
        Ok(())
    }

    fn overlooks_what_it_is_told_to(&self) -> Result<()> {
        const SQL: &str = "1%20UNION%20SELECT%20user,password%20FROM%20mysql.user";
        const SCRIPT: &str = "%3Cscript%3Ealert(1)%3C/script%3E";
        for (path, wanted) in [
            (format!("/essay?text={SQL}"), 200),
            (format!("/essay?other={SQL}"), 403),
            (format!("/other?text={SQL}"), 403),
            (format!("/markup/page?any={SCRIPT}"), 200),
            (format!("/markup/page?any={SQL}"), 403),
            // The same path to the web server.
            (format!("/%6darkup/./page?any={SCRIPT}"), 200),
            (format!("/markup/../other?any={SCRIPT}"), 403),
            // WordPress's ways are open for WordPress only.
            (format!("/x/wp-login.php?pwd={SQL}"), 403),
            (format!("/anywhere?essay={SQL}"), 200),
            (format!("/other?any={SCRIPT}&path=/markup/"), 403),
        ] {
            let status = self.client.https_with(GUARDED, &path, &["--path-as-is"])?.status;
            ensure!(status == wanted, "`{path}` is answered with {status}, not {wanted}");
        }
        Ok(())
    }
}

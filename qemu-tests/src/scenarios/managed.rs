//! A managed site gets plugins from wordpress.org, by command and by a request from wp-admin, and nothing from elsewhere; what breaks the
//! site is undone; and neither the site's database nor what visitors can write decides what runs with the owner's rights.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use serde::Deserialize;
use tools::{ResultExt as _, Tool};
use vm::Container;
use vm::guest::{Answer, Client};

use crate::artifacts::Artifacts;
use crate::container_host::{ContainerHost, NEIGHBOUR, put_file, shell};
use crate::neighbour::Neighbour;
use crate::neighbour_tls::{DOWNLOADS, ELSEWHERE, Release, WordPressOrg};
use crate::operator::{Facts, Operator};

const SITE: &str = "www.example.org";
const LOCKED: &str = "locked.example.org";
const MACHINE_ID: &str = "c0dec0dec0dec0dec0dec0dec0dec0de";
const HTDOCS: &str = "/var/lib/casemate/sites/site001/htdocs";
const REQUEST: &str = "/var/lib/casemate/sites/site001/tmp/casemate-request.json";
const PAGE: &str = "/wp-admin/tools.php?page=casemate-managed";
const PROBE: &str = include_str!("managed.php");

/// The proxy lets the site go to the false address as well, so that only the host's own rule stands against it.
/// What the probe is asked stands for what a program in the site does by itself: the firewall does not see that.
const FURTHER: &str = r#"code = "managed"
allow = ["downloads.example.net"]
waf_exclusion = [{ rule = "900000-999999", path = "/wp-content/plugins/probe/" }]

[[domain.site]]
name = "locked.example.org"
kind = "wordpress"
title = "Locked"
admin_user = "editor"
admin_email = "editor@example.org"
"#;

/// Code that says where it ran and leaves a mark where only the owner may write.
const HOSTILE: &str = "<?php headers_sent() || header('X-Hostile-NAME: yes'); @file_put_contents(WP_CONTENT_DIR . '/plugins/mark-NAME', 'x');\n";
const BREAKS: &str = "update_option('good_data', 'broken'); casemate_no_such_function();";

/// What the probe finds.
#[derive(Debug, Deserialize)]
struct Found {
    note: Option<String>,
    data: Option<String>,
    writes: bool,
    reaches: bool,
    uploads: Option<String>,
}

struct Site<'a> {
    container: &'a Container,
    client: &'a Client,
    world: &'a WordPressOrg,
}

pub(crate) fn gets_code(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let facts = Facts { hostname: "managed.example.org", serial: 1, wordpress: Some("Managed") };
    let document = fs::read_to_string(operator.document(dir, &facts)?)? + FURTHER;
    let mut host = ContainerHost::new(artifacts, dir, &document, MACHINE_ID)?;
    let _neighbour = Neighbour::start(&host.neighbour, NEIGHBOUR)?;
    let world = WordPressOrg::start(&host.neighbour, artifacts.run_tree(), dir)?;
    let (container, _, _) = host.boot()?;
    let client = host.client();
    let site = Site { container: &container, client: &client, world: &world };

    fs::write(dir.join("var/lib/casemate/wordpress-org.crt"), &world.authority)?;
    site.trust()?;
    site.put("plugins/probe/probe.php", PROBE)?;
    site.all().map_err(|error| {
        let lines = site
            .shell("journalctl --boot --no-pager --output=short-iso -t php-site001 -t php-owner-site001 | tail -n 20");
        error.context(format!("PHP says\n{}", lines.unwrap_or_default()))
    })
}

fn at(version: &'static str, code: &'static str) -> Release {
    Release { version, code, package: None }
}

impl Site<'_> {
    fn all(&self) -> Result<()> {
        self.nothing_to_do()?;
        self.is_installed()?;
        self.is_updated()?;
        self.is_undone()?;
        self.themes()?;
        self.is_asked_for()?;
        self.foreign_code()?;
        self.other_requests()?;
        self.visitors()?;
        self.hostile_code()
    }

    fn shell(&self, script: &str) -> Result<String> {
        shell(self.container, script)
    }

    /// A command of the administrator, as root.
    fn run(&self, words: &str) -> Result<String> {
        self.shell(&format!("casemate-agent {words}"))
    }

    /// A command that must not succeed; returns what it says.
    fn fails(&self, words: &str) -> Result<String> {
        let tool = Tool::new("sh").args(["-c", &format!("casemate-agent {words} 2>&1")]).accept(&[1, 2]);
        Ok(self.container.exec(&tool).remedied()?.stdout_text())
    }

    fn page(&self, path: &str, further: &[&str]) -> Result<Answer> {
        self.client.https_with(SITE, path, further)
    }

    fn probe(&self, query: &str) -> Result<Found> {
        let answer = self.page(&format!("/wp-content/plugins/probe/probe.php{query}"), &[])?;
        ensure!(answer.status == 200, "the probe answers {}{}", answer.head, answer.body);
        serde_json::from_str(&answer.body).with_context(|| format!("the probe says {}", answer.body))
    }

    /// A file of the owner in `wp-content`.
    fn put(&self, path: &str, content: &str) -> Result<()> {
        put_file(self.container, &format!("{HTDOCS}/wp-content/{path}"), content)
    }

    /// The host's PHP of the owner trusts the neighbour as it trusts wordpress.org.
    fn trust(&self) -> Result<()> {
        let folder = "/run/systemd/system/casemate-php-owner@site001.service.d";
        let bind = "BindReadOnlyPaths=/var/lib/casemate/wordpress-org.crt:/etc/ssl/certs/ca-certificates.crt";
        self.shell(&format!(
            "mkdir -p {folder} && printf '[Service]\\n{bind}\\n' > {folder}/trust.conf && systemctl daemon-reload"
        ))
        .map(drop)
    }

    fn snapshots(&self) -> Result<Vec<String>> {
        Ok(self.run(&format!("site snapshots {SITE}"))?.lines().map(str::to_owned).collect())
    }

    /// Content, owners and modes of all files.
    fn files(&self) -> Result<String> {
        self.shell(&format!(
            "cd {HTDOCS} && find . -type f -exec sha256sum {{}} + | LC_ALL=C sort && find . -printf '%p %u %g %m\\n' | LC_ALL=C sort"
        ))
    }

    /// Which version of the good plugin visitors see.
    fn sees(&self, version: &str) -> Result<()> {
        let front = self.page("/", &[])?;
        let header = format!("X-Good: {version}");
        ensure!(front.status == 200 && front.head.contains(&header), "not `{header}` but {}", front.head);
        Ok(())
    }

    /// The timer is there; where nothing is newer nothing is kept; where nobody can be asked nobody says that all is well.
    fn nothing_to_do(&self) -> Result<()> {
        let timer =
            self.shell("systemctl is-active casemate-wordpress-update.timer casemate-wordpress-requests.path")?;
        ensure!(timer.trim() == "active\nactive", "the timer and the look at requests are {timer}");
        let said = self.run(&format!("site update {SITE}"))?;
        ensure!(said.trim() == "nothing to update", "an update of nothing says {said}");
        ensure!(
            self.world.asked().iter().any(|path| path.starts_with("api.wordpress.org/plugins/update-check/")),
            "nobody was asked"
        );
        self.shell("systemctl start casemate-wordpress-update.service")?;
        ensure!(self.snapshots()?.is_empty(), "a snapshot before nothing: {:?}", self.snapshots()?);
        self.world.set_down(true);
        let said = self.fails(&format!("site update {SITE}"))?;
        ensure!(said.contains("no answer about versions"), "an update without an answer says {said}");
        self.world.set_down(false);
        Ok(())
    }

    fn is_installed(&self) -> Result<()> {
        self.world.offer("good", at("1.0", "header('X-Good: 1.0');"));
        let said = self.run(&format!("site install {SITE} plugin/good"))?;
        ensure!(said.contains("changed: plugin/good 1.0;"), "the installation says {said}");
        let kept = self.snapshots()?;
        ensure!(kept.len() == 1 && kept.iter().all(|name| name.ends_with("-before-install")), "snapshots are {kept:?}");
        let file = self.shell(&format!("stat -c '%U %G %a' {HTDOCS}/wp-content/plugins/good/good.php"))?;
        ensure!(file.trim() == "site001 site001 640", "the installed file is {file}");
        ensure!(!self.probe("?do=activate")?.writes, "PHP of the site can write code");
        self.sees("1.0")?;
        let again = self.fails(&format!("site install {SITE} plugin/good"))?;
        ensure!(again.contains("changed: nothing; failed: plugin/good ("), "a second installation says {again}");
        let unknown = self.fails(&format!("site install {SITE} plugin/unknown"))?;
        ensure!(unknown.contains("failed: plugin/unknown ("), "an unknown plugin is {unknown}");
        Ok(())
    }

    fn is_updated(&self) -> Result<()> {
        self.world.offer("good", at("2.0", "header('X-Good: 2.0');"));
        self.shell("systemctl start casemate-wordpress-update.service")?;
        self.sees("2.0")?;
        self.says("casemate-wordpress-update.service", &format!("{SITE}: changed: plugin/good 2.0;"))?;
        let kept = self.snapshots()?;
        ensure!(kept.last().is_some_and(|name| name.ends_with("-before-update")), "snapshots are {kept:?}");
        let note = self.probe("")?.note.context("the site has no note")?;
        ensure!(note.contains("changed: plugin/good 2.0;"), "the note is {note}");
        let running = self.shell("systemctl list-units --plain --no-legend 'casemate-php-owner@*'")?;
        ensure!(running.is_empty(), "PHP with the owner's rights still runs: {running}");
        Ok(())
    }

    fn is_undone(&self) -> Result<()> {
        let before = self.files()?;
        self.world.offer("good", at("3.0", BREAKS));
        let said = self.fails(&format!("site update {SITE}"))?;
        ensure!(
            said.contains("undone, the site is as it was in ") && said.contains("500"),
            "a broken update says {said}"
        );
        self.sees("2.0")?;
        let after = self.files()?;
        ensure!(before == after, "files differ after the way back:\n{before}\nand now\n{after}");
        let found = self.probe("")?;
        ensure!(found.data.as_deref() == Some("kept"), "the database holds what the broken version wrote: {found:?}");
        ensure!(found.note.is_some_and(|note| note.contains("undone")), "the note does not say it");
        self.world.offer("good", at("2.0", "header('X-Good: 2.0');"));
        Ok(())
    }

    /// A theme is installed, switched to and updated, and one that breaks the site is undone like a plugin.
    fn themes(&self) -> Result<()> {
        self.world.offer_theme("plain", at("1.0", "header('X-Theme: 1.0');"));
        let said = self.run(&format!("site install {SITE} theme/plain"))?;
        ensure!(said.contains("changed: theme/plain 1.0;"), "the installation of a theme says {said}");
        ensure!(!self.page("/", &[])?.head.contains("X-Theme"), "the theme is on before anybody switched to it");
        self.probe("?do=theme&name=plain")?;
        self.wears("1.0")?;
        self.world.offer_theme("plain", at("2.0", "header('X-Theme: 2.0');"));
        self.run(&format!("site update {SITE}"))?;
        self.wears("2.0")?;
        let before = self.files()?;
        self.world.offer_theme("plain", at("3.0", BREAKS));
        let said = self.fails(&format!("site update {SITE} theme/plain"))?;
        ensure!(said.contains("undone, the site is as it was in "), "a broken theme says {said}");
        self.wears("2.0")?;
        ensure!(self.files()? == before, "files differ after the way back from a theme");
        self.world.offer_theme("plain", at("2.0", "header('X-Theme: 2.0');"));
        self.probe("?do=theme&name=twentytwentyfive").map(drop)
    }

    /// The front page is made by this version of the theme, and by the good plugin as before.
    fn wears(&self, version: &str) -> Result<()> {
        let front = self.page("/", &[])?;
        let header = format!("X-Theme: {version}");
        ensure!(front.status == 200 && front.head.contains(&header), "not `{header}` but {}", front.head);
        Ok(())
    }

    /// By somebody who is logged in, in the browser.
    fn is_asked_for(&self) -> Result<()> {
        let cookies = self.log_in()?;
        let cookies = cookies.as_str();
        let form = self.page(PAGE, &["--cookie", cookies])?;
        ensure!(form.status == 200 && form.body.contains("Last time"), "the page shows no note: {}", form.head);
        let nonce = form.body.split_once("name=\"_wpnonce\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
        let (nonce, _) = nonce.context("the page has no nonce")?;
        self.world.offer("asked", at("1.0", ""));
        let ask = |nonce: &str| {
            let data = format!("_wpnonce={nonce}&kind=plugin&name=asked&install=");
            self.page(PAGE, &["--cookie", cookies, "--data", &data])
        };
        ensure!(ask("0123456789")?.status == 403, "a form without a nonce is taken");
        ensure!(ask(nonce)?.body.contains("The host was asked"), "the request is not taken");
        self.says("casemate-wordpress-requests.service", &format!("{SITE}: changed: plugin/asked 1.0;"))?;
        self.shell(&format!("test -f {HTDOCS}/wp-content/plugins/asked/asked.php && test ! -e {REQUEST}"))?;
        let page = self.page(PAGE, &["--cookie", cookies])?;
        ensure!(page.body.contains("changed: plugin/asked 1.0;"), "the page does not show what was done");
        ensure!(ask(nonce)?.status == 200, "the second request is not taken");
        self.says("casemate-wordpress-requests.service", "asks again within 60 seconds")?;
        let page = self.page(PAGE, &["--cookie", cookies])?;
        ensure!(page.body.contains("asks again within 60 seconds"), "the page does not show the refusal");
        Ok(())
    }

    fn log_in(&self) -> Result<String> {
        let link = self.run(&format!("site login {SITE}"))?;
        let (_, token) = link.trim().split_once('=').context("the link has no token")?;
        let used = self.page("/", &["--data", &format!("casemate-login={token}")])?;
        let cookies = used.head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: ")?.split(';').next());
        Ok(cookies.collect::<Vec<_>>().join("; "))
    }

    /// Waits for a line of a unit: lines take a moment from the unit to the journal.
    fn says(&self, unit: &str, wanted: &str) -> Result<()> {
        let mut lines = String::new();
        for _ in 0..120 {
            lines = self.shell(&format!("journalctl --boot --no-pager --output=cat --unit={unit}"))?;
            if lines.contains(wanted) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(250));
        }
        bail!("`{unit}` does not say `{wanted}` but\n{lines}")
    }

    /// Packages from elsewhere, not by TLS, or by an address that sends on; names that are none; a site that wants none of it.
    fn foreign_code(&self) -> Result<()> {
        for (name, package, reason) in [
            ("foreign", format!("https://{ELSEWHERE}/plugin/foreign.zip"), "not a package of wordpress.org"),
            (
                "lookalike",
                format!("https://{DOWNLOADS}.{ELSEWHERE}/plugin/lookalike.zip"),
                "not a package of wordpress.org",
            ),
            ("plain", format!("http://{DOWNLOADS}/plugin/plain.zip"), "not a package of wordpress.org"),
            ("sent", format!("https://{DOWNLOADS}/plugin/sent.moved.zip"), "302"),
        ] {
            self.world.offer(name, Release { version: "1.0", code: "", package: Some(package) });
            let said = self.fails(&format!("site install {SITE} plugin/{name}"))?;
            ensure!(said.contains("changed: nothing") && said.contains(reason), "the package of `{name}` says {said}");
            self.shell(&format!("test ! -e {HTDOCS}/wp-content/plugins/{name}"))?;
        }
        let asked = self.world.asked();
        let elsewhere = asked.iter().find(|address| address.starts_with(ELSEWHERE));
        ensure!(elsewhere.is_none(), "a foreign address was asked: {elsewhere:?}");
        for name in ["plugin/../x", "core/x", "'plugin/a b'", "plugin/"] {
            ensure!(
                self.fails(&format!("site install {SITE} {name}"))?.contains("no plugin or theme"),
                "`{name}` is taken"
            );
        }
        for verb in ["install", "update"] {
            let said = self.fails(&format!("site {verb} {LOCKED} plugin/good"))?;
            ensure!(said.contains("is locked") && said.contains("code = \"managed\""), "a locked site says {said}");
        }
        Ok(())
    }

    /// Files in place of a request: each is gone at once, named in the journal, and nothing is done.
    fn other_requests(&self) -> Result<()> {
        let unit = "casemate-wordpress-requests.service";
        let before = (self.files()?, self.snapshots()?);
        self.world.asked();
        let stamp = "/run/casemate/requests/site001";
        let long = format!("/casemate-request.json` is longer than {}", 4096);
        let (quoted, own) = (
            "%22action%22%3A%22install%22%2C%22items%22%3A%5B%22plugin%2F..%2Fx%22%5D",
            "chown -h site001-php:site001-php",
        );
        self.probe("?do=ask&content=nothing")?;
        self.says(unit, "cannot understand `")?;
        self.probe(&format!("?do=ask&content={}", "x".repeat(5000)))?;
        self.says(unit, &long)?;
        self.shell(&format!("rm -f {stamp}"))?;
        self.probe(&format!("?do=ask&content=%7B{quoted}%7D"))?;
        self.says(unit, "`plugin/../x` is no plugin or theme")?;
        let link = format!(
            "printf '{{\"action\":\"update\",\"items\":[]}}' > /var/lib/casemate/other && ln -s /var/lib/casemate/other {REQUEST} && {own} {REQUEST}"
        );
        self.shell(&format!("rm -f {stamp} && {link}"))?;
        self.says(unit, &format!("cannot read `{REQUEST}`"))?;
        self.shell("test -f /var/lib/casemate/other && rm /var/lib/casemate/other")?;
        self.shell(&format!("mkfifo {REQUEST} && {own} {REQUEST}"))?;
        self.says(unit, &format!("`{REQUEST}` is no file"))?;
        self.shell(&format!("test ! -L {REQUEST} && test ! -e {REQUEST}"))?;
        // The other site is locked: nobody looks, and nobody does anything when somebody else has asked.
        let other = REQUEST.replace("site001", "site002");
        self.shell(&format!(
            "printf '{{\"action\":\"install\",\"items\":[\"plugin/good\"]}}' > {other} && systemctl start {unit}"
        ))?;
        self.shell("test ! -e /var/lib/casemate/sites/site002/htdocs/wp-content/plugins/good")?;
        ensure!((self.files()?, self.snapshots()?) == before, "a request that is none has changed the site");
        ensure!(self.world.asked().is_empty(), "wordpress.org was asked for a request that is none");
        Ok(())
    }

    /// The site's PHP does not write code, nor reach who does.
    fn visitors(&self) -> Result<()> {
        self.shell("systemctl start casemate-php-owner@site001.socket")?;
        let place = self.shell("stat -c '%U %a' /run/php-owner /run/php-owner/site001.sock")?;
        ensure!(place == "root 700\nroot 600\n", "the owner's socket is {place}");
        let found = self.probe("")?;
        ensure!(!found.writes && !found.reaches, "PHP of the site reaches its code: {found:?}");
        ensure!(found.uploads.is_none(), "PHP of the site cannot use its uploads: {found:?}");
        let groups = self.shell(&format!("find {HTDOCS}/wp-content/uploads -printf '%g %m\\n' | sort -u"))?;
        ensure!(groups == "site001 750\n", "folders of uploads are {groups}");
        self.shell("systemctl stop casemate-php-owner@site001.socket").map(drop)
    }

    /// Code that the database names, that `WordPress` looks for by its name, or that visitors have written: it runs for visitors only.
    fn hostile_code(&self) -> Result<()> {
        let named = |name: &str| HOSTILE.replace("NAME", name);
        self.put("plugins/hostile/hostile.php", &format!("{}/* Plugin Name: Hostile */\n", named("plugin")))?;
        self.put("themes/hostile/style.css", "/* Theme Name: Hostile */\n")?;
        self.put("themes/hostile/index.php", "<?php wp_head();\n")?;
        self.put("themes/hostile/functions.php", &named("theme"))?;
        self.put("db.php", &named("db"))?;
        self.put("object-cache.php", &named("cache"))?;
        self.probe("?do=hostile")?;
        self.runs(&["plugin", "theme", "db", "cache"])?;
        self.is_not_run("4.0", "header('X-Good: 4.0');")?;
        self.probe("?do=uploaded")?;
        self.runs(&["theme"])?;
        self.is_not_run("5.0", "header('X-Good: 5.0');")
    }

    /// For visitors the hostile code does run.
    fn runs(&self, names: &[&str]) -> Result<()> {
        let front = self.page("/", &[])?;
        for name in names {
            ensure!(
                front.head.contains(&format!("X-Hostile-{name}: yes")),
                "`{name}` does not run at all: {}",
                front.head
            );
        }
        Ok(())
    }

    fn is_not_run(&self, version: &'static str, code: &'static str) -> Result<()> {
        self.world.offer("good", at(version, code));
        self.run(&format!("site update {SITE}"))?;
        self.sees(version)?;
        let marks =
            self.shell(&format!("find {HTDOCS} /var/lib/casemate/sites/site001 -name 'mark-*' -printf '%f %u\\n'"))?;
        ensure!(marks.is_empty(), "hostile code ran with the owner's rights: {marks}");
        Ok(())
    }
}

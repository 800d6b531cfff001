//! Certificates of an authority: the host's own until there are some, then new ones in time, with the same key, and no visitor notices.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::{Network, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};
use vm::Container;

use crate::artifacts::{Artifacts, say};
use crate::container_host::{ADDRESS, ContainerHost, NEIGHBOUR, lift_measures, put_file, shell};
use crate::host::PATIENCE;
use crate::neighbour::Neighbour;
use crate::neighbour_acme::{Authority, Manner};
use crate::operator::{Facts, Operator};
use crate::testssl::{self, Target};

const MACHINE_ID: &str = "ce47ce47ce47ce47ce47ce47ce47ce47";
const SITE: &str = "www.example.org";
const ALIAS: &str = "example.org";
/// A name of the site that leads elsewhere.
const AWAY: &str = "away.example.org";
const HOSTED: &[(&str, Ipv4Addr)] = &[(SITE, ADDRESS), (ALIAS, ADDRESS)];
const SITES: &str = r#"
[[domain]]
name = "example.org"

[[domain.site]]
name = "www.example.org"
kind = "static"
aliases = ["example.org", "away.example.org"]
"#;
/// How soon after a start there is a certificate.
const SOON: Duration = Duration::from_secs(60);
/// Where the scenario's directory lies in the sandbox.
const INSIDE: &str = "/run/client";
/// Its certificates live this long, and are renewed when a third of it is left.
const BRIEF: Manner = Manner { name: "brief.example.net", seconds: 150, customer: None };
/// The kernel keeps some ten MiB of a connection on its two sides. What is read in 48 s comes from the server for longer than a renewal takes: that is
/// 10 to 25 s, by the patience of the authority.
const SLOW_FILE: u32 = 48 << 20;
/// It serves customers only (RFC 8555 7.3.4), for ninety days.
const LASTING: Manner = Manner {
    name: "lasting.example.net",
    seconds: 90 * 24 * 60 * 60,
    customer: Some(("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")),
};

/// Visitors who trust one authority.
struct Visitors {
    runner: SandboxRunner,
    root: PathBuf,
}

/// What a visitor sees of a certificate.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    serial: String,
    key: String,
}

pub(crate) fn are_issued_and_renewed(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let document = |serial, tls: &str| -> Result<String> {
        let facts = Facts { hostname: "certificates.example.org", serial, wordpress: None };
        let text = fs::read_to_string(operator.document(dir, &facts)?)?;
        Ok(text.replace("\n[tls]\nmode = \"self-signed\"\n", tls) + SITES)
    };
    let mut host = ContainerHost::new(artifacts, dir, &document(1, "")?, MACHINE_ID)?;
    let _names = Neighbour::start_beside(&host.neighbour, NEIGHBOUR, HOSTED)?;
    let brief = Authority::start(artifacts, &host.neighbour, dir, &BRIEF)?;
    host.give(&document(1, &brief.section(BRIEF.name))?);

    let (mut container, _, _) = host.boot()?;
    let network = Network::Namespace(host.neighbour.path());
    let visitors = |root: &str, name: &str| -> Result<Visitors> {
        fs::write(dir.join(name), root)?;
        let sandbox = Sandbox::new(artifacts.run_tree()).network(network.clone()).bind(dir, INSIDE);
        Ok(Visitors { runner: SandboxRunner::new(sandbox), root: Path::new(INSIDE).join(name) })
    };
    let trusting = visitors(&brief.root, "brief-root.pem")?;
    let first = is_issued(&container, &trusting)?;
    client_is_confined(&container)?;
    let second = is_renewed(&container, &trusting, &first)?;
    brief.stop();
    ensure!(container.power_off(PATIENCE)? == 0, "the container does not end in good order");
    drop(container);

    say("certificates: another authority, which serves customers only");
    let lasting = Authority::start(artifacts, &host.neighbour, dir, &LASTING)?;
    host.give(&document(2, &lasting.section(LASTING.name))?);
    let (mut container, _, _) = host.boot()?;
    let trusting = visitors(&lasting.root, "lasting-root.pem")?;
    let third = customers_are_served(&container, &trusting)?;
    ensure!(third.key == second.key, "another authority has another key of the site");
    ensure!(container.power_off(PATIENCE)? == 0, "the container does not end in good order");
    drop(container);
    let lasting_root = lasting.root.clone();
    lasting.stop();

    // It is kept over a start, though nobody is there who could sign another.
    let (container, _, _) = host.boot()?;
    ensure!(trusting.look()? == third, "a start of the host has lost the certificate");
    shell(&container, "systemctl start casemate-certificates.service")?;
    ensure!(trusting.look()? == third, "a good certificate was ordered again");
    lift_measures(&container)?;
    let target = Target { name: SITE, address: ADDRESS.to_string(), root: &lasting_root };
    let looked = testssl::finds_nothing_grave(artifacts, network, dir, &target)?;
    say(&format!("certificates: testssl has looked at {looked} things"));
    Ok(())
}

/// Soon after the start the names that lead here have a certificate, and one that does not keeps them not waiting.
fn is_issued(container: &Container, visitors: &Visitors) -> Result<Shown> {
    let started = Instant::now();
    while !visitors.trust(SITE)? {
        ensure!(
            started.elapsed() < SOON,
            "no certificate: {}",
            shell(container, "journalctl -u casemate-certificates --no-pager -n 60")?
        );
        thread::sleep(Duration::from_millis(500));
    }
    say(&format!("certificates: issued {:.0} s after the host was healthy", started.elapsed().as_secs_f64()));
    ensure!(visitors.trust(ALIAS)? && !visitors.trust(AWAY)?, "the wrong names are in the certificate");
    let listed = shell(container, "casemate-agent certificates list")?;
    ensure!(
        listed.contains(&format!("{SITE}  0 days left")) && listed.contains(&format!("without {AWAY}")),
        "it lists {listed}"
    );
    let said = shell(container, "journalctl -u casemate-certificates --no-pager")?;
    ensure!(
        said.contains("no certificate for www.example.org") && said.contains(AWAY),
        "nothing is said of the name that leads elsewhere: {said}"
    );
    visitors.look()
}

/// Who talks to the authority reads no key and goes nowhere but through the proxy, which lets it go to one name.
fn client_is_confined(container: &Container) -> Result<()> {
    for (deed, what) in [
        ("cat /var/lib/casemate/keys/tls/site001.key", "reads a site's key"),
        (
            "curl --silent --max-time 3 --proxy http://127.76.0.1:3128 https://api.wordpress.org/",
            "reaches another name",
        ),
        ("curl --silent --max-time 3 --insecure https://198.51.100.2/", "goes past the proxy"),
    ] {
        let script = format!("if runuser -u acme -- {deed} >/dev/null 2>&1; then echo done; else echo refused; fi");
        ensure!(shell(container, &script)?.trim() == "refused", "the client {what}");
    }
    let said =
        shell(container, "journalctl -t squid --no-pager | grep -c 'certificates .*brief.example.net:443' || true")?;
    ensure!(said.trim().parse::<u32>()? > 0, "the authority was not asked through the proxy");
    Ok(())
}

/// In the last third of its life there is a new one for the same key. Meanwhile nobody is sent away, and who is being served is served to the end.
fn is_renewed(container: &Container, visitors: &Visitors, first: &Shown) -> Result<Shown> {
    put_file(container, "/var/lib/casemate/sites/site001/htdocs/index.html", "a page")?;
    shell(
        container,
        &format!(
            "head -c {SLOW_FILE} /dev/zero > /var/lib/casemate/sites/site001/htdocs/slow.bin && chmod 644 /var/lib/casemate/sites/site001/htdocs/*"
        ),
    )?;
    let record: serde_json::Value =
        serde_json::from_str(&shell(container, "casemate-agent certificates list --json")?)?;
    let began = record[0]["not_before"].as_u64().context("nobody knows when the certificate began")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    thread::sleep(Duration::from_secs((began + u64::from(BRIEF.seconds) * 2 / 3 + 1).saturating_sub(now)));
    let (ended, visits) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let slow = scope.spawn(|| {
            visitors
                .fetch("slow.bin", &["--limit-rate", "1M", "--write-out", "%{size_download}", "--output", "/dev/null"])
        });
        let many = scope.spawn(|| -> Result<()> {
            while !ended.load(Ordering::Relaxed) {
                let page = visitors.fetch("index.html", &[]).context("a visitor is sent away during the renewal")?;
                ensure!(page == "a page", "a visitor is served `{page}` during the renewal");
                visits.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let renewed = renew(container, visitors, first);
        let is_being_served = !slow.is_finished();
        // Some more, with the new one.
        thread::sleep(Duration::from_secs(2));
        ended.store(true, Ordering::Relaxed);
        let size = slow.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))?;
        let size = size.context("who was being served is cut off by the renewal")?;
        ensure!(size == SLOW_FILE.to_string(), "a visitor got {size} of {SLOW_FILE} bytes");
        ensure!(is_being_served, "the slow visitor was served before anything was renewed");
        many.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))??;
        say(&format!("certificates: renewed, {} visitors meanwhile", visits.load(Ordering::Relaxed)));
        renewed
    })
}

fn renew(container: &Container, visitors: &Visitors, first: &Shown) -> Result<Shown> {
    shell(container, "systemctl start casemate-certificates.service")?;
    let started = Instant::now();
    loop {
        let shown = visitors.look()?;
        if shown.serial != first.serial {
            ensure!(shown.key == first.key, "the renewed certificate has another key");
            return Ok(shown);
        }
        ensure!(
            started.elapsed() < Duration::from_secs(10),
            "nothing was renewed: {}",
            shell(container, "journalctl -u casemate-certificates --no-pager -n 60")?
        );
        thread::sleep(Duration::from_millis(200));
    }
}

/// Without what makes the host a customer it has no certificate and says so; with it, it has one.
fn customers_are_served(container: &Container, visitors: &Visitors) -> Result<Shown> {
    let (id, secret) = LASTING.customer.context("no customer")?;
    let refused = shell(container, "systemctl start casemate-certificates.service && echo fine || echo refused")?;
    ensure!(
        refused.trim() == "refused" && !visitors.trust(SITE)?,
        "whom the authority does not know has a certificate: {refused}"
    );
    let customer = "/var/lib/casemate/keys/acme/customer";
    shell(container, &format!("umask 027; echo '{id}:{secret}' > {customer} && chgrp acme {customer} && systemctl start casemate-certificates.service"))
        .with_context(|| shell(container, "journalctl -u casemate-certificates --no-pager -n 60").unwrap_or_default())?;
    let started = Instant::now();
    while !visitors.trust(SITE)? {
        ensure!(started.elapsed() < Duration::from_secs(10), "a customer has no certificate");
        thread::sleep(Duration::from_millis(200));
    }
    let listed = shell(container, "casemate-agent certificates list")?;
    ensure!(listed.contains("89 days left"), "it lists {listed}");
    visitors.look()
}

impl Visitors {
    /// Whether they trust what the host shows for this name.
    fn trust(&self, name: &str) -> Result<bool> {
        // 60: a certificate that nobody vouches for.
        Ok(self.curl(name, "", &["--output", "/dev/null"], &[0, 60])?.0 == 0)
    }

    /// A file of the site, over a connection of its own.
    fn fetch(&self, path: &str, further: &[&str]) -> Result<String> {
        Ok(self.curl(SITE, path, &[&["--fail"], further].concat(), &[0])?.1)
    }

    fn curl(&self, name: &str, path: &str, further: &[&str], accepted: &[i32]) -> Result<(i32, String)> {
        let tool = Tool::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "120",
                "--connect-to",
                &format!("{name}:443:{ADDRESS}:443"),
            ])
            .arg("--cacert")
            .arg(&self.root)
            .args(further)
            .arg(format!("https://{name}/{path}"))
            .accept(accepted);
        let output = self.runner.run(&tool).remedied()?;
        Ok((output.status, output.stdout_text()))
    }

    /// Serial number and key of what the host shows.
    fn look(&self) -> Result<Shown> {
        let tool = Tool::new("openssl").args(["s_client", "-connect", &format!("{ADDRESS}:443"), "-servername", SITE]);
        let said = self.runner.run(&tool).remedied()?.stdout_text();
        let read = |what: &str| -> Result<String> {
            let tool = Tool::new("openssl").args(["x509", "-noout", what]).stdin(said.as_str());
            Ok(self.runner.run(&tool).remedied()?.stdout_text())
        };
        Ok(Shown { serial: read("-serial")?, key: read("-pubkey")? })
    }
}

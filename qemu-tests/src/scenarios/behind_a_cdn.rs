//! Behind a CDN: what a visitor does is his own, and not the CDN's, by whose address he comes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fs_err as fs;
use vm::Container;
use vm::guest::{Answer, Client};

use crate::artifacts::{Artifacts, say};
use crate::container_host::{ADDRESS, ADDRESS6, ContainerHost, put_file, shell};
use crate::knock;
use crate::operator::{Facts, Operator};

const SITE: &str = "www.example.org";
const ALIAS: &str = "example.org";
const PROGRAM: &str = "php.example.org";
const UNKNOWN: &str = "www.example.com";
const MACHINE_ID: &str = "cd0cd0cd0cd0cd0cd0cd0cd0cd0cd0cd";
/// Somebody who tries is refused before this.
const SOON: Duration = Duration::from_secs(60);
/// A ban that is there is known at the web server before this.
const KNOWN: Duration = Duration::from_secs(10);
/// More connections than one address may hold that is not trusted (`hostconf::firewall`).
const MANY: usize = 120;

/// A site of a program that says what it knows of its visitor, and whom the host trusts.
const FURTHER: &str = r#"
[[domain.site]]
name = "php.example.org"
kind = "php"

[network]
trusted_proxies = ["198.51.100.0/24", "2001:db8:5::/48"]
"#;
const SAYS_WHO: &str = "<?php echo $_SERVER['REMOTE_ADDR']; \
                        foreach ($_SERVER as $name => $value) { if (str_contains($name, 'FORWARDED')) { echo \" $name=$value\"; } }";
const SQL: &str = "/?id=1%27%20OR%20%271%27=%271";
/// Nobody has to be started for it.
const FILE: &str = "/wp-includes/css/dashicons.min.css";

/// The CDN, in both families, and addresses that are not on its wire but behind it.
const CDN: IpAddr = v4(198, 51, 100, 1);
const CDN6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 1));
const GUESSER: IpAddr = v4(203, 0, 113, 70);
const INJECTOR: IpAddr = v6(0x66, 0x70);
const SAME_NETWORK: IpAddr = v6(0x66, 0x71);
const NEXT_NETWORK: IpAddr = v6(0x67, 0x70);
const VISITOR: IpAddr = v4(203, 0, 113, 80);
/// Somebody who comes without the CDN and says that he is somebody else.
const FORGER: IpAddr = v4(10, 0, 2, 72);
const VICTIM: IpAddr = v4(203, 0, 113, 90);

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(network: u16, last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, last))
}

pub(crate) fn visitors_are_told_apart(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let facts = Facts { hostname: "cdn.example.org", serial: 1, wordpress: Some("Behind") };
    let document = fs::read_to_string(operator.document(dir, &facts)?)?.replace("10.0.2.0/24", "10.0.2.2/32") + FURTHER;
    let mut host = ContainerHost::new(artifacts, dir, &document, MACHINE_ID)?;
    for address in [CDN, CDN6, GUESSER, VISITOR, FORGER] {
        host.add_neighbour(address)?;
    }
    let (container, _, _) = host.boot()?;
    put_file(&container, "/var/lib/casemate/sites/site002/htdocs/index.php", SAYS_WHO)?;
    let front = Front { container: &container, client: &host.client(), host: &host };
    front.shows_php_who_asks()?;
    front.refuses_who(GUESSER, "guesses passwords", |front| {
        let form = ["--data", "log=editor&pwd=guessed&wp-submit=Log+In"];
        front.ask(CDN, GUESSER, SITE, "/wp-login.php", &form).map(drop)
    })?;
    front.refuses_who(INJECTOR, "sends SQL", |front| front.ask(CDN6, INJECTOR, SITE, SQL, &[]).map(drop))?;
    front.refuses_visitors_by_their_network()?;
    front.refuses_at_every_door()?;
    front.counts_no_refusal()?;
    front.bans_who_forges_and_nobody_else()?;
    front.bans_no_proxy()?;
    front.counts_no_connections_of_proxies()?;
    for change in ["restart fail2ban", "reload fail2ban", "restart apache2", "reload apache2"] {
        shell(&container, &format!("systemctl {change}.service"))?;
        front.holds(change)?;
    }
    shell(&container, &format!("fail2ban-client unban {GUESSER}"))?;
    front.becomes(GUESSER, 200, "a ban that was lifted holds")?;
    front.becomes(INJECTOR, 403, "one ban was lifted, and another has ended")?;
    shell(&container, "fail2ban-client unban --all")?;
    front.becomes(INJECTOR, 200, "not all bans are lifted")
}

struct Front<'a> {
    container: &'a Container,
    client: &'a Client,
    host: &'a ContainerHost<'a>,
}

impl Front<'_> {
    /// A request by `proxy`, which says that it is for `visitor`, who has named somebody else before.
    fn ask(&self, proxy: IpAddr, visitor: IpAddr, name: &str, path: &str, further: &[&str]) -> Result<Answer> {
        self.say(proxy, &format!("X-Forwarded-For: 9.9.9.9, {visitor}"), name, path, further)
    }

    fn say(&self, from: IpAddr, header: &str, name: &str, path: &str, further: &[&str]) -> Result<Answer> {
        let from_text = from.to_string();
        let mut arguments = [&["--interface", from_text.as_str(), "--header", header], further].concat();
        let to_ipv6 = format!("{name}:443:[{ADDRESS6}]:443");
        if from.is_ipv6() {
            // Before the client's own, which is for IPv4.
            arguments.extend(["--connect-to", &to_ipv6]);
        }
        self.client.https_with(name, path, &arguments)
    }

    /// What a visitor behind the CDN gets for a file that everybody may have.
    fn status(&self, visitor: IpAddr) -> Result<u16> {
        Ok(self.ask(CDN, visitor, SITE, FILE, &[])?.status)
    }

    fn becomes(&self, visitor: IpAddr, wanted: u16, otherwise: &str) -> Result<()> {
        let started = Instant::now();
        // Apache has started some time before it listens.
        while self.status(visitor).ok() != Some(wanted) {
            ensure!(started.elapsed() < KNOWN, "{otherwise}: {visitor}");
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    }

    /// Whether somebody who comes without the CDN has an answer.
    fn reaches(&self, from: IpAddr, port: u16) -> Result<bool> {
        let target = SocketAddr::new(ADDRESS.into(), port);
        Ok(self.host.neighbour.run(|| Ok(knock::from(from, target, Duration::from_secs(2)).is_ok()))?)
    }

    /// PHP knows the visitor's address, by whichever family and version of HTTP his request comes, and nothing of what he says of it.
    fn shows_php_who_asks(&self) -> Result<()> {
        for (proxy, visitor, further) in [
            (CDN, VISITOR, &["--http1.1"][..]),
            (CDN, NEXT_NETWORK, &["--http2"]),
            (CDN6, VISITOR, &["--http1.1", "--header", "X-Forwarded-Proto: http"]),
            (CDN6, NEXT_NETWORK, &["--http2", "--header", "X-Forwarded-Host: example.com"]),
        ] {
            let said = self.ask(proxy, visitor, PROGRAM, "/", further)?.body;
            ensure!(said == visitor.to_string(), "by {proxy} PHP sees `{said}` instead of {visitor}");
        }
        let said = self.ask(FORGER, VICTIM, PROGRAM, "/", &[])?.body;
        ensure!(said == FORGER.to_string(), "of a stranger who names another PHP sees `{said}`");
        Ok(())
    }

    fn refuses_who(&self, visitor: IpAddr, what: &str, attempt: impl Fn(&Self) -> Result<()>) -> Result<()> {
        ensure!(self.status(visitor)? == 200, "{visitor} is refused before anything");
        let (started, mut attempts) = (Instant::now(), 0);
        while self.status(visitor)? != 403 {
            ensure!(started.elapsed() < SOON, "who {what} behind a CDN is not refused after {attempts} attempts");
            attempts += 1;
            attempt(self)?;
        }
        say(&format!("cdn: who {what} is refused after {attempts} attempts, {:.0} s", started.elapsed().as_secs_f64()));
        Ok(())
    }

    fn refuses_visitors_by_their_network(&self) -> Result<()> {
        let statuses = [VISITOR, NEXT_NETWORK, SAME_NETWORK].map(|visitor| self.status(visitor));
        let [others, next, same] = statuses;
        ensure!(others? == 200 && next? == 200, "others behind the CDN are refused too");
        ensure!(same? == 403, "another address of a banned network is let in");
        // He is where everybody is who is banned.
        ensure!(self.reaches(VISITOR, 443)?, "a visitor who comes without the CDN is cut off");
        ensure!(!self.reaches(GUESSER, 443)?, "who is banned behind the CDN comes in without it");
        Ok(())
    }

    fn refuses_at_every_door(&self) -> Result<()> {
        for visitor in [VISITOR, GUESSER] {
            for name in [SITE, ALIAS, PROGRAM, UNKNOWN] {
                let by_tls = self.ask(CDN, visitor, name, "/", &[])?.status;
                let plain = self.plain(visitor, name)?;
                for (status, scheme) in [(by_tls, "https"), (plain, "http")] {
                    ensure!((status == 403) == (visitor == GUESSER), "{visitor} gets {status} of {scheme}://{name}/");
                }
            }
        }
        Ok(())
    }

    /// The same without TLS.
    fn plain(&self, visitor: IpAddr, name: &str) -> Result<u16> {
        let path = "/.well-known/acme-challenge/x";
        let header = format!("X-Forwarded-For: {visitor}");
        Ok(self.client.http_with(name, path, &["--interface", &CDN.to_string(), "--header", &header])?.status)
    }

    /// Who is refused because he is banned does nothing for which he would be banned, whatever he asks for.
    fn counts_no_refusal(&self) -> Result<()> {
        let found =
            || shell(self.container, &format!("journalctl --unit=fail2ban.service | grep -c 'Found {GUESSER}'"));
        let before = found()?;
        for _ in 0..12 {
            self.ask(CDN, GUESSER, SITE, "/xmlrpc.php", &["--data", "<methodCall/>"])?;
            self.ask(CDN, GUESSER, SITE, SQL, &[])?;
        }
        std::thread::sleep(Duration::from_secs(3));
        let after = found()?;
        ensure!(before == after, "refusals of who is banned are offences: {before} before, {after} after");
        let told = format!("{SITE} banned {GUESSER} \"POST /xmlrpc.php\" 403");
        let journal = shell(self.container, "journalctl --identifier=apache2-access --output=cat")?;
        ensure!(journal.contains(&told), "the journal does not say `{told}`");
        Ok(())
    }

    fn bans_who_forges_and_nobody_else(&self) -> Result<()> {
        let started = Instant::now();
        while self.reaches(FORGER, 443)? {
            ensure!(started.elapsed() < SOON, "who names another is not banned himself");
            let header = format!("X-Forwarded-For: {VICTIM}");
            // Who is cut off in the middle hears nothing more.
            let _ = self.say(FORGER, &header, SITE, SQL, &["--max-time", "3"]);
        }
        ensure!(self.status(VICTIM)? == 200, "somebody is banned because another has named him");
        let banned = shell(self.container, "fail2ban-client banned")?;
        ensure!(banned.contains(&FORGER.to_string()) && !banned.contains(&VICTIM.to_string()), "banned are {banned}");
        Ok(())
    }

    /// What a proxy asks for in nobody's name is no reason to ban it; it would be one ban for all visitors.
    fn bans_no_proxy(&self) -> Result<()> {
        for proxy in [CDN, CDN6] {
            for _ in 0..12 {
                self.say(proxy, "X-Forwarded-For: unknown", SITE, SQL, &[])?;
            }
        }
        std::thread::sleep(Duration::from_secs(3));
        let lists = shell(
            self.container,
            "fail2ban-client banned; ipset list -name | grep ^ban | xargs -n 1 ipset list; ls /run/casemate/banned",
        )?;
        ensure!(lists.contains("203.0.113.70@login"), "the lists are {lists}");
        ensure!(!lists.contains("198.51.100.") && !lists.contains("2001:db8:5:"), "the CDN is banned: {lists}");
        ensure!(self.status(VISITOR)? == 200, "nobody comes through the CDN");
        Ok(())
    }

    /// The CDN asks for many at once, and administrates nothing.
    fn counts_no_connections_of_proxies(&self) -> Result<()> {
        let target = SocketAddr::new(ADDRESS.into(), 443);
        let connect = || knock::from(CDN, target, Duration::from_secs(2)).ok();
        let held = self.host.neighbour.run(|| Ok((0..MANY).map_while(|_| connect()).collect::<Vec<_>>()))?;
        ensure!(held.len() == MANY, "the CDN holds {} connections and no more", held.len());
        drop(held);
        for port in [22, 2222] {
            ensure!(self.reaches(CDN, port)? == (port == 2222), "the CDN reaches other ports than a stranger: {port}");
        }
        Ok(())
    }

    fn holds(&self, change: &str) -> Result<()> {
        for visitor in [GUESSER, SAME_NETWORK] {
            self.becomes(visitor, 403, &format!("after `{change}` who was banned is let in"))?;
        }
        ensure!(self.status(VISITOR)? == 200, "after `{change}` others are refused");
        Ok(())
    }
}

//! Addresses that try too often reach nothing of the host for a while; administrators always do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use tools::{Network, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool, ToolError};
use vm::Container;
use vm::guest::Client;

use crate::artifacts::{Artifacts, say};
use crate::container_host::{ADDRESS, ADDRESS6, ContainerHost, NEIGHBOUR, shell};
use crate::host::PATIENCE;
use crate::knock;
use crate::operator::{Facts, Operator};

const SITE: &str = "www.example.org";
const MACHINE_ID: &str = "ba4ba4ba4ba4ba4ba4ba4ba4ba4ba4b1";
/// Somebody who tries is cut off before this.
const SOON: Duration = Duration::from_secs(60);
/// How long a wait for an answer shows that there is none, in seconds.
const SILENCE: &str = "3";
/// How long an attempt to log in takes at most.
const KNOCK: Duration = Duration::from_secs(10);
const SFTP: u16 = 2222;

/// Somebody who tries one thing.
struct Attacker {
    jail: &'static str,
    address: IpAddr,
    what: &'static str,
    attempt: fn(&Town<'_>, IpAddr) -> Result<()>,
}

const ATTACKERS: [Attacker; 6] = [
    Attacker {
        jail: "login",
        address: v4(70),
        what: "guesses passwords of WordPress",
        attempt: |town, from| town.guess(from),
    },
    Attacker {
        jail: "login",
        address: v4(73),
        what: "guesses application passwords",
        attempt: |town, from| town.guess_with_request(from),
    },
    Attacker { jail: "xmlrpc", address: v4(71), what: "asks for xmlrpc.php", attempt: |town, from| town.call(from) },
    Attacker {
        jail: "refused",
        address: v4(72),
        what: "sends SQL",
        attempt: |town, from| town.ask(from, "/?id=1%27%20OR%20%271%27=%271"),
    },
    Attacker {
        jail: "refused",
        address: IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0x66, 0, 0, 0, 0x70)),
        what: "sends SQL over IPv6",
        attempt: |town, from| town.ask(from, "/?id=1%27%20OR%20%271%27=%271"),
    },
    Attacker { jail: "sftp", address: v4(75), what: "knocks at SFTP", attempt: |town, from| town.knock(from, SFTP) },
];
/// Somebody who is banned again and again.
const AGAIN: IpAddr = v4(79);
/// Banned by an administrator.
const BY_HAND: IpAddr = v4(82);
/// Somebody else.
const VISITOR: IpAddr = v4(80);
/// The same visitor with another address of the network, and somebody in the next one.
const SAME_NETWORK: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0x66, 0, 0, 0, 0x71));
const NEXT_NETWORK: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0x67, 0, 0, 0, 0x71));

const fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 2, last))
}

struct Town<'a> {
    container: &'a Container,
    client: &'a Client,
    tree: &'a Path,
    network: Network,
}

pub(crate) fn are_lasting_and_never_for_administrators(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let facts = Facts { hostname: "bans.example.org", serial: 1, wordpress: Some("Bans") };
    // The administrators are one address here: others on the same wire are strangers.
    let document = fs::read_to_string(operator.document(dir, &facts)?)?.replace("10.0.2.0/24", "10.0.2.2/32");
    let mut host = ContainerHost::new(artifacts, dir, &document, MACHINE_ID)?;
    for address in
        ATTACKERS.iter().map(|attacker| attacker.address).chain([VISITOR, AGAIN, BY_HAND, SAME_NETWORK, NEXT_NETWORK])
    {
        host.add_neighbour(address)?;
    }
    let network = Network::Namespace(host.neighbour.path());
    let client = host.client();

    let (mut container, _, _) = host.boot()?;
    let town = Town { container: &container, client: &client, tree: artifacts.run_tree(), network: network.clone() };
    // WordPress looks at application passwords where somebody has one.
    shell(
        &container,
        "mariadb site001 --execute=\"INSERT INTO wp_options (option_name, option_value) VALUES ('using_application_passwords', '1')\"",
    )?;
    for attacker in &ATTACKERS {
        town.cuts_off(attacker)?;
    }
    ensure!(town.reaches(VISITOR)?, "somebody else is cut off too");
    hides_ssh_from_strangers(&host)?;
    town.spares_administrators()?;
    town.bans_networks_of_ipv6()?;
    town.is_harder_on_those_who_come_again()?;
    // The journal says nothing of this one, so nobody could find it there again.
    shell(&container, &format!("fail2ban-client set refused banip {BY_HAND}"))?;
    shell(&container, "systemctl restart fail2ban.service && systemctl reload fail2ban.service")?;
    town.all_are_away("after a restart of Fail2Ban")?;
    shell(&container, "systemctl restart casemate-firewall.service")?;
    town.all_are_away("after the firewall's rules were loaded anew")?;
    ensure!(container.power_off(PATIENCE)? == 0, "the container does not end in good order");
    drop(container);

    let (container, _, _) = host.boot()?;
    let town = Town { container: &container, client: &client, tree: artifacts.run_tree(), network };
    town.all_are_away("after a start of the host")?;
    ensure!(town.reaches(VISITOR)? && town.reaches(NEIGHBOUR.into())?, "after a start others are cut off too");
    shell(&container, &format!("fail2ban-client unban {}", ATTACKERS[0].address))?;
    ensure!(town.reaches(ATTACKERS[0].address)?, "a ban that was lifted holds");
    shell(&container, "fail2ban-client unban --all")?;
    ensure!(town.reaches(ATTACKERS[1].address)? && town.reaches(AGAIN)?, "not all bans are lifted");
    Ok(())
}

/// Nobody guesses where nobody answers: ssh is for the networks of the administrators.
fn hides_ssh_from_strangers(host: &ContainerHost<'_>) -> Result<()> {
    let asked = host.neighbour.run(|| {
        let at = |from| knock::from(from, SocketAddr::new(ADDRESS.into(), 22), Duration::from_secs(1)).is_ok();
        Ok((at(VISITOR), at(NEIGHBOUR.into())))
    })?;
    ensure!(asked == (false, true), "a stranger and an administrator reach ssh: {asked:?}");
    Ok(())
}

impl Town<'_> {
    /// A request of this address: whether there was an answer, whatever it is.
    fn request(&self, from: IpAddr, path: &str, further: &[&str]) -> Result<bool> {
        let from = from.to_string();
        let mut arguments = [&["--interface", from.as_str(), "--max-time", SILENCE], further].concat();
        let to_ipv6 = format!("{SITE}:443:[{ADDRESS6}]:443");
        if from.contains(':') {
            // Before the client's own, which is for IPv4.
            arguments.extend(["--connect-to", &to_ipv6]);
        }
        match self.client.https_with(SITE, path, &arguments) {
            Ok(_) => Ok(true),
            Err(error) if format!("{error:?}").contains("timed out") => Ok(false),
            Err(error) => Err(error).context(format!("`{path}` for {from}")),
        }
    }

    fn reaches(&self, from: IpAddr) -> Result<bool> {
        // A file: nobody has to be started for it.
        self.request(from, "/wp-includes/css/dashicons.min.css", &[])
    }

    fn ask(&self, from: IpAddr, path: &str) -> Result<()> {
        self.request(from, path, &[]).map(drop)
    }

    fn call(&self, from: IpAddr) -> Result<()> {
        self.request(from, "/xmlrpc.php", &["--data", "<methodCall/>"]).map(drop)
    }

    fn guess(&self, from: IpAddr) -> Result<()> {
        self.request(from, "/wp-login.php", &["--data", "log=editor&pwd=guessed&wp-submit=Log+In"]).map(drop)
    }

    /// A name and a password with a request of the REST interface (RFC 7617).
    fn guess_with_request(&self, from: IpAddr) -> Result<()> {
        self.request(from, "/wp-json/wp/v2/users/me", &["--user", "editor:abcd efgh ijkl mnop"]).map(drop)
    }

    /// An attempt to log in by ssh as somebody who may not.
    fn knock(&self, from: IpAddr, port: u16) -> Result<()> {
        let tool = Tool::new("ssh")
            .args(["-b", &from.to_string(), "-p", &port.to_string(), "-o", "BatchMode=yes", "-o", "ConnectTimeout=3"])
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args([&format!("root@{ADDRESS}"), "true"])
            .accept(&[255])
            .timeout(KNOCK);
        match SandboxRunner::new(Sandbox::new(self.tree).network(self.network.clone())).run(&tool) {
            // Who is cut off in the middle hears nothing more.
            Ok(_) | Err(ToolError::TimedOut { .. }) => Ok(()),
            Err(error) => Err(error).remedied(),
        }
    }

    fn cuts_off(&self, attacker: &Attacker) -> Result<()> {
        ensure!(self.reaches(attacker.address)?, "{} is cut off before anything", attacker.address);
        let started = Instant::now();
        let mut attempts = 0;
        while self.reaches(attacker.address)? {
            if started.elapsed() > SOON {
                bail!("who {} is not cut off after {attempts} attempts", attacker.what);
            }
            (attacker.attempt)(self, attacker.address)?;
            attempts += 1;
        }
        let banned = self.jail(attacker.jail)?;
        ensure!(banned.contains(&attacker.address.to_string()), "`{}` has banned {banned}", attacker.jail);
        say(&format!(
            "bans: who {} is cut off after {attempts} attempts, {:.0} s",
            attacker.what,
            started.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// They mistype passwords more often than anybody.
    fn spares_administrators(&self) -> Result<()> {
        for _ in 0..15 {
            self.guess(NEIGHBOUR.into())?;
            self.ask(NEIGHBOUR.into(), "/?id=1%27%20OR%20%271%27=%271")?;
        }
        std::thread::sleep(Duration::from_secs(5));
        ensure!(self.reaches(NEIGHBOUR.into())?, "an administrator is cut off");
        Ok(())
    }

    fn jail(&self, name: &str) -> Result<String> {
        shell(self.container, &format!("fail2ban-client status {name} | sed -n 's/.*Banned IP list://p'"))
    }

    /// Of IPv6 the network is banned that somebody attacked from, and no other, and the rule lets the host itself and administrators through before it.
    fn bans_networks_of_ipv6(&self) -> Result<()> {
        let listed = shell(
            self.container,
            "fail2ban-client set refused banip 2001:db8:1:2:3::5 >/dev/null; sleep 1; ipset list ban6-refused; ipset list casemate-ban6; ipset list casemate-admin6; ip6tables -t raw -S",
        )?;
        ensure!(!self.reaches(SAME_NETWORK)?, "another address of a banned network is let in");
        ensure!(self.reaches(NEXT_NETWORK)?, "the next network is banned too");
        for part in [
            "2001:db8:1:2::/64 timeout",
            "ban6-refused",
            "fe80::/10",
            "-A casemate-bans -i lo -j RETURN\n-A casemate-bans -m set --match-set casemate-admin6 src -j RETURN\n-A casemate-bans -m set --match-set casemate-proxy6 src -j RETURN\n-A casemate-bans -m set --match-set casemate-ban6 src -j DROP",
        ] {
            ensure!(listed.contains(part), "`{part}` is not in {listed}");
        }
        Ok(())
    }

    /// Whoever comes again is away for longer, and in the end for a week.
    fn is_harder_on_those_who_come_again(&self) -> Result<()> {
        shell(self.container, "fail2ban-client set refused bantime 12")?;
        // A ban that somebody lifts is forgotten, one that ends by itself is not; the longer one is in the set some seconds later.
        for pause in [14, 9] {
            shell(self.container, &format!("fail2ban-client set refused banip {AGAIN} >/dev/null; sleep {pause}"))?;
        }
        let left = shell(self.container, &format!("ipset list ban4-refused | sed -n 's/^{AGAIN} timeout //p'"))?;
        let left: u32 = left.trim().parse().with_context(|| format!("{AGAIN} is banned for `{left}` seconds"))?;
        ensure!(left > 12, "who comes again is away for {left} s more");
        shell(
            self.container,
            &format!("fail2ban-client set refused bantime 3600; fail2ban-client set xmlrpc banip {AGAIN}"),
        )?;
        let started = Instant::now();
        while !self.jail("recidive")?.contains(&AGAIN.to_string()) {
            ensure!(started.elapsed() < SOON, "three bans of a day are no reason for a longer one");
            std::thread::sleep(Duration::from_secs(1));
        }
        // The end of one jail's ban is not that of another's.
        shell(
            self.container,
            &format!(
                "fail2ban-client set refused unbanip {AGAIN} && fail2ban-client set xmlrpc unbanip {AGAIN} && sleep 1"
            ),
        )?;
        ensure!(!self.reaches(AGAIN)?, "the end of one ban has ended another");
        Ok(())
    }

    fn all_are_away(&self, when: &str) -> Result<()> {
        for attacker in &ATTACKERS {
            ensure!(!self.reaches(attacker.address)?, "{when} who {} is back", attacker.what);
        }
        ensure!(!self.reaches(BY_HAND)?, "{when} who was banned by hand is back");
        Ok(())
    }
}

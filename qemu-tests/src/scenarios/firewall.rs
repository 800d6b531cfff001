//! The firewall: from outside the table of ports and nothing else, from inside what the overlays declare for each user and nothing else.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fs_err as fs;
use vm::guest::Client;
use vm::{Container, NetworkNamespace};

use crate::artifacts::{Artifacts, say};
use crate::container_host::{ADDRESS, ADDRESS6, ContainerHost, NEIGHBOUR, NEIGHBOUR6, WIRE, shell};
use crate::knock;
use crate::nmap::Scan;
use crate::operator::{Facts, Operator};

const SITE: &str = "www.example.org";
const MACHINE_ID: &str = "f14ef14ef14ef14ef14ef14ef14ef14e";
/// Somebody on the same wire who is no administrator.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 77));
const STRANGER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x77));
/// Somebody who wants all connections for himself.
const GREEDY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 66);
const VISITOR: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 80);
/// Where clouds hand out credentials.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// A port that no overlay names.
const UNDECLARED: u16 = 4444;
/// The most connections that one address may hold (`hostconf::firewall`).
const CONNECTIONS: usize = 100;
/// What everybody may ask, and administrators besides.
const FOR_ALL: [u16; 3] = [80, 443, 2222];
const FOR_ADMINISTRATORS: [u16; 4] = [22, 80, 443, 2222];
/// A page of a shop has so many parts.
const PARTS: usize = 40;

pub(crate) fn opens_what_is_declared_and_nothing_else(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let facts = Facts { hostname: "firewall.example.org", serial: 1, wordpress: Some("Firewall") };
    // The administrators are one address of each family: others on the same wire are strangers.
    let administrators = format!("{NEIGHBOUR}/32\", \"{NEIGHBOUR6}/128");
    let document = fs::read_to_string(operator.document(dir, &facts)?)?.replace("10.0.2.0/24", &administrators);
    let mut host = ContainerHost::new(artifacts, dir, &document, MACHINE_ID)?;
    for address in [STRANGER, STRANGER6, GREEDY.into(), VISITOR.into(), METADATA.into()] {
        host.add_neighbour(address)?;
    }
    let outside = Listeners::start(&host.neighbour, &[80, 443, UNDECLARED])?;
    let inside = Listeners::start(&host.network, &[UNDECLARED])?;

    let (container, _, _) = host.boot()?;
    let fort = Fort { container: &container, client: &host.client(), host: &host, artifacts };
    fort.is_closed_before_the_network()?;
    fort.shows_the_table()?;
    fort.lets_out_what_is_declared(&outside, &inside)?;
    fort.shares_connections()?;
    fort.stays_closed_without_rules()
}

/// Whoever listens on these ports of all addresses of a network, and how often somebody came.
struct Listeners {
    visits: Arc<AtomicUsize>,
    datagrams: UdpSocket,
}

impl Listeners {
    fn start(network: &NetworkNamespace, ports: &[u16]) -> Result<Self> {
        let visits = Arc::new(AtomicUsize::new(0));
        let (sockets, datagrams) = network.run(|| {
            let bind = |port: &u16| TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port));
            let sockets = ports.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
            Ok((sockets, UdpSocket::bind((Ipv6Addr::UNSPECIFIED, UNDECLARED))?))
        })?;
        datagrams.set_nonblocking(true)?;
        for socket in sockets {
            let visits = Arc::clone(&visits);
            std::thread::spawn(move || {
                for _visitor in socket.incoming().flatten() {
                    visits.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Ok(Self { visits, datagrams })
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }

    /// Whether nobody has sent anything that is no connection.
    fn is_silent(&self) -> bool {
        self.datagrams.recv(&mut [0; 8]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

struct Fort<'a> {
    container: &'a Container,
    client: &'a Client,
    host: &'a ContainerHost<'a>,
    artifacts: &'a Artifacts,
}

impl Fort<'_> {
    fn is_closed_before_the_network(&self) -> Result<()> {
        let times = shell(
            self.container,
            "for unit in casemate-firewall casemate-bans systemd-networkd; do systemctl show --value -p ActiveEnterTimestampMonotonic $unit; done",
        )?;
        let times: Vec<u64> = times.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(times.len() == 3 && times.is_sorted() && times[0] > 0, "the network was up first: {times:?}");
        Ok(())
    }

    fn shows_the_table(&self) -> Result<()> {
        let started = Instant::now();
        let seen = |source: IpAddr, target: IpAddr| Scan {
            artifacts: self.artifacts,
            from: &self.host.neighbour,
            wire: WIRE,
            source,
            target,
        };
        let (v4, v6) = (IpAddr::V4(ADDRESS), IpAddr::V6(ADDRESS6));
        for (who, source, target, wanted) in [
            ("a stranger", STRANGER, v4, &FOR_ALL[..]),
            ("a stranger", STRANGER6, v6, &FOR_ALL),
            ("an administrator", NEIGHBOUR.into(), v4, &FOR_ADMINISTRATORS),
            ("an administrator", NEIGHBOUR6.into(), v6, &FOR_ADMINISTRATORS),
        ] {
            let open = seen(source, target).tcp()?;
            let wanted: BTreeSet<u16> = wanted.iter().copied().collect();
            ensure!(open == wanted, "to {who}, {source}, other ports of {target} are open: {open:?}");
        }
        for (source, target) in [(STRANGER, v4), (STRANGER6, v6)] {
            // Who has an old connection is told that it has ended, where he may know that there is somebody.
            let ending = seen(source, target).ending("22,80,443,2222,4444")?;
            ensure!(ending == BTreeSet::from(FOR_ALL), "forgotten connections to {target} are ended at {ending:?}");
            let open = seen(source, target).udp()?;
            ensure!(open.is_empty(), "UDP ports of {target} are open: {open:?}");
        }
        say(&format!("firewall: eight scans by nmap, {:.0} s", started.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Every account of the image, and both of a site, tries both families, this host itself, and a datagram.
    fn lets_out_what_is_declared(&self, outside: &Listeners, inside: &Listeners) -> Result<()> {
        let who = "getent passwd | awk -F: '$3 < 20002 {print $1 \" \" $3}'";
        // Status 124: nobody answered in time, a worker would wait. 0: connected.
        let attempts = format!(
            "{who} | while read -r name uid; do \
             for to in {NEIGHBOUR} {NEIGHBOUR6} 127.0.0.1 ::1; do \
             setpriv --reuid=$uid --regid=$uid --clear-groups timeout 2 \
             bash -c \"exec 3<>/dev/tcp/$to/{UNDECLARED}\" 2>/dev/null; echo $name $to $?; done; \
             setpriv --reuid=$uid --regid=$uid --clear-groups bash -c \"echo out > /dev/udp/{NEIGHBOUR}/{UNDECLARED}; echo out > /dev/udp/{NEIGHBOUR6}/{UNDECLARED}\" 2>/dev/null; \
             done; true"
        );
        let said = shell(self.container, &attempts)?;
        let users: BTreeSet<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
        for known in ["root", "www-data", "proxy", "postfix", "admin", "systemd-timesync", "site001", "site001-php"] {
            ensure!(users.contains(known), "{known} has not tried: {users:?}");
        }
        let wrong: Vec<&str> = said.lines().filter(|line| !line.ends_with(" 1")).collect();
        ensure!(wrong.is_empty(), "not refused at once: {wrong:?}");
        ensure!(outside.visits() == 0 && inside.visits() == 0, "somebody got through");
        ensure!(outside.is_silent(), "a datagram got through");
        self.are_named(&users)?;
        self.reach(&[
            // The proxy goes where the sites may go, and only the agent to the metadata.
            ("proxy", &format!("{NEIGHBOUR}/443"), true),
            ("proxy", &format!("{NEIGHBOUR6}/443"), true),
            ("root", &format!("{NEIGHBOUR}/443"), false),
            ("root", &format!("{METADATA}/80"), true),
            ("proxy", &format!("{METADATA}/80"), false),
            ("www-data", "127.0.0.1/25", false),
            ("proxy", "127.0.0.1/443", true),
            ("root", "127.0.0.1/443", true),
            ("root", "127.77.0.1/3128", false),
            ("site001-php", "127.0.0.1/443", false),
            ("site001-php", "127.77.0.1/3128", true),
            ("site001-php", "127.77.0.2/3128", false),
        ])?;
        ensure!(outside.visits() == 3, "{} connections came instead of three", outside.visits());
        say(&format!("firewall: {} attempts of {} users to get out", said.lines().count(), users.len()));
        Ok(())
    }

    fn reach(&self, cases: &[(&str, &str, bool)]) -> Result<()> {
        for (user, to, wanted) in cases {
            let tried = format!(
                "setpriv --reuid={user} --regid=$(id -g {user}) --clear-groups timeout 2 bash -c 'exec 3<>/dev/tcp/{to}' 2>/dev/null; echo $?"
            );
            let status = shell(self.container, &tried)?;
            let wanted = if *wanted { "0" } else { "1" };
            ensure!(status.trim() == wanted, "{user} to {to}: {} instead of {wanted}", status.trim());
        }
        Ok(())
    }

    /// The journal tells who was refused; of a site, which one.
    fn are_named(&self, users: &BTreeSet<&str>) -> Result<()> {
        let journal = shell(self.container, "sleep 1; journalctl --unit=ulogd2.service --output=cat --no-pager")?;
        for user in users {
            let told = match *user {
                "site001" | "site001-php" => format!("egress refused site={SITE} "),
                name => format!("fw {name} REJECT "),
            };
            ensure!(journal.contains(&told), "the journal does not say `{told}`");
        }
        Ok(())
    }

    /// One address gets its share of connections and no more, and slow requests on all of them keep nobody else waiting.
    fn shares_connections(&self) -> Result<()> {
        let held = self.host.neighbour.run(|| Ok(hold_connections(2 * CONNECTIONS)))?;
        say(&format!("firewall: of {} connections {} are let in", 2 * CONNECTIONS, held.len()));
        ensure!(held.len() == CONNECTIONS, "one address holds {} connections", held.len());
        let started = Instant::now();
        let statuses = self.page_with_parts()?;
        ensure!(statuses.iter().all(|status| status == "200"), "a page with {PARTS} parts answers {statuses:?}");
        ensure!(started.elapsed() < Duration::from_secs(10), "a page took {:?}", started.elapsed());
        drop(held);
        Ok(())
    }

    /// As a browser fetches them: six at a time over HTTP/1.1.
    fn page_with_parts(&self) -> Result<Vec<String>> {
        let parts = format!("/wp-includes/css/dashicons.min.css?part=[1-{PARTS}]");
        let further = ["--interface", &VISITOR.to_string(), "--parallel", "--parallel-max", "6"];
        let answer = self.client.https_statuses(SITE, &parts, &further)?;
        ensure!(answer.len() == PARTS, "{} answers came", answer.len());
        Ok(answer)
    }

    /// Rules of one family that do not load leave the host closed, to administrators too; repaired, it opens.
    fn stays_closed_without_rules(&self) -> Result<()> {
        let broken = "/usr/lib/casemate/shorewall6-lite/firewall";
        let restarted = shell(
            self.container,
            &format!("mount --bind /usr/bin/false {broken}; systemctl restart casemate-firewall.service; echo $?"),
        )?;
        ensure!(restarted.trim() == "1", "rules that do not load are no failure: {restarted}");
        for source in [IpAddr::V4(NEIGHBOUR), NEIGHBOUR6.into()] {
            let target = if source.is_ipv4() { ADDRESS.into() } else { ADDRESS6.into() };
            let reached = self.host.neighbour.run(|| Ok(connect(source, target, 443).is_some()))?;
            ensure!(!reached, "without rules {source} reaches the host");
        }
        let asked = shell(self.container, "/usr/lib/casemate/firewall-check; echo $?")?;
        ensure!(asked.trim() != "0", "without rules the health gate finds nothing amiss");
        shell(self.container, &format!("umount {broken} && systemctl restart casemate-firewall.service"))?;
        let front = self.client.https_unverified(SITE, "/")?;
        ensure!(front.status == 200, "with its rules again, the host answers {}", front.head);
        Ok(())
    }
}

/// Half requests of one address, as many as are let in; those that are not are silent.
fn hold_connections(count: usize) -> Vec<TcpStream> {
    std::thread::scope(|scope| {
        // In the namespace of the thread that starts them.
        let tries: Vec<_> = (0..count).map(|_| scope.spawn(|| connect(GREEDY.into(), ADDRESS.into(), 443))).collect();
        let streams = tries.into_iter().filter_map(|attempt| attempt.join().ok().flatten());
        streams
            .map(|mut stream| {
                let _ = stream.write_all(&[0x16, 0x03]);
                stream
            })
            .collect()
    })
}

/// A connection from this address, if there is one within a second.
fn connect(source: IpAddr, target: IpAddr, port: u16) -> Option<TcpStream> {
    knock::from(source, SocketAddr::new(target, port), Duration::from_secs(1)).ok()
}

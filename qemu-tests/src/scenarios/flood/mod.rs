//! Whoever asks for too much in too short a time is refused and then away; a reader who reloads is not, and nobody else waits.
//!
//! Floods are bounded: some hundred requests each, by one curl that ends when it is cut off.

mod slow;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::{Network, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};
use vm::Container;
use vm::guest::Client;

use crate::artifacts::{Artifacts, say};
use crate::container_host::{ADDRESS, ADDRESS6, ContainerHost, NEIGHBOUR, shell};
use crate::operator::{Facts, Operator};

const SITE: &str = "www.example.org";
const MACHINE_ID: &str = "f100df100df100df100df100df100df1";
/// A page that is kept, so often that the measure for all requests of an address is not reached.
const ONE_PAGE: &str = "/#[1-1200]";
/// As many pages of which none is kept, each with a path of its own.
const SEARCHES: &str = "/[1-600]/?s=flood";
/// Somebody who floods is cut off before this.
const SOON: Duration = Duration::from_secs(60);
/// What another visitor waits for a page meanwhile, in seconds, at most.
const AT_MOST: f64 = 1.0;
/// How long a wait for an answer shows that there is none, in seconds.
const SILENCE: &str = "3";
/// Processes of the server at rest (`StartServers`, and fewer idle threads than `MaxSpareThreads`).
const AT_REST: usize = 2;
/// The server ends one process a second that it needs no longer.
const REST: Duration = Duration::from_secs(30);
/// Files of a page, and how often it is loaded in a row.
const FILES: usize = 40;
const LOADS: usize = 10;
const VISITOR: IpAddr = v4(80);

/// How somebody asks.
const ONE_CONNECTION: &[&str] = &["--http2", "--parallel"];
const SIX_CONNECTIONS: &[&str] = &["--http1.1", "--parallel", "--parallel-immediate", "--parallel-max", "6"];
const MANY_CONNECTIONS: &[&str] = &["--http1.1", "--parallel", "--parallel-immediate", "--parallel-max", "40"];

/// Who reads, how, and over how many connections: six at a time are more when the server ends some.
const READERS: [(IpAddr, &[&str], RangeInclusive<usize>); 2] =
    [(v4(81), ONE_CONNECTION, 1..=1), (v4(82), SIX_CONNECTIONS, 6..=100)];

/// Somebody who asks for too much.
struct Flood {
    address: IpAddr,
    what: &'static str,
    paths: &'static str,
    how: &'static [&'static str],
}

const FLOODS: [Flood; 3] = [
    Flood { address: v4(90), what: "asks for one page", paths: ONE_PAGE, how: MANY_CONNECTIONS },
    Flood {
        address: IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0x90, 0, 0, 0, 0x90)),
        what: "asks for one page over HTTP/2 and IPv6",
        paths: ONE_PAGE,
        how: ONE_CONNECTION,
    },
    Flood { address: v4(91), what: "searches", paths: SEARCHES, how: MANY_CONNECTIONS },
];
const OF_AN_ADMINISTRATOR: Flood =
    Flood { address: IpAddr::V4(NEIGHBOUR), what: "administers", paths: ONE_PAGE, how: ONE_CONNECTION };

const fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 2, last))
}

impl Flood {
    fn is_limited(&self, outcome: &Outcome) -> Result<()> {
        let Outcome { served, refused, .. } = *outcome;
        ensure!(refused > served, "who {} is served {served} times and refused {refused} times", self.what);
        Ok(())
    }
}

/// What became of many requests.
struct Outcome {
    /// Those that were served, whatever they were told.
    served: usize,
    /// Those that were told that they are too many.
    refused: usize,
    connections: usize,
}

/// Where requests come from: the other end of the wire.
struct Street<'a> {
    tree: &'a Path,
    network: Network,
}

struct Town<'a> {
    container: &'a Container,
    client: &'a Client,
    street: Street<'a>,
}

pub(crate) fn is_limited_and_its_sender_banned(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let facts = Facts { hostname: "flood.example.org", serial: 1, wordpress: Some("Floods") };
    // The administrators are one address here: others on the same wire are strangers.
    let document = fs::read_to_string(operator.document(dir, &facts)?)?.replace("10.0.2.0/24", "10.0.2.2/32");
    let mut host = ContainerHost::new(artifacts, dir, &document, MACHINE_ID)?;
    let readers = READERS.iter().map(|(address, ..)| *address);
    for address in FLOODS.iter().map(|flood| flood.address).chain(readers).chain([VISITOR]).chain(slow::ADDRESSES) {
        host.add_neighbour(address)?;
    }
    let network = Network::Namespace(host.neighbour.path());
    let client = host.client();
    let (container, _, _) = host.boot()?;
    let town = Town { container: &container, client: &client, street: Street { tree: artifacts.run_tree(), network } };

    town.place_files()?;
    town.serves_beside_the_slow(&host.neighbour)?;
    town.comes_to_rest()?;
    for (address, how, connections) in &READERS {
        town.lets_reload(*address, how, connections)?;
    }
    for flood in &FLOODS {
        town.stops(flood)?;
    }
    town.limits_administrators()?;
    let (status, _) = town.visits()?;
    ensure!(status == "200", "after all of them a visitor hears {status}");
    Ok(())
}

impl Street<'_> {
    /// Many requests of one address; curl ends when one of them is not answered.
    fn ask(&self, from: IpAddr, paths: &[&str], how: &[&str]) -> Result<Outcome> {
        let to = if from.is_ipv6() { format!("[{ADDRESS6}]") } else { ADDRESS.to_string() };
        let mut tool = Tool::new("curl")
            .args(["--silent", "--insecure", "--fail-early", "--max-time", "8", "--interface", &from.to_string()])
            .args(["--connect-to", &format!("{SITE}:443:{to}:443")])
            .args(["--write-out", "%{http_code} %{num_connects}\\n"])
            .args(how)
            .accept(&(0..=255).collect::<Vec<i32>>());
        for path in paths {
            tool = tool.args(["--output", "/dev/null", &format!("https://{SITE}{path}")]);
        }
        let output = SandboxRunner::new(Sandbox::new(self.tree).network(self.network.clone())).run(&tool).remedied()?;
        let mut outcome = Outcome { served: 0, refused: 0, connections: 0 };
        for line in output.stdout_text().lines() {
            let (status, connects) = line.split_once(' ').with_context(|| format!("curl says `{line}`"))?;
            outcome.connections += connects.parse::<usize>()?;
            match status {
                "000" => {}
                "429" => outcome.refused += 1,
                _ => outcome.served += 1,
            }
        }
        Ok(outcome)
    }
}

impl Town<'_> {
    /// What the page that is reloaded consists of.
    fn place_files(&self) -> Result<()> {
        let uploads = "/var/lib/casemate/sites/site001/htdocs/wp-content/uploads";
        let script = format!(
            "for file in $(seq {FILES}); do echo 'p {{ color: green }}' > {uploads}/$file.css; done; chown --reference={uploads} {uploads}/*.css"
        );
        shell(self.container, &script)?;
        let front = self.client.https_unverified(SITE, "/")?;
        ensure!(front.status == 200, "the page answers {}", front.head);
        Ok(())
    }

    /// Waits until the server has no more processes than it needs: it ends one after the other, and tells who is connected to such a process
    /// to connect anew.
    fn comes_to_rest(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let processes = shell(self.container, "pgrep -c -P $(systemctl show -P MainPID apache2) apache2")?;
            let processes: usize = processes.trim().parse()?;
            ensure!(processes > 0, "the server has no processes");
            if processes <= AT_REST {
                say(&format!("flood: the server is at rest after {:.1} s", started.elapsed().as_secs_f64()));
                return Ok(());
            }
            ensure!(started.elapsed() < REST, "the server still has {processes} processes {REST:?} after who was slow");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Somebody reads a page with many files, and reloads it as fast as the host answers.
    fn lets_reload(&self, from: IpAddr, how: &[&str], connections: &RangeInclusive<usize>) -> Result<()> {
        let started = Instant::now();
        let page = format!("/#[1-{LOADS}]");
        let files = format!("/wp-content/uploads/[1-{FILES}].css#[1-{LOADS}]");
        let all = self.street.ask(from, &[&page, &files], how)?;
        say(&format!(
            "flood: a page with {FILES} files, {LOADS} times over {} connections, takes {:.1} s",
            all.connections,
            started.elapsed().as_secs_f64()
        ));
        ensure!(connections.contains(&all.connections), "{} connections, not {connections:?}", all.connections);
        let wanted = LOADS * (FILES + 1);
        ensure!(all.served == wanted, "of {wanted} requests {} are served, {} refused", all.served, all.refused);
        ensure!(!self.jail()?.contains(&from.to_string()), "a reader is banned");
        Ok(())
    }

    /// The status and the seconds of a visitor's page.
    fn visits(&self) -> Result<(String, f64)> {
        let further = ["--interface", &VISITOR.to_string(), "--write-out", "%{http_code} %{time_total}\\n"];
        let said = self.client.https_statuses(SITE, "/", &further)?.join("");
        let (status, seconds) = said.split_once(' ').with_context(|| format!("curl says `{said}`"))?;
        Ok((status.to_owned(), seconds.parse()?))
    }

    /// A flood is answered with refusals, its sender is away soon, and meanwhile somebody else is served.
    fn stops(&self, flood: &Flood) -> Result<()> {
        let started = Instant::now();
        let street = &self.street;
        let attack = || street.ask(flood.address, &[flood.paths], flood.how);
        let (outcome, longest) = self.beside_a_visitor(flood.what, attack)?;
        flood.is_limited(&outcome)?;
        ensure!(longest <= AT_MOST, "while somebody {} a visitor waits for {longest:.2} s", flood.what);
        while !self.jail()?.contains(&flood.address.to_string()) {
            ensure!(started.elapsed() < SOON, "who {} is not banned", flood.what);
            std::thread::sleep(Duration::from_millis(500));
        }
        let seconds = started.elapsed().as_secs_f64();
        let after = self.street.ask(flood.address, &["/"], &["--max-time", SILENCE])?;
        ensure!(after.served + after.refused == 0, "who {} is banned and still served", flood.what);
        say(&format!(
            "flood: who {} is served {} times, refused {} times, banned after {seconds:.0} s; a visitor waits for {longest:.2} s at most",
            flood.what, outcome.served, outcome.refused
        ));
        Ok(())
    }

    /// What became of an attack, and the longest that a visitor waited while it lasted.
    fn beside_a_visitor<T: Send>(&self, what: &str, attack: impl FnOnce() -> Result<T> + Send) -> Result<(T, f64)> {
        std::thread::scope(|scope| {
            let attack = scope.spawn(attack);
            let mut longest = 0.0_f64;
            while !attack.is_finished() {
                let (status, seconds) = self.visits()?;
                ensure!(status == "200", "while somebody {what} a visitor hears {status}");
                longest = longest.max(seconds);
                std::thread::sleep(Duration::from_millis(200));
            }
            let outcome = attack.join().map_err(|_| anyhow::anyhow!("the attack ended in a panic"))??;
            Ok((outcome, longest))
        })
    }

    fn limits_administrators(&self) -> Result<()> {
        let flood = &OF_AN_ADMINISTRATOR;
        let outcome = self.street.ask(flood.address, &[flood.paths], flood.how)?;
        flood.is_limited(&outcome)?;
        // Longer than a refusal lasts; a ban would have come by then.
        std::thread::sleep(Duration::from_secs(12));
        let after = self.street.ask(flood.address, &["/"], &[])?;
        ensure!(after.served == 1, "an administrator who has asked for too much is still away");
        ensure!(!self.jail()?.contains(&NEIGHBOUR.to_string()), "an administrator is banned");
        Ok(())
    }

    fn jail(&self) -> Result<String> {
        shell(self.container, "fail2ban-client status flood | sed -n 's/.*Banned IP list://p'")
    }
}

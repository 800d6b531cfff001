//! What a scanner sees of a host: nmap in the network of its neighbour, with any of the neighbour's addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use tools::{Network, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};
use vm::NetworkNamespace;

use crate::artifacts::Artifacts;

/// One scan.
pub(crate) struct Scan<'a> {
    pub(crate) artifacts: &'a Artifacts,
    pub(crate) from: &'a NetworkNamespace,
    /// The interface and the address that the packets leave by.
    pub(crate) wire: &'a str,
    pub(crate) source: IpAddr,
    pub(crate) target: IpAddr,
}

/// All TCP ports; the wire loses nothing, so each is asked twice at most.
const ALL_TCP: &[&str] = &["-sS", "-p-", "--min-rate", "6000", "--max-retries", "1"];
/// The UDP ports that most often answer.
const TOP_UDP: &[&str] = &["-sU", "--top-ports", "100", "--min-rate", "500", "--max-retries", "1"];

impl Scan<'_> {
    /// Open TCP ports.
    pub(crate) fn tcp(&self) -> Result<BTreeSet<u16>> {
        self.open(ALL_TCP)
    }

    /// Open ports among the usual of UDP.
    pub(crate) fn udp(&self) -> Result<BTreeSet<u16>> {
        self.open(TOP_UDP)
    }

    /// Which of these TCP ports answer in any way while the host starts, or nothing where there is nobody yet. Slow enough to leave the host
    /// the time that it needs for starting.
    pub(crate) fn answering_tcp(&self, ports: &str) -> Result<Option<BTreeSet<u16>>> {
        let rate = ["--min-rate", "800", "--max-rate", "800", "--max-retries", "0"];
        let said = self.said(&[&["-sS", "-p", ports], &rate[..]].concat())?;
        if said.contains("0 hosts up") {
            return Ok(None);
        }
        ensure!(said.contains("Ignored State: filtered"), "most ports answer:\n{said}");
        let states = ["open", "closed", "unfiltered"].map(|state| ports_that_are(state, &said));
        let all = states.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(Some(all.into_iter().flatten().collect()))
    }

    /// Which of these TCP ports answer a packet of a connection that nobody knows.
    pub(crate) fn ending(&self, ports: &str) -> Result<BTreeSet<u16>> {
        ports_that_are("unfiltered", &self.run(&["-sA", "-p", ports])?)
    }

    fn open(&self, what: &[&str]) -> Result<BTreeSet<u16>> {
        let said = self.run(what)?;
        ensure!(!said.contains("closed"), "a port is not open and yet answers:\n{said}");
        ports_that_are("open", &said)
    }

    fn run(&self, what: &[&str]) -> Result<String> {
        let said = self.said(what)?;
        ensure!(said.contains("1 host up"), "nmap did not scan:\n{said}");
        Ok(said)
    }

    fn said(&self, what: &[&str]) -> Result<String> {
        let tree = self.artifacts.attack_tree()?;
        let sandbox = Sandbox::new(tree).network(Network::Namespace(self.from.path()));
        // It takes the host for up without asking, asks no name server, and waits for one that is busy with other tests.
        let tool = Tool::new("nmap")
            .args(["-n", "-Pn", "-T4", "--min-rtt-timeout", "1s"])
            .args(["-oG", "-", "-e", self.wire, "-S", &self.source.to_string()])
            .args(if self.target.is_ipv6() { &["-6"][..] } else { &[] })
            .args(what)
            .arg(self.target.to_string())
            // The tree is not configured: no alternative stands for a library of linear algebra.
            .env("LD_LIBRARY_PATH", "/usr/lib/x86_64-linux-gnu/blas:/usr/lib/x86_64-linux-gnu/lapack");
        Ok(SandboxRunner::new(sandbox).run(&tool).remedied()?.stdout_text())
    }
}

/// Of nmap's greppable output: `Ports: 22/open/tcp//ssh///, 80/open/tcp//http///`.
fn ports_that_are(state: &str, said: &str) -> Result<BTreeSet<u16>> {
    let fields = said.lines().filter_map(|line| line.split("Ports: ").nth(1)).flat_map(|ports| ports.split(", "));
    let state = format!("/{state}/");
    let numbers = fields.filter_map(|port| port.trim().split_once(&state)).map(|(number, _)| number);
    numbers.map(|number| number.parse().with_context(|| format!("nmap names port `{number}`"))).collect()
}

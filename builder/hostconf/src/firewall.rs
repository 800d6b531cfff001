//! The rules of the firewall, from `[[listen]]`, `[[egress]]`, `[[local]]` and the probes of `[[health]]`: a file for Shorewall's compiler.
//!
//! They name no host: management networks and trusted proxies are sets that the host fills. Accounts are numbers, because the compiler runs where the image's
//! accounts are not known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use thiserror::Error;

use crate::accounts::SiteAccount;
use crate::names::AccountName;
use crate::overlay::{Egress, Listen, Local, LocalUser};
use crate::overlay_rows::{EgressZone, PortZone, Protocol};
use crate::overlay_set::OverlaySet;
use crate::probe::ProbeKind;

/// Where refused packets are told: the group that ulogd reads.
const LOG: &str = "NFLOG(77)";
/// New connections from one address: so many a second, and so many at once before that counts. A page with forty parts opens six, or one.
const RATE: &str = "25/sec:200";
/// Buckets and entries of the table that counts them: what forged addresses fill before others are dropped (30 MiB).
const TABLE: &str = "(16384,262144)";
/// Open connections of one address, or of one network of 64 bits.
const CONNECTIONS: u16 = 100;

/// What trusted proxies ask for: pages.
const WEB: [u16; 2] = [80, 443];

/// A family of addresses; each has its own rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The set of the management networks, as a place of Shorewall's.
    fn management(self) -> &'static str {
        match self {
            Self::V4 => "net:+casemate-admin4",
            Self::V6 => "net:+casemate-admin6",
        }
    }

    /// The set of the trusted proxies.
    fn proxies(self) -> &'static str {
        match self {
            Self::V4 => "net:+casemate-proxy4",
            Self::V6 => "net:+casemate-proxy6",
        }
    }

    /// Where clouds hand out credentials: most of them, Alibaba's, Azure's; AWS's, Google's, Oracle's.
    fn metadata(self) -> &'static str {
        match self {
            Self::V4 => "net:169.254.169.254,100.100.100.200,168.63.129.16",
            Self::V6 => "net:[fd00:ec2::254],[fd20:ce::254],[fd00:c1::a9fe:a9fe]",
        }
    }

    /// What the host needs to get an address and neighbours: answers to its DHCP client, which begin nothing that is known, and for IPv6
    /// the messages of neighbour discovery, which the network's manager sends too (RFC 4861, RFC 8415: servers answer from any port).
    fn plumbing(self) -> &'static [&'static str] {
        match self {
            Self::V4 => &["ACCEPT net fw udp 68 67"],
            Self::V6 => &["ACCEPT net:[fe80::/10] fw udp 546", "AllowICMPs(ACCEPT) fw net ipv6-icmp"],
        }
    }

    /// Protocol and type of an echo request.
    fn echo(self) -> &'static str {
        match self {
            Self::V4 => "icmp 8",
            Self::V6 => "ipv6-icmp 128",
        }
    }

    /// Whose connections are counted together, of how many bits.
    fn counted_bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 64,
        }
    }
}

/// A rule names somebody who has no account.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`[[egress]]` or `[[local]]` names `{0}`, which is no account of the image")]
pub struct UnknownAccount(AccountName);

/// The text of `rules` (shorewall-rules(5)). `users` are all accounts of the image with their numbers, but those of sites.
///
/// # Errors
/// Somebody is named who is not among `users`.
pub fn firewall_rules(
    overlays: &OverlaySet,
    users: &BTreeMap<String, u32>,
    family: Family,
) -> Result<String, UnknownAccount> {
    let mut rules = Rules { text: String::new(), family };
    rules
        .text
        .push_str("# Derived from [[listen]], [[egress]], [[local]] and [[health]] of the overlays.\n?SECTION NEW\n");
    family.plumbing().iter().for_each(|rule| rules.add(rule));
    rules.add(&format!("ACCEPT net fw {} - - s:ping:5/sec:20", family.echo()));
    overlays.iter().flat_map(|overlay| &overlay.def.listen).for_each(|row| rules.listen(row));
    let number = |name: &AccountName| users.get(name.as_str()).copied().ok_or_else(|| UnknownAccount(name.clone()));
    let egress: Vec<&Egress> = overlays.iter().flat_map(|overlay| &overlay.def.egress).collect();
    // What is for everybody else ends at the metadata; names, time and addresses come from there as well.
    let (metadata, further): (Vec<_>, Vec<_>) = egress.into_iter().partition(|row| row.zone == EgressZone::Metadata);
    for row in metadata {
        rules.egress(row, number(&row.user)?);
    }
    rules.add(&format!("REJECT:{LOG}:metadata fw {} tcp 80,443", family.metadata()));
    for row in further {
        rules.egress(row, number(&row.user)?);
    }
    for row in overlays.iter().flat_map(|overlay| &overlay.def.local) {
        rules.local(row, number)?;
    }
    for port in probed(overlays) {
        rules.add(&format!("ACCEPT fw loop tcp {port} - - - 0"));
    }
    // Last: whoever is left is told at once, and named.
    for (name, uid) in users {
        rules.add(&format!("REJECT:{LOG}:{name} fw all - - - - - {uid}"));
    }
    rules.add(&format!("REJECT:{LOG}:sites fw all - - - - - {}", sites()));
    Ok(rules.text)
}

struct Rules {
    text: String,
    family: Family,
}

impl Rules {
    fn add(&mut self, rule: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{rule}");
    }

    fn listen(&mut self, row: &Listen) {
        let Listen { port, protocol, .. } = row;
        match (row.zone, protocol) {
            (PortZone::Management, _) => {
                let from = self.family.management();
                if *protocol == Protocol::Tcp {
                    self.end_forgotten(from, *port);
                }
                self.add(&format!("ACCEPT {from} fw {protocol} {port}"));
            }
            (PortZone::World, Protocol::Udp) => self.add(&format!("ACCEPT net fw udp {port}")),
            (PortZone::World, Protocol::Tcp) => {
                self.end_forgotten("net", *port);
                // Nobody keeps administrators out by asking in their name.
                self.add(&format!("ACCEPT {} fw tcp {port}", self.family.management()));
                if WEB.contains(port) {
                    // One address that stands for many visitors.
                    self.add(&format!("ACCEPT {} fw tcp {port}", self.family.proxies()));
                }
                let bits = self.family.counted_bits();
                let counted = format!("s/{bits}:p{port}{TABLE}:{RATE}");
                self.add(&format!("ACCEPT net fw tcp {port} - - {counted} - - {CONNECTIONS}:{bits}"));
                self.add(&format!("DROP:{LOG}:flood net fw tcp {port}"));
            }
        }
    }

    /// Nothing begins in the middle of a connection. Who speaks of one that this host has forgotten, since it was started anew, hears that it has
    /// ended: in silence he would wait for a quarter of an hour.
    fn end_forgotten(&mut self, from: &str, port: u16) {
        self.add(&format!("NotSyn(REJECT) {from} fw tcp {port}"));
    }

    fn egress(&mut self, row: &Egress, uid: u32) {
        let to = match row.zone {
            EgressZone::Management => self.family.management(),
            EgressZone::World => "net",
            EgressZone::Metadata => self.family.metadata(),
        };
        self.add(&format!("ACCEPT fw {to} {} {} - - - {uid}", row.protocol, row.port));
    }

    fn local(
        &mut self,
        row: &Local,
        number: impl Fn(&AccountName) -> Result<u32, UnknownAccount>,
    ) -> Result<(), UnknownAccount> {
        let who = match &row.user {
            LocalUser::Sites => sites(),
            LocalUser::Account(name) => number(name)?.to_string(),
        };
        self.add(&format!("ACCEPT fw loop {} {} - - - {who}", row.protocol, row.port));
        Ok(())
    }
}

/// The numbers of all users of sites.
fn sites() -> String {
    let (first, last) = SiteAccount::all_uids();
    format!("{first}-{last}")
}

/// The ports that the health gate tries, as root.
fn probed(overlays: &OverlaySet) -> BTreeSet<u16> {
    let probes = overlays.iter().flat_map(|overlay| &overlay.def.health).map(|row| &row.probe);
    probes
        .filter_map(|probe| match probe {
            ProbeKind::Ssh { port } | ProbeKind::Smtp { port } | ProbeKind::Tcp { port } => Some(*port),
            ProbeKind::Https { .. } => Some(443),
            ProbeKind::Unix { .. } | ProbeKind::Exec { .. } => None,
        })
        .collect()
}

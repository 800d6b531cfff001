//! A scanner that looks at a machine all through its start: what answers before the host is ready answers to everybody.
//!
//! The machine gets its address from QEMU's own network stack, as in other scenarios; the scanner is on the same wire.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use vm::{Network, NetworkNamespace};

use crate::artifacts::{Artifacts, say};
use crate::nmap::Scan;
use crate::scan::HOST;

const WIRE: &str = "watch0";
/// What QEMU's network stack gives its first guest.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SCANNER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);
const SCANNER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);

/// A wire with a scanner at its other end.
pub(crate) struct Watch<'a> {
    artifacts: &'a Artifacts,
    pub(crate) namespace: NetworkNamespace,
    /// TCP ports that may answer.
    table: BTreeSet<u16>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(artifacts: &'a Artifacts, table: &[u16]) -> Result<Self> {
        let namespace = NetworkNamespace::new().context("cannot make a network for the scanner")?;
        Ok(Self { artifacts, namespace, table: table.iter().copied().collect() })
    }

    /// The machine's end of the wire; QEMU makes ours when it starts.
    pub(crate) fn network(&self) -> Network {
        Network::Shared { tap: WIRE.to_owned(), namespace: self.namespace.path() }
    }

    /// Starts a machine and scans it until it is healthy, both families in turn; no scan may find more than the table.
    pub(crate) fn during<T>(&self, boot: impl FnOnce() -> Result<T>) -> Result<T> {
        let over = AtomicBool::new(false);
        let (booted, scans) = thread::scope(|scope| {
            let scans = scope.spawn(|| self.scan_until(&over));
            let booted = boot();
            over.store(true, Ordering::Relaxed);
            (booted, scans.join())
        });
        let booted = booted?;
        let scans = scans.map_err(|_| anyhow::anyhow!("the scanner panicked"))??;
        ensure!(scans.iter().all(|count| *count > 0), "the host was healthy before it was scanned: {scans:?} scans");
        say(&format!("watch: {} scans of IPv4 and {} of IPv6 while the host started", scans[0], scans[1]));
        Ok(booted)
    }

    /// At rest: the table, no more and no less, and nothing over UDP.
    pub(crate) fn sees_the_table(&self) -> Result<()> {
        for scan in self.scans() {
            let open = scan.tcp()?;
            ensure!(open == self.table, "other ports of {} are open: {open:?}", scan.target);
            let open = scan.udp()?;
            ensure!(open.is_empty(), "UDP ports of {} are open: {open:?}", scan.target);
        }
        Ok(())
    }

    /// How many scans of each family came to their end before the start did.
    fn scan_until(&self, over: &AtomicBool) -> Result<[usize; 2]> {
        let mut counts = [0; 2];
        self.plug_in(over)?;
        while !over.load(Ordering::Relaxed) {
            for (count, scan) in counts.iter_mut().zip(self.scans()) {
                let Some(answering) = scan.answering_tcp()? else { continue };
                let more: Vec<_> = answering.difference(&self.table).collect();
                ensure!(more.is_empty(), "while it starts, {} answers at {more:?}", scan.target);
                *count += usize::from(!over.load(Ordering::Relaxed));
            }
        }
        Ok(counts)
    }

    /// Our end of the wire is there when QEMU has made it.
    fn plug_in(&self, over: &AtomicBool) -> Result<()> {
        let up = || self.namespace.run(|| tools::netlink::link_up(tools::netlink::link_index(WIRE)?));
        while up().is_err() && !over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        for address in [IpAddr::V4(SCANNER), SCANNER6.into()] {
            self.namespace.add_address(WIRE, address).with_context(|| format!("the scanner cannot be {address}"))?;
        }
        Ok(())
    }

    fn scans(&self) -> [Scan<'_>; 2] {
        let pairs: [(IpAddr, IpAddr); 2] = [(SCANNER.into(), ADDRESS.into()), (SCANNER6.into(), HOST.into())];
        pairs.map(|(source, target)| Scan {
            artifacts: self.artifacts,
            from: &self.namespace,
            wire: WIRE,
            source,
            target,
        })
    }
}

//! A scanner that looks at a machine all through its start: what answers before the host is ready answers to everybody.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::artifacts::{Artifacts, say};
use crate::nmap::Scan;
use crate::wire::{ADDRESS, ADDRESS6, NEIGHBOUR, NEIGHBOUR6, WIRE, Wire};

/// All ports, in parts that a scan of a host that starts is soon done with.
const PARTS: [&str; 8] =
    ["1-8191", "8192-16383", "16384-24575", "24576-32767", "32768-40959", "40960-49151", "49152-57343", "57344-65535"];
/// A wire with a scanner at its other end.
pub(crate) struct Watch<'a> {
    artifacts: &'a Artifacts,
    pub(crate) wire: Wire,
    /// TCP ports that may answer an administrator, and a stranger.
    tables: [BTreeSet<u16>; 2],
}

impl<'a> Watch<'a> {
    pub(crate) fn new(artifacts: &'a Artifacts, administrators: &[u16], strangers: &[u16]) -> Result<Self> {
        let wire = Wire::new()?;
        let tables = [administrators, strangers].map(|table| table.iter().copied().collect());
        Ok(Self { artifacts, wire, tables })
    }

    /// Starts a machine and scans it until it is healthy, both families in turn; no scan may find more than its table.
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
        let [v4, v6] = scans;
        say(&format!(
            "watch: {v4} scans of IPv4 and {v6} of IPv6 while the host started, of an eighth of the ports each"
        ));
        Ok(booted)
    }

    /// At rest: the tables, no more and no less, and nothing over UDP.
    pub(crate) fn sees_the_tables(&self) -> Result<()> {
        for (scan, table) in self.scans() {
            let open = scan.tcp()?;
            ensure!(open == *table, "to {} other ports of {} are open: {open:?}", scan.source, scan.target);
            let open = scan.udp()?;
            ensure!(open.is_empty(), "UDP ports of {} are open: {open:?}", scan.target);
        }
        Ok(())
    }

    /// How many scans of each family met a host that was not yet healthy.
    fn scan_until(&self, over: &AtomicBool) -> Result<[usize; 2]> {
        let mut counts = [0; 2];
        self.plug_in(over)?;
        while !over.load(Ordering::Relaxed) {
            for (count, (scan, table)) in counts.iter_mut().zip(self.scans()) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let part = PARTS.get(*count % PARTS.len()).copied().unwrap_or_default();
                let Some(answering) = scan.answering_tcp(part)? else { continue };
                let more: Vec<_> = answering.difference(table).collect();
                ensure!(more.is_empty(), "while it starts, {} answers {} at {more:?}", scan.target, scan.source);
                *count += 1;
            }
        }
        Ok(counts)
    }

    /// Our end of the wire is there when QEMU has made it.
    fn plug_in(&self, over: &AtomicBool) -> Result<()> {
        while !self.wire.is_up() && !over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        self.wire.plug_in()
    }

    fn scans(&self) -> [(Scan<'_>, &BTreeSet<u16>); 2] {
        let pairs: [(IpAddr, IpAddr); 2] = [(NEIGHBOUR.into(), ADDRESS.into()), (NEIGHBOUR6.into(), ADDRESS6.into())];
        let [first, second] = pairs.map(|(source, target)| Scan {
            artifacts: self.artifacts,
            from: &self.wire.namespace,
            wire: WIRE,
            source,
            target,
        });
        [(first, &self.tables[0]), (second, &self.tables[1])]
    }
}

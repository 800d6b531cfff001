//! When a version is taken without anybody asking.
//!
//! A fleet that takes a version at one moment fails at one moment. So each host waits for a part of the spread that follows from its machine id: other
//! hosts are first with the next version.

use bundle::Clock;
use bundle::Freshness;
use bundle::Sha256Digest;

use super::look::Offer;
use super::look::Standing;
use super::settings::Source;

/// What a host does now about a version that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Nothing: it runs, is older, or is bad.
    Nothing,
    /// Nothing by itself: the document has no window.
    ByHand,
    /// Nothing until a time server has set the clock.
    NoClock,
    /// Nothing yet: others are first. Its turn comes then, in seconds since 1970.
    Later(u64),
    /// Nothing until the window opens.
    Closed,
    /// It is written, and the host restarts.
    Apply,
    /// It lies in the spare slot already, and the host restarts.
    Restart,
}

/// Whose turn it is. `machine` is the machine id.
pub fn turn(offer: &Offer, source: &Source, machine: &str, clock: Clock) -> Turn {
    let step = match offer.standing {
        Standing::New => Turn::Apply,
        Standing::Waits => Turn::Restart,
        Standing::Runs | Standing::Older | Standing::Failed => return Turn::Nothing,
    };
    let Some(window) = source.window else { return Turn::ByHand };
    let (Clock::Synchronised(now), Freshness::Proven, Some(since)) = (clock, offer.freshness, offer.since) else {
        return Turn::NoClock;
    };
    let own = since.saturating_add(share(machine, offer.newest.version.as_str(), source.spread_hours));
    if now < own {
        Turn::Later(own)
    } else if window.is_open(now) {
        step
    } else {
        Turn::Closed
    }
}

/// How long this host waits for others, in seconds: evenly spread, and another time for each version.
fn share(machine: &str, version: &str, spread_hours: u16) -> u64 {
    let digest = Sha256Digest::of(format!("casemate spread\n{machine}\n{version}").as_bytes());
    let text = digest.to_string();
    let number = u32::from_str_radix(text.get(..8).unwrap_or_default(), 16).unwrap_or_default();
    let spread = u64::from(spread_hours) * 3600;
    (u64::from(number) * spread) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_a_fleet_come_one_after_the_other_and_no_host_is_always_last() {
        let times: Vec<u64> = (0..200).map(|host| share(&format!("host {host}"), "0.2.0", 24)).collect();
        assert!(times.iter().all(|time| *time < 24 * 3600));
        for quarter in 0..4 {
            let inside = times.iter().filter(|time| **time / (6 * 3600) == quarter).count();
            assert!((30..=70).contains(&inside), "{inside} of 200 hosts in quarter {quarter}");
        }
        assert_ne!(share("host 1", "0.2.0", 24), share("host 1", "0.3.0", 24));
        assert_eq!(share("host 1", "0.2.0", 0), 0);
    }
}

//! What a host has shown on its console since the power came on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Console, Event};

/// Collected from events, each with the time since power-on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Who it says it is.
    pub hostname: Option<String>,
    /// The serial of its document.
    pub serial: Option<String>,
    /// Host keys, as `ED25519 SHA256:...`.
    pub ssh_keys: BTreeSet<String>,
    /// SHA-256 over the certificate, by the name of its site.
    pub certificates: BTreeMap<String, String>,
    /// When it was personalised.
    pub personalised: Option<Duration>,
    /// When it was healthy.
    pub healthy: Option<Duration>,
    /// Probes that fail.
    pub unhealthy: Vec<String>,
    /// The line with which the kernel gave up.
    pub panic: Option<String>,
}

impl Seen {
    /// What the whole text of a console says; the times mean nothing then.
    pub fn of(console: &str) -> Self {
        let mut seen = Self::default();
        for event in Console::default().read(console) {
            seen.note(&event, Duration::ZERO);
        }
        seen
    }

    /// Takes in an event that came `at` this time after power-on. The first time counts.
    pub fn note(&mut self, event: &Event, at: Duration) {
        match event {
            Event::SshKey(key) => drop(self.ssh_keys.insert(key.clone())),
            Event::Certificate { name, sha256 } => {
                self.certificates.insert(name.clone(), sha256.clone());
            }
            Event::Personalised { hostname, serial } => {
                (self.hostname, self.serial) = (Some(hostname.clone()), Some(serial.clone()));
                self.personalised.get_or_insert(at);
            }
            Event::Healthy => drop(self.healthy.get_or_insert(at)),
            Event::Unhealthy(reason) => self.unhealthy.push(reason.clone()),
            Event::Panic(line) => drop(self.panic.get_or_insert_with(|| line.clone())),
            Event::Waiting(_) | Event::Said(_) => {}
        }
    }

    /// Whether the health gate has decided.
    pub fn is_settled(&self) -> bool {
        self.is_healthy() || !self.unhealthy.is_empty()
    }

    /// A host is healthy that says so after it said who it is.
    pub fn is_healthy(&self) -> bool {
        self.personalised.is_some() && self.healthy.is_some()
    }

    /// What must stay the same from boot to boot.
    pub fn identity(&self) -> (&BTreeSet<String>, &BTreeMap<String, String>, Option<&String>) {
        (&self.ssh_keys, &self.certificates, self.hostname.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lines: &[&str]) -> Seen {
        let mut seen = Seen::default();
        for (second, line) in (1..).zip(lines) {
            seen.note(&Event::parse(line).unwrap(), Duration::from_secs(second));
        }
        seen
    }

    const PERSONALISED: &str = "casemate: personalised as web1.example.org serial 3 certificate none";

    #[test]
    fn times_are_those_of_the_first_lines() {
        let seen = seen(&[
            "casemate: waiting: no host.toml",
            PERSONALISED,
            "casemate: healthy",
            PERSONALISED,
            "casemate: healthy",
        ]);
        assert_eq!((seen.personalised, seen.healthy), (Some(Duration::from_secs(2)), Some(Duration::from_secs(3))));
        assert_eq!((seen.hostname.as_deref(), seen.serial.as_deref()), (Some("web1.example.org"), Some("3")));
        assert!(seen.is_settled() && seen.is_healthy());
    }

    #[test]
    fn a_host_that_never_said_who_it_is_is_not_healthy() {
        let seen = seen(&["casemate: healthy"]);
        assert!(!seen.is_healthy() && !seen.is_settled());
    }

    #[test]
    fn failing_probes_settle_without_health() {
        let seen = seen(&[PERSONALISED, "casemate: unhealthy: web: no answer"]);
        assert!(seen.is_settled() && !seen.is_healthy());
        assert_eq!(seen.unhealthy, ["web: no answer"]);
    }

    #[test]
    fn identity_differs_by_key_certificate_or_name() {
        let lines =
            ["casemate: ssh-key ED25519 SHA256:a", "casemate: certificate www.example.org sha256:00", PERSONALISED];
        let first = seen(&lines);
        assert_eq!(first.identity(), seen(&[lines[2], lines[0], lines[1], "casemate: healthy"]).identity());
        for (place, other) in
            [(0, "casemate: ssh-key ED25519 SHA256:b"), (1, "casemate: certificate www.example.org sha256:01")]
        {
            let mut changed = lines;
            changed[place] = other;
            assert_ne!(first.identity(), seen(&changed).identity());
        }
    }
}

//! What is known of the host, as one value: the screen, `status --json` and `/run/casemate/status.json` are made from it.
//!
//! It never holds a secret: everybody on the host may read it.

use serde::Deserialize;
use serde::Serialize;

/// The host at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// How far the host has come.
    pub phase: Phase,
    /// Name of the image, such as `webhost`.
    pub image: String,
    /// Version of the image.
    pub version: String,
    /// Whether the image was built with throw-away keys.
    pub development: bool,
    /// The host's name from its document.
    pub hostname: Option<String>,
    /// Serial of the document in use.
    pub serial: Option<u64>,
    /// Where the document in use came from.
    pub origin: Option<String>,
    /// Addresses that others can reach.
    pub addresses: Vec<String>,
    /// Fingerprints of the ssh host keys.
    pub ssh_keys: Vec<String>,
    /// The certificates of the sites.
    pub certificates: Vec<Certificate>,
    /// Result of each health check.
    pub health: Vec<CheckResult>,
    /// What keeps the host from working, each with what to do.
    pub problems: Vec<String>,
    /// What the operator should know although the host works.
    pub notices: Vec<String>,
}

/// A certificate that a site shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Name of the site.
    pub name: String,
    /// `sha256:` and 64 hex digits, over the whole certificate.
    pub fingerprint: String,
}

/// How far the host has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// No usable document, or something failed; nothing was started.
    #[default]
    Waiting,
    /// Configured; services are starting.
    Personalised,
    /// Every health check passes.
    Healthy,
    /// Services run, and a health check fails.
    Unhealthy,
}

impl Phase {
    /// The word on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting, no service is started",
            Self::Personalised => "personalised, services are starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "NOT HEALTHY",
        }
    }
}

/// One health check's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Name from the overlay; for sites with the site's name.
    pub name: String,
    /// Why it fails; nothing when it passes.
    pub failure: Option<String>,
}

impl CheckResult {
    /// Whether the check passes.
    pub fn passes(&self) -> bool {
        self.failure.is_none()
    }
}

impl Status {
    /// Lines that tests and log readers wait for. Each can only be printed by the state it names.
    pub fn tokens(&self) -> Vec<String> {
        match self.phase {
            Phase::Waiting => self.problems.iter().map(|problem| format!("casemate: waiting: {problem}")).collect(),
            Phase::Personalised if self.health.is_empty() => self.identity(),
            Phase::Personalised => self.failing().map(|line| format!("casemate: not yet: {line}")).collect(),
            Phase::Healthy => vec!["casemate: healthy".to_owned()],
            Phase::Unhealthy => self.failing().map(|line| format!("casemate: unhealthy: {line}")).collect(),
        }
    }

    /// Whether nothing is known to be wrong.
    pub fn is_well(&self) -> bool {
        matches!(self.phase, Phase::Personalised | Phase::Healthy) && self.problems.is_empty()
    }

    fn identity(&self) -> Vec<String> {
        let keys = self.ssh_keys.iter().map(|key| format!("casemate: ssh-key {key}"));
        let certificates = self
            .certificates
            .iter()
            .map(|Certificate { name, fingerprint }| format!("casemate: certificate {name} {fingerprint}"));
        let personalised = format!(
            "casemate: personalised as {} serial {} certificate {}",
            self.hostname.as_deref().unwrap_or("?"),
            self.serial.unwrap_or_default(),
            self.certificates.first().map_or("none", |certificate| &certificate.fingerprint),
        );
        keys.chain(certificates).chain([personalised]).collect()
    }

    /// The checks that fail, with the reason.
    pub fn failing(&self) -> impl Iterator<Item = String> + '_ {
        self.health.iter().filter_map(|check| {
            let failure = check.failure.as_deref()?;
            Some(format!("{}: {failure}", check.name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_gives_a_line_for_each_reason() {
        let status = Status { problems: vec!["one".into(), "two".into()], ..Status::default() };
        assert_eq!(status.tokens(), ["casemate: waiting: one", "casemate: waiting: two"]);
    }

    #[test]
    fn personalised_names_host_serial_and_certificate() {
        let status = Status {
            phase: Phase::Personalised,
            hostname: Some("web1.example.org".into()),
            serial: Some(3),
            ssh_keys: vec!["ED25519 SHA256:x".into()],
            certificates: vec![Certificate { name: "www.example.org".into(), fingerprint: "sha256:00ff".into() }],
            ..Status::default()
        };
        assert_eq!(
            status.tokens(),
            [
                "casemate: ssh-key ED25519 SHA256:x",
                "casemate: certificate www.example.org sha256:00ff",
                "casemate: personalised as web1.example.org serial 3 certificate sha256:00ff",
            ]
        );
        let without_sites = Status { certificates: vec![], ssh_keys: vec![], ..status };
        assert_eq!(without_sites.tokens(), ["casemate: personalised as web1.example.org serial 3 certificate none"]);
    }

    #[test]
    fn a_late_host_says_what_it_waits_for_and_not_again_who_it_is() {
        let check =
            |name: &str, failure: Option<&str>| CheckResult { name: name.into(), failure: failure.map(str::to_owned) };
        let health = vec![check("network", Some("no address")), check("ssh", None)];
        let status = Status { phase: Phase::Personalised, health, ..Status::default() };
        assert_eq!(status.tokens(), ["casemate: not yet: network: no address"]);
    }

    #[test]
    fn survives_a_round_trip_through_json() {
        let status = Status {
            health: vec![CheckResult { name: "ssh".into(), failure: Some("no answer".into()) }],
            ..Status::default()
        };
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    }
}

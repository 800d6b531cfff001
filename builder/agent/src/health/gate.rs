//! The gate: all probes, again and again until they pass or the time is over. After a while it tells what it still waits for.

use std::fs;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tools::Tool;

use super::host as health;
use super::http::Expected;
use super::pinned;
use super::probe;
use super::probe::TIMEOUT;
use crate::addresses;
use crate::checks::reason;
use crate::host::Host;
use crate::status::CheckResult;
use crate::work::Probe;
use crate::work::Question;

/// The time for everything, network included. Services may start slowly, above all under emulation.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// Who looks at the console gets to know by now what is waited for.
pub const SILENCE: Duration = Duration::from_secs(30);
/// Pause between two rounds.
const PAUSE: Duration = Duration::from_secs(2);
/// Port of all sites.
const HTTPS: u16 = 443;

/// Asks each service once.
pub fn ask(host: Host<'_>, probes: &[Probe]) -> Vec<CheckResult> {
    probes
        .iter()
        .map(|probe| CheckResult { name: probe.name.clone(), failure: question(host, &probe.question).err() })
        .collect()
}

/// How long the gate asks, and when it tells for the first time what is missing.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The whole time.
    pub patience: Duration,
    /// The time after which `late` is called.
    pub silence: Duration,
}

impl Limits {
    /// What a host has at its start.
    pub const BOOT: Self = Self { patience: PATIENCE, silence: SILENCE };
}

/// Asks until every service works; what works is not asked again in the same wait. `late` hears once what is missing, while there is still time.
pub fn wait(
    host: Host<'_>,
    probes: &[Probe],
    limits: Limits,
    mut late: impl FnMut(&[CheckResult]),
) -> Vec<CheckResult> {
    let begin = Instant::now();
    let mut told = false;
    let mut results = ask(host, probes);
    while results.iter().any(|result| !result.passes()) && begin.elapsed() < limits.patience {
        if !told && limits.silence <= begin.elapsed() {
            late(&results);
            told = true;
        }
        std::thread::sleep(PAUSE.min(limits.patience));
        for (result, probe) in results.iter_mut().zip(probes).filter(|(result, _)| !result.passes()) {
            result.failure = question(host, &probe.question).err();
        }
    }
    results
}

fn question(host: Host<'_>, question: &Question) -> Result<(), String> {
    match question {
        Question::Room(state) => health::room(host.files, state).map_err(|error| error.to_string()),
        Question::Clock(epoch) => health::clock(epoch, SystemTime::now()).map_err(|error| error.to_string()),
        Question::Network(wanted) => wanted.check(&addresses::usable()).map_err(|error| error.to_string()),
        Question::Ssh(port) => probe::ssh(*port, TIMEOUT).map_err(|error| error.to_string()),
        Question::Smtp(port) => probe::smtp(*port, TIMEOUT).map_err(|error| error.to_string()),
        Question::Tcp(port) => probe::tcp(*port, TIMEOUT).map(drop).map_err(|error| error.to_string()),
        Question::Unix(path) => probe::unix(path).map_err(|error| error.to_string()),
        Question::Exec(command) => exec(host, command),
        Question::Https { name, path, expect, certificate } => {
            let expected = Expected { status: 200, text: expect.clone() };
            https(&probe::Page { port: HTTPS, name, path, expected: &expected }, certificate)
        }
    }
}

fn exec(host: Host<'_>, command: &[String]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("no program is named".to_owned());
    };
    let tool = Tool::new(program).args(arguments).timeout(TIMEOUT);
    host.runner.run(&tool).map(drop).map_err(|error| reason("probe", &error))
}

fn https(page: &probe::Page<'_>, certificate: &Path) -> Result<(), String> {
    let pem = fs::read(certificate).map_err(|error| format!("cannot read `{}`: {error}", certificate.display()))?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|error| format!("`{}`: {error}", certificate.display()))?;
    let config = pinned::client(der).map_err(|error| error.to_string())?;
    probe::https(page, &config, TIMEOUT).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::network::Wanted;
    use crate::testing::Tree;

    const SHORT: Limits = Limits { patience: Duration::from_millis(20), silence: Duration::ZERO };

    fn exec_probe(name: &str) -> Probe {
        Probe { name: name.to_owned(), question: Question::Exec(vec![format!("/bin/{name}")]) }
    }

    #[test]
    fn tells_which_service_fails_and_why() {
        let tree = Tree::new();
        tree.programs.fail("/bin/bad", "no such table");
        let results = ask(tree.host(), &[exec_probe("good"), exec_probe("bad")]);
        assert!(results[0].passes());
        assert!(results[1].failure.as_ref().unwrap().contains("no such table"), "{results:?}");
    }

    #[test]
    fn asks_again_only_what_failed() {
        let tree = Tree::new();
        tree.programs.fail("/bin/bad", "not yet");
        let results = wait(tree.host(), &[exec_probe("good"), exec_probe("bad")], SHORT, |_| ());
        assert!(!results[1].passes());
        let commands = tree.programs.commands();
        assert_eq!(commands.iter().filter(|command| command.contains("good")).count(), 1);
        assert!(commands.iter().filter(|command| command.contains("bad")).count() > 1);
    }

    #[test]
    fn tells_once_and_before_the_end_what_it_waits_for() {
        let tree = Tree::new();
        tree.programs.fail("/bin/bad", "not yet");
        let mut told = Vec::new();
        let probes = [exec_probe("good"), exec_probe("bad")];
        let results = wait(tree.host(), &probes, SHORT, |missing| {
            told.push(missing.to_vec());
            tree.programs.heal();
        });
        assert!(results.iter().all(CheckResult::passes), "{results:?}");
        assert_eq!(told.len(), 1);
        assert!(told[0][1].failure.as_ref().unwrap().contains("not yet"), "{told:?}");
    }

    #[test]
    fn an_address_that_the_host_does_not_have_keeps_the_gate_closed() {
        let tree = Tree::new();
        // Of the block for documentation (RFC 5737): no machine has it.
        let wanted = Wanted::Fixed(vec!["203.0.113.77".parse().unwrap()]);
        let probe = Probe { name: "network".into(), question: Question::Network(wanted) };
        let results = wait(tree.host(), &[probe], SHORT, |_| ());
        assert!(results[0].failure.as_ref().unwrap().contains("203.0.113.77"), "{results:?}");
    }

    #[test]
    fn a_host_without_room_or_without_a_time_is_not_healthy() {
        let tree = Tree::new();
        let nowhere = tree.paths.state().join("nowhere");
        for question in [Question::Room(nowhere.clone()), Question::Clock(nowhere)] {
            let results = ask(tree.host(), &[Probe { name: "host".into(), question }]);
            assert!(results[0].failure.is_some(), "{results:?}");
        }
    }

    #[test]
    fn a_missing_certificate_is_a_failure_and_not_a_pass() {
        let tree = Tree::new();
        let question = Question::Https {
            name: "a.example".into(),
            path: "/".into(),
            expect: String::new(),
            certificate: tree.paths.tls().join("certificate.pem"),
        };
        let results = ask(tree.host(), &[Probe { name: "site".into(), question }]);
        assert!(results[0].failure.as_ref().unwrap().contains("certificate.pem"));
    }
}

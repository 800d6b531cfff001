//! testssl: what a stranger who knows all of TLS finds wrong with a site, and which of it is allowed to be.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use serde::Deserialize;
use tools::{Network, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

use crate::artifacts::Artifacts;

/// What may be found all the same, with reasons.
const EXCEPTIONS: &str = include_str!("../tls-exceptions.toml");
/// Where its directory lies in the sandbox.
const INSIDE: &str = "/run/testssl";
/// What counts (testssl(1), `--severity`): its names, from there on.
const GRAVE: [&str; 3] = ["MEDIUM", "HIGH", "CRITICAL"];
/// What it says when it has to give up. `WARN` is a single look that its own openssl does not allow.
const GAVE_UP: &str = "FATAL";

/// A site to look at.
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    pub(crate) address: String,
    /// The authority that visitors trust, PEM.
    pub(crate) root: &'a str,
}

/// One line of its JSON file.
#[derive(Debug, Deserialize)]
struct Finding {
    id: String,
    severity: String,
    #[serde(rename = "finding")]
    what: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    exception: Vec<Exception>,
}

/// A finding that is allowed, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    id: String,
    reason: String,
}

/// Holds if nothing of weight is found but what is allowed, and all of that is. Returns how many things were looked at.
pub(crate) fn finds_nothing_grave(
    artifacts: &Artifacts,
    network: Network,
    dir: &Path,
    target: &Target<'_>,
) -> Result<usize> {
    let findings = look(artifacts, network, dir, target)?;
    let exceptions: Exceptions = toml::from_str(EXCEPTIONS)?;
    judge(&findings, &exceptions.exception)?;
    Ok(findings.len())
}

fn judge(findings: &[Finding], exceptions: &[Exception]) -> Result<()> {
    let short = exceptions.iter().find(|exception| exception.reason.len() < 20);
    ensure!(short.is_none(), "an exception has no reason: {short:?}");
    // The certificate, a protocol, an attack, and what it does last.
    for id in ["TLS1_3", "cert_trust", "LUCKY13", "overall_grade"] {
        ensure!(findings.iter().any(|finding| finding.id == id), "testssl has not looked at `{id}`: {findings:?}");
    }
    let mut excepted: BTreeSet<&str> = exceptions.iter().map(|exception| exception.id.as_str()).collect();
    let grave: Vec<String> = findings
        .iter()
        .filter(|finding| GRAVE.contains(&finding.severity.as_str()) || finding.severity == GAVE_UP)
        .filter(|finding| !excepted.remove(finding.id.as_str()))
        .map(|finding| format!("{} {}: {}", finding.severity, finding.id, finding.what))
        .collect();
    ensure!(grave.is_empty(), "testssl finds:\n{}", grave.join("\n"));
    ensure!(excepted.is_empty(), "testssl does not find what is excepted; take it off the list: {excepted:?}");
    Ok(())
}

fn look(artifacts: &Artifacts, network: Network, dir: &Path, target: &Target<'_>) -> Result<Vec<Finding>> {
    let place = dir.join("testssl");
    fs::create_dir_all(place.join("bin"))?;
    // The tree is not configured: no alternative stands for awk.
    symlink("/usr/bin/mawk", place.join("bin/awk"))?;
    fs::write(place.join("root.pem"), target.root)?;
    let found = place.join("found.json");
    let sandbox = Sandbox::new(artifacts.attack_tree()?).network(network).bind(&place, INSIDE);
    let tool = Tool::new("testssl")
        .args(["--warnings", "off", "--color", "0", "--quiet", "--nodns", "none"])
        .args(["--add-ca", &format!("{INSIDE}/root.pem"), "--jsonfile", &format!("{INSIDE}/found.json")])
        .args(["--ip", &target.address, &format!("https://{}/", target.name)])
        .env("PATH", format!("/usr/bin:/usr/sbin:{INSIDE}/bin"))
        .env("HOME", INSIDE)
        // Its status counts findings.
        .accept(&(0..=241).collect::<Vec<i32>>());
    let said = SandboxRunner::new(sandbox).run(&tool).remedied()?.stdout_text();
    let text = fs::read_to_string(&found).with_context(|| format!("testssl has written nothing:\n{said}"))?;
    serde_json::from_str(&text).with_context(|| format!("testssl has written {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &str, severity: &str) -> Finding {
        Finding { id: id.to_owned(), severity: severity.to_owned(), what: "x".to_owned() }
    }

    fn verdict(further: &[(&str, &str)], excepted: &[&str]) -> String {
        let whole = ["TLS1_3", "cert_trust", "LUCKY13", "overall_grade"].map(|id| finding(id, "OK"));
        let findings: Vec<Finding> =
            whole.into_iter().chain(further.iter().map(|(id, severity)| finding(id, severity))).collect();
        let exceptions: Vec<Exception> = excepted
            .iter()
            .map(|id| Exception { id: (*id).to_owned(), reason: "a reason of some length".to_owned() })
            .collect();
        judge(&findings, &exceptions).map_or_else(|error| error.to_string(), |()| "good".to_owned())
    }

    #[test]
    fn only_what_is_excepted_may_be_grave_and_all_of_it_must_be() {
        assert_eq!(verdict(&[("BEAST", "LOW"), ("engine", "WARN")], &[]), "good");
        assert_eq!(verdict(&[("BREACH", "MEDIUM")], &["BREACH"]), "good");
        assert_eq!(
            verdict(&[("BREACH", "MEDIUM"), ("ROBOT", "CRITICAL")], &["BREACH"]),
            "testssl finds:\nCRITICAL ROBOT: x"
        );
        assert_eq!(verdict(&[("scan", "FATAL")], &[]), "testssl finds:\nFATAL scan: x");
        assert!(verdict(&[], &["BREACH"]).contains("take it off the list"));
    }

    #[test]
    fn a_look_that_was_cut_short_proves_nothing() {
        let error = judge(&[finding("TLS1_3", "OK")], &[]).unwrap_err().to_string();
        assert!(error.contains("has not looked at `cert_trust`"), "{error}");
    }
}

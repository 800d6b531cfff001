//! The TLS key and a certificate that it signs itself, made by `openssl`.
//!
//! The key is kept for ever; the certificate is made again when the names change or its end is near. One that an authority has signed
//! stays in its place until it has ended ([`crate::certificates`]).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use tools::Output;
use tools::Tool;

use super::SecretError;
use super::TIMEOUT;
use super::unfinished;
use crate::certificates::record::Record;
use crate::files::Access;
use crate::host::Host;

/// Nobody but the operator trusts it, and he by its fingerprint; ten years.
const DAYS: &str = "3650";
/// A certificate is made again this long before its end: 30 days, in seconds.
const RENEWAL: &str = "2592000";
/// Longest common name (RFC 5280, upper bound `ub-common-name`).
const COMMON_NAME: usize = 64;
/// openssl writes into a file that only root may read, whatever the final access is.
const UNFINISHED: Access = Access::SECRET;

/// A key and its certificate.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// Place of the key.
    pub key: &'a Path,
    /// Who may read the key.
    pub access: Access,
    /// Place of the certificate.
    pub certificate: &'a Path,
    /// Names in the certificate; the first is its subject.
    pub names: &'a [String],
}

/// Makes what is missing or out of date.
pub fn make(host: Host<'_>, pair: &Pair<'_>) -> Result<(), SecretError> {
    if pair.names.is_empty() {
        return Err(SecretError::NoNames(pair.certificate.to_owned()));
    }
    if !pair.key.exists() {
        make_key(host, pair)?;
    }
    host.files.set_access(pair.key, pair.access)?;
    if is_current(host, pair)? {
        return Ok(());
    }
    make_certificate(host, pair)
}

/// Removes a pair that nobody asks for any more.
pub fn remove(host: Host<'_>, key: &Path, certificate: &Path) -> Result<(), SecretError> {
    for path in [&unfinished(certificate, "names"), &Record::place(certificate), certificate, key] {
        host.files.remove(path)?;
    }
    Ok(())
}

fn make_key(host: Host<'_>, pair: &Pair<'_>) -> Result<(), SecretError> {
    // A certificate of a lost key must not be taken for that of the new one.
    host.files.remove(&Record::place(pair.certificate))?;
    host.files.remove(&names_record(pair))?;
    let new = unfinished(pair.key, "new");
    host.files.write(&new, b"", UNFINISHED)?;
    let tool = Tool::new("openssl").args([
        "genpkey",
        "-quiet",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
    ]);
    run(host, pair.key, tool.arg(&new))?;
    Ok(host.files.publish(&new, pair.key, pair.access)?)
}

/// The record of the names is written after the certificate and removed before it, so it never names a certificate that is not there.
fn is_current(host: Host<'_>, pair: &Pair<'_>) -> Result<bool, SecretError> {
    if pair.certificate.exists() && Record::of(pair.certificate).is_some() {
        return lasts(host, pair, "0");
    }
    if !pair.certificate.exists() || fs::read_to_string(names_record(pair)).unwrap_or_default() != record(pair.names) {
        return Ok(false);
    }
    lasts(host, pair, RENEWAL)
}

fn lasts(host: Host<'_>, pair: &Pair<'_>, seconds: &str) -> Result<bool, SecretError> {
    let tool = Tool::new("openssl").args(["x509", "-noout", "-checkend", seconds, "-in"]).arg(pair.certificate);
    Ok(run(host, pair.certificate, tool.accept(&[0, 1]))?.status == 0)
}

fn make_certificate(host: Host<'_>, pair: &Pair<'_>) -> Result<(), SecretError> {
    let request = unfinished(pair.certificate, "cnf");
    let new = unfinished(pair.certificate, "new");
    host.files.write(&request, request_text(pair.names, Signer::Ourselves).as_bytes(), UNFINISHED)?;
    host.files.write(&new, b"", UNFINISHED)?;
    let tool = Tool::new("openssl").args(["req", "-new", "-x509", "-sha256", "-days", DAYS, "-config"]).arg(&request);
    run(host, pair.certificate, tool.arg("-key").arg(pair.key).arg("-out").arg(&new))?;
    host.files.remove(&request)?;
    host.files.remove(&Record::place(pair.certificate))?;
    host.files.remove(&names_record(pair))?;
    host.files.publish(&new, pair.certificate, Access::PUBLIC)?;
    Ok(host.files.write(&names_record(pair), record(pair.names).as_bytes(), Access::PUBLIC)?)
}

/// A request of this key for these names (RFC 2986), as PEM. `place` is where it will be; what openssl reads meanwhile stands beside it.
pub fn request(host: Host<'_>, key: &Path, names: &[String], place: &Path) -> Result<String, SecretError> {
    let wanted = unfinished(place, "cnf");
    host.files.write(&wanted, request_text(names, Signer::Authority).as_bytes(), UNFINISHED)?;
    let tool = Tool::new("openssl").args(["req", "-new", "-sha256", "-config"]).arg(&wanted).arg("-key").arg(key);
    let request = run(host, key, tool)?.stdout_text();
    host.files.remove(&wanted)?;
    Ok(request)
}

/// Who signs what is asked for.
#[derive(Clone, Copy)]
enum Signer {
    Ourselves,
    Authority,
}

/// A whole configuration of our own: the distribution's would make the certificate an authority.
fn request_text(names: &[String], signer: Signer) -> String {
    let extensions = match signer {
        Signer::Ourselves => "x509_extensions",
        Signer::Authority => "req_extensions",
    };
    let subject = names.iter().find(|name| name.len() <= COMMON_NAME).map_or("casemate", String::as_str);
    let mut text = format!(
        "[req]\nprompt = no\ndistinguished_name = subject\n{extensions} = extensions\n\n[subject]\nCN = {subject}\n\n\
         [extensions]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n\
         extendedKeyUsage = serverAuth\nsubjectKeyIdentifier = hash\nsubjectAltName = @names\n\n[names]\n"
    );
    for (number, name) in names.iter().enumerate() {
        let _ = writeln!(text, "DNS.{number} = {name}");
    }
    text
}

fn names_record(pair: &Pair<'_>) -> PathBuf {
    unfinished(pair.certificate, "names")
}

fn record(names: &[String]) -> String {
    names.iter().fold(String::new(), |text, name| text + name + "\n")
}

fn run(host: Host<'_>, path: &Path, tool: Tool) -> Result<Output, SecretError> {
    host.runner.run(&tool.timeout(TIMEOUT)).map_err(|source| SecretError::Tool { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_all_names() {
        let text = request_text(&["www.example.org".into(), "example.org".into()], Signer::Ourselves);
        assert!(text.contains("CN = www.example.org\n"), "{text}");
        assert!(text.ends_with("[names]\nDNS.0 = www.example.org\nDNS.1 = example.org\n"), "{text}");
        assert!(text.contains("CA:FALSE"), "{text}");
    }

    #[test]
    fn a_name_too_long_for_a_subject_is_only_an_alternative_name() {
        let long = format!("{}.example.org", "x".repeat(60));
        let text = request_text(std::slice::from_ref(&long), Signer::Authority);
        assert!(text.contains("CN = casemate\n") && text.contains(&format!("DNS.0 = {long}\n")), "{text}");
    }
}

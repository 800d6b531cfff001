//! The second step, by a user who has no rights: lego takes the requests to the authority and brings certificates.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use anyhow::ensure;
use tools::Tool;

use super::Authority;
use super::Places;
use super::Site;
use super::Wanted;
use crate::host::Host;

/// Time for one order: authorities look at each name from several places.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Takes every request to the authority. Returns why some were not answered.
pub fn place(host: Host<'_>, wanted: &Wanted) -> Result<Vec<String>> {
    let places = Places::of(host.paths);
    let Some(authority) = &wanted.authority else { return Ok(Vec::new()) };
    let mut failed = Vec::new();
    for site in &wanted.sites {
        // What is there is of the last time.
        remove(&places.answer(site))?;
        if !places.request(site).exists() {
            continue;
        }
        remove(&places.refused(site))?;
        if let Err(error) = place_one(host, authority, &places, site) {
            failed.push(format!("no certificate for {}: {error:#}", site.names.first().unwrap_or(&site.id)));
        }
    }
    Ok(failed)
}

fn place_one(host: Host<'_>, authority: &Authority, places: &Places, site: &Site) -> Result<()> {
    let issued = places.client.join("certificates");
    if issued.exists() {
        fs::remove_dir_all(&issued).with_context(|| format!("cannot remove `{}`", issued.display()))?;
    }
    let tool = lego(authority, places, site)?;
    let output = host.runner.run(&tool).map_err(|error| anyhow!("{}", without_secret(&error.to_string(), places)))?;
    if output.status != 0 {
        let said = output.stdout_text() + &output.stderr_text();
        let names = refused(&said, &site.names);
        if !names.is_empty() {
            fs::write(places.refused(site), names.join("\n"))?;
        }
        bail!("{}", reason(&said));
    }
    let chain = certificate_in(&issued)?;
    fs::copy(&chain, places.answer(site)).with_context(|| format!("cannot copy `{}`", chain.display()))?;
    Ok(fs::set_permissions(places.answer(site), std::os::unix::fs::PermissionsExt::from_mode(0o644))?)
}

/// The client with all that it is told. It has no key of a site: the request stands for it.
fn lego(authority: &Authority, places: &Places, site: &Site) -> Result<Tool> {
    let mut tool = Tool::new("lego")
        .args(["--accept-tos", "--email", &authority.email, "--server", &authority.directory, "--path"])
        .arg(&places.client)
        .arg("--csr")
        .arg(places.request(site))
        .args(["--http", "--http.webroot"])
        .arg(&authority.webroot)
        .env("HOME", places.client.to_string_lossy())
        .env("HTTPS_PROXY", authority.proxy.as_str())
        .accept(&[0, 1])
        .timeout(TIMEOUT);
    if let Some(roots) = &authority.roots {
        tool = tool.env("LEGO_CA_CERTIFICATES", roots.to_string_lossy());
    }
    if let Ok(customer) = fs::read_to_string(&places.customer) {
        let (id, secret) = customer
            .trim()
            .split_once(':')
            .with_context(|| format!("`{}` is not of the form `key-id:secret`", places.customer.display()))?;
        tool = tool.args(["--eab", "--kid", id, "--hmac", secret]);
    }
    Ok(tool.arg("run"))
}

/// An error shows the whole command; a customer's secret is not for the log.
fn without_secret(text: &str, places: &Places) -> String {
    let customer = fs::read_to_string(&places.customer).unwrap_or_default();
    let secret = customer.trim().split_once(':').map_or("", |(_, secret)| secret);
    if secret.is_empty() { text.to_owned() } else { text.replace(secret, "…") }
}

/// The one chain that the client has left behind; beside it is the issuer's.
fn certificate_in(folder: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.ends_with(".crt") && !name.ends_with(".issuer.crt") {
            found.push(path);
        }
    }
    ensure!(found.len() == 1, "the client has left {} certificates", found.len());
    found.pop().context("no certificate")
}

/// Which of the names the authority has refused: the client writes each in brackets before the authority's words.
fn refused(said: &str, names: &[String]) -> Vec<String> {
    let failed = |name: &&String| {
        let start = format!("[{name}] ");
        said.lines().any(|line| {
            line.find(&start).is_some_and(|at| line.get(at + start.len()..).unwrap_or_default().contains("error:"))
        })
    };
    names.iter().filter(failed).cloned().collect()
}

/// The end of what the client says, in one line.
fn reason(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last =
        lines.iter().rposition(|line| line.contains("Could not obtain")).unwrap_or(lines.len().saturating_sub(3));
    lines.get(last..).unwrap_or_default().join(" ")
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove `{}`", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_name_is_found_in_what_the_client_says() {
        let names = ["www.example.org".to_owned(), "example.org".to_owned()];
        let said = "2026/11/27 06:00:00 [INFO] [www.example.org, example.org] acme: Obtaining bundled SAN certificate given a CSR\n\
                    2026/11/27 06:00:01 [INFO] [www.example.org] AuthURL: https://ca/authz/1\n\
                    2026/11/27 06:00:03 Could not obtain certificates:\n\
                    \terror: one or more domains had a problem:\n\
                    [example.org] acme: error: 400 :: urn:ietf:params:acme:error:dns :: no such host\n";
        assert_eq!(refused(said, &names), ["example.org"]);
        assert!(
            reason(said).starts_with("2026/11/27 06:00:03 Could not obtain") && reason(said).ends_with("no such host")
        );
        assert!(refused("error: 429 :: urn:ietf:params:acme:error:rateLimited", &names).is_empty());
    }
}

//! The main job, seen from outside: `WordPress` over HTTPS, ssh for the administrator, the same host after a restart, and never a damaged byte.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::artifacts::{Artifacts, Image};
use crate::client::Client;
use crate::host::{Identity, Start, TestHost};
use crate::operator::{Facts, Operator};
use crate::tamper;

const TITLE: &str = "Casemate proves itself";

pub(crate) fn serves_and_keeps_identity(artifacts: &Artifacts) -> Result<()> {
    let dir = artifacts.scratch("web")?;
    let operator = Operator::new(artifacts, &dir, "operator")?;
    let stranger = Operator::new(artifacts, &dir, "stranger")?;
    let mut host = TestHost::new(artifacts, Image::Webhost, &dir)?;
    host.personalise(
        &operator.document(&dir, &Facts { hostname: "web1.example.org", serial: 1, wordpress: Some(TITLE) })?,
    )?;
    let client = Client::new(artifacts, &dir, host.ports);

    let (mut machine, first) = host.boot_healthy(Start::Uefi)?;
    check_site(&client, &first)?;
    check_ssh(&client, &operator, &stranger)?;
    let machine_id = client.ssh_ok(&operator.key, "cat /run/machine-id")?;
    ensure!(client.ssh_ok(&operator.key, "systemctl --failed --no-legend")?.trim().is_empty(), "units have failed");
    artifacts.record_identity("web1", &first, &machine_id)?;
    machine.power_off(Duration::from_secs(180)).context("the host does not power off in good order")?;

    let (mut machine, second) = host.boot_healthy(Start::Direct)?;
    ensure!(first == second, "the second boot shows another identity: {first:?} then {second:?}");
    ensure!(client.ssh_ok(&operator.key, "cat /run/machine-id")? == machine_id, "the machine id changed");
    check_site(&client, &second)?;
    never_returns_a_damaged_byte(&client, &operator, &host, artifacts)?;
    machine
        .wait_for_serial_past_panic("Kernel panic", Duration::from_secs(120))
        .context("the damaged block was read and nothing happened")?;
    Ok(())
}

fn check_site(client: &Client<'_>, identity: &Identity) -> Result<()> {
    let fingerprint = client.pin_certificate("www.example.org")?;
    ensure!(
        identity.certificates.iter().any(|shown| shown.contains(&format!("sha256:{fingerprint}"))),
        "the server's certificate {fingerprint} is not the one on the console: {:?}",
        identity.certificates
    );
    let front = client.https("www.example.org", "/")?;
    ensure!(front.status == 200, "the front page answers {}: {}", front.status, front.head);
    ensure!(
        front.body.contains(&format!("<title>{TITLE}")),
        "the front page has another title:\n{}",
        front.body.get(..2000).unwrap_or(&front.body)
    );
    let plain = client.http("www.example.org", "/")?;
    ensure!(
        plain.status == 301 && plain.head.contains("https://www.example.org/"),
        "plain HTTP is not redirected: {}",
        plain.head
    );
    Ok(())
}

fn check_ssh(client: &Client<'_>, operator: &Operator, stranger: &Operator) -> Result<()> {
    ensure!(client.ssh_ok(&operator.key, "id -un")?.trim() == "admin", "ssh logs in as somebody else");
    ensure!(client.ssh_ok(&operator.key, "sudo -n id -u")?.trim() == "0", "the administrator cannot become root");
    for (key, user) in
        [(&stranger.key, "admin"), (&operator.key, "root"), (&operator.key, "www-data"), (&stranger.key, "root")]
    {
        let refused = client.ssh(key, user, "true")?;
        ensure!(
            refused.status == 255 && refused.stderr_text().contains("Permission denied"),
            "ssh as {user} with {} was not refused: {refused:?}",
            key.display()
        );
    }
    Ok(())
}

/// Flips a byte of a file that no boot reads, under the running host, and asks for the file.
fn never_returns_a_damaged_byte(
    client: &Client<'_>,
    operator: &Operator,
    host: &TestHost<'_>,
    artifacts: &Artifacts,
) -> Result<()> {
    const FILE: &str = "/usr/share/wordpress/wp-includes/js/tinymce/tinymce.min.js";
    tamper::flip_in_file(artifacts, Image::Webhost, &host.disk, FILE)?;
    let output = client.ssh(&operator.key, "admin", &format!("sha256sum {FILE}"))?;
    if output.status == 0 {
        bail!("the damaged file was returned: {}", output.stdout_text());
    }
    Ok(())
}

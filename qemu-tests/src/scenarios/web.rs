//! The main job, seen from outside: a flashed disk that serves `WordPress` over HTTPS, ssh for the administrator, sites that hurt only themselves, and
//! never a damaged byte.
//!
//! That a host is the same after a restart, and that bans outlive it, is seen where a start costs less: in containers, and of the small image.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use vm::guest::{Client, Flip, Seen, Start, flip_in_file};

use crate::artifacts::{Artifacts, Image};
use crate::host::TestHost;
use crate::operator::{Facts, Operator};
use crate::scenarios::limits;
use crate::watch::Watch;
use crate::wire::{self, Wire};

const TITLE: &str = "Casemate proves itself";
const SITE: &str = "www.example.org";
/// Larger than the smallest disk, so that the state of a host that does not use all of it is too small.
const DISK_BYTES: u64 = 13 << 30;
/// What an administrator may ask, and everybody.
const FOR_ADMINISTRATORS: [u16; 4] = [22, 80, 443, 2222];
const FOR_ALL: [u16; 3] = [80, 443, 2222];
/// What is not state: two slots of 2 GiB, ESP, tables. State on the smallest disk would have less than 4 GiB.
const NOT_STATE: u64 = 5 << 30;

pub(crate) fn serves_and_hurts_nobody(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let stranger = Operator::new(artifacts, dir, "stranger")?;
    let facts = Facts { hostname: "web1.example.org", serial: 1, wordpress: Some(TITLE) };
    let document = operator.document(dir, &facts)?;
    fs::write(&document, fs::read_to_string(&document)? + &limits::document() + &Wire::section())?;
    let mut host = TestHost::flashed(artifacts, Image::Webhost, dir, DISK_BYTES, &document)?;

    // It is scanned from the first packet of its first start on.
    let watch = Watch::new(artifacts, &FOR_ADMINISTRATORS, &FOR_ALL)?;
    let mut spec = host.spec(Start::Firmware)?;
    // It has the build machine to itself.
    spec.cpus = 2;
    spec.network = watch.wire.network();
    let client = Client::inside(artifacts.run_tree(), dir, &watch.wire.namespace, wire::ADDRESS);
    let (mut machine, seen) = watch.during(|| host.boot_healthy(&spec))?;
    limits::nobody_came_yet(&client, &operator)?;
    watch.sees_the_tables()?;
    check_site(&client, &seen)?;
    check_state(&client, &operator)?;
    hashes_with_the_processor(&client, &operator)?;
    check_ssh(&client, &operator, &stranger)?;
    let machine_id = client.ssh_ok(&operator.key, "cat /run/machine-id")?;
    ensure!(client.ssh_ok(&operator.key, "systemctl --failed --no-legend")?.trim().is_empty(), "units have failed");
    artifacts.record_identity("web1", &seen, &machine_id)?;
    fits_the_firewall(artifacts, &client, &operator)?;
    limits::hurt_only_the_site_itself(&client, &operator)?;
    let _flip = reads_a_damaged_byte(&client, &operator, &host, artifacts)?;
    machine
        .wait_for_serial_past_panic("Kernel panic", Duration::from_secs(120))
        .context("the damaged block was read and nothing happened")?;
    Ok(())
}

fn check_site(client: &Client, seen: &Seen) -> Result<()> {
    let fingerprint = client.pin_certificate(SITE)?;
    ensure!(
        seen.certificates.get(SITE) == Some(&fingerprint),
        "the server's certificate {fingerprint} is not the one on the console: {:?}",
        seen.certificates
    );
    let front = client.https(SITE, "/")?;
    ensure!(front.status == 200, "the front page answers {}: {}", front.status, front.head);
    ensure!(
        front.body.contains(&format!("<title>{TITLE}")),
        "the front page has another title:\n{}",
        front.body.get(..2000).unwrap_or(&front.body)
    );
    let plain = client.http(SITE, "/")?;
    ensure!(
        plain.status == 301 && plain.head.contains("https://www.example.org/"),
        "plain HTTP is not redirected: {}",
        plain.head
    );
    Ok(())
}

/// The kernel can what the rules were compiled for, and they were there before the network.
fn fits_the_firewall(artifacts: &Artifacts, client: &Client, operator: &Operator) -> Result<()> {
    for (folder, program) in [("ipv4", "shorewall-lite"), ("ipv6", "shorewall6-lite")] {
        let file = artifacts.repository().join("overlays/firewall").join(folder).join("capabilities");
        let declared = fs::read_to_string(&file)?;
        let found = client.ssh_ok(&operator.key, &format!("sudo -n /usr/share/{program}/shorecap"))?;
        let missing: Vec<&str> = declared
            .lines()
            .filter(|line| line.ends_with("=Yes") && !found.lines().any(|other| other == *line))
            .collect();
        ensure!(missing.is_empty(), "`{}` names what this kernel cannot: {missing:?}", file.display());
    }
    let order = "systemctl show --value -p ActiveEnterTimestampMonotonic casemate-firewall systemd-networkd";
    let times: Vec<u64> =
        client.ssh_ok(&operator.key, order)?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(times.len() == 2 && times.is_sorted(), "the network was up before the firewall: {times:?}");
    Ok(())
}

/// State takes what the disk has beside the slots.
fn check_state(client: &Client, operator: &Operator) -> Result<()> {
    let shown = client.ssh_ok(&operator.key, "findmnt --noheadings --bytes --output SIZE,OPTIONS /var")?;
    let size: u64 = shown.split_whitespace().next().and_then(|word| word.parse().ok()).context("`/var` has no size")?;
    ensure!(size > DISK_BYTES - NOT_STATE, "state did not grow to the end of the disk: {shown}");
    for option in ["nosuid", "nodev", "noexec"] {
        ensure!(shown.contains(option), "state is mounted without `{option}`: {shown}");
    }
    Ok(())
}

/// All that is read of the root is hashed: by instructions that are made for it, which this machine has, and not by the kernel's plain C.
fn hashes_with_the_processor(client: &Client, operator: &Operator) -> Result<()> {
    let kernel = client.ssh_ok(&operator.key, "sudo -n journalctl --boot --dmesg --output=cat")?;
    let said = kernel.lines().find(|line| line.contains("verity: sha256 using")).context("dm-verity says nothing")?;
    ensure!(!said.contains("sha256-generic"), "the root is hashed slowly: {said}");
    Ok(())
}

fn check_ssh(client: &Client, operator: &Operator, stranger: &Operator) -> Result<()> {
    ensure!(client.ssh_ok(&operator.key, "id -un")?.trim() == "admin", "ssh logs in as somebody else");
    ensure!(client.ssh_ok(&operator.key, "sudo -n id -u")?.trim() == "0", "the administrator cannot become root");
    for (key, user) in
        [(&stranger.key, "admin"), (&operator.key, "root"), (&operator.key, "www-data"), (&stranger.key, "root")]
    {
        let refused = client.ssh(key, user, "true")?;
        ensure!(
            refused.status == 255 && refused.stderr_text().contains("Permission denied"),
            "ssh as {user} with {} was not refused: {refused:?}",
            key.path.display()
        );
    }
    Ok(())
}

/// Flips a byte of a file that no boot reads, under the running host, which is then read there. Nobody waits for an answer: a connection to a machine
/// that panicked stands for minutes.
fn reads_a_damaged_byte(client: &Client, operator: &Operator, host: &TestHost, artifacts: &Artifacts) -> Result<Flip> {
    const FILE: &str = "/usr/share/wordpress/wp-includes/js/tinymce/tinymce.min.js";
    let flip = flip_in_file(artifacts.run_tree(), &host.root(), host.disk(), FILE)?;
    let read = format!("systemd-run --quiet --on-active=2 --timer-property=AccuracySec=100ms sha256sum {FILE}");
    client.ssh_ok(&operator.key, &format!("sudo -n {read}"))?;
    Ok(flip)
}

//! The claims about an image, in the order of one host's life: verified, first boot, ssh, HTTPS, second boot, one bit changed.
//!
//! Each proves itself by something that only success can produce, and the last one differs from the boot before it by one bit.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use hostconf::HostConfig;
use pipeline::build::Builder;
use pipeline::keys::KeyRing;
use pipeline::programs::ToolsTree;
use tools::ResultExt as _;
use vm::guest::{
    Client, Console, Event, Guest, Ports, Seen, SshKey, Start, ended, flip_in_file, make_disk, tail, until_settled,
};
use vm::{Machine, Outbound};

use crate::acceptance::Recorder;
use crate::guest::for_trying;

/// Longest time from power-on to health; emulation on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(1200);
/// The smallest disk that is supported (docs/formats/first-boot.md).
const DISK_BYTES: u64 = 8 << 30;
/// A file that every host reads before it can be healthy.
const TAMPERED: &str = "/usr/sbin/sshd";
/// What the kernel says when the changed block is read (`panic-on-corruption`).
const CAUGHT: &str = "Kernel panic - not syncing: dm-verity device";

/// The image under test.
pub(crate) struct Subject<'a> {
    pub(crate) builder: &'a Builder,
    /// Its output directory, absolute.
    pub(crate) output: &'a Path,
    /// The keys that it was built with.
    pub(crate) keys: &'a KeyRing,
    /// QEMU, firmware and clients.
    pub(crate) tree: &'a ToolsTree,
    /// Where disk and logs go.
    pub(crate) dir: &'a Path,
    /// Memory of the machine in MiB.
    pub(crate) memory: u32,
}

/// Tries every claim. A claim that fails is a row; an error here says that nothing can be tried at all.
pub(crate) fn prove(subject: &Subject<'_>, recorder: &mut Recorder<'_>) -> Result<()> {
    if recorder.claim("every_signature_digest_and_block_is_good", || verified(subject)).is_none() {
        // Nobody vouches for what would be booted.
        return Ok(());
    }
    let host = Host::prepare(subject)?;
    let Some((mut machine, first)) = recorder
        .claim("first_boot_by_firmware_is_personalised_and_healthy", || host.boot(Start::Firmware, "first-boot"))
    else {
        return Ok(());
    };
    let machine_id = recorder.claim("ssh_lets_the_administrator_in", || host.ssh(&first));
    if let Some(site) = host.site() {
        recorder.claim("https_shows_the_certificate_of_the_console", || host.https(&site, &first));
    }
    machine.cut_power();
    drop(machine);
    let second = recorder.claim("second_boot_is_the_same_host", || host.second_boot(&first, machine_id.as_deref()));
    // Without a good boot before it, a boot that stops would prove nothing about the changed bit.
    if let Some(mut machine) = second {
        machine.cut_power();
        drop(machine);
        recorder.claim("one_changed_bit_ends_in_panic_and_restart", || host.tampered());
    }
    Ok(())
}

fn verified(subject: &Subject<'_>) -> Result<((), String)> {
    let verified = subject.builder.verify(subject.output, Some(&subject.keys.dir().join("release.pub")))?;
    Ok(((), format!("{} {}", verified.manifest.image, verified.manifest.version)))
}

/// One host that lives through all claims.
struct Host<'a> {
    subject: &'a Subject<'a>,
    guest: Guest,
    config: HostConfig,
    key: SshKey,
    client: Client,
}

impl<'a> Host<'a> {
    /// Makes its ssh key, its document and its disk.
    fn prepare(subject: &'a Subject<'a>) -> Result<Self> {
        let client_dir = subject.dir.join("client");
        let key = SshKey::in_dir(subject.tree.root(), &client_dir, "id_ed25519")?;
        let example = read_if_there(&subject.output.join("host.example.toml"))?;
        let document = subject.dir.join("host.toml");
        fs::write(&document, for_trying(example.as_deref(), &key.public)?)?;
        let signed = subject.builder.sign_host(&document, Some(&subject.keys.dir().join("operator.key")))?;
        let disk = subject.dir.join("disk.raw");
        make_disk(&subject.output.join("disk.raw"), &disk, DISK_BYTES)?;
        subject.builder.personalise(&disk, &signed, None)?;
        let guest = Guest {
            output: subject.output.to_owned(),
            tree: subject.tree.root().to_owned(),
            dir: subject.dir.to_owned(),
            disk,
            ports: Ports::free()?,
            memory: subject.memory,
            outbound: Outbound::Blocked,
        };
        let client = Client::new(&guest.tree, &client_dir, guest.ports);
        Ok(Self { subject, guest, config: signed.config, key, client })
    }

    /// The first site that has a certificate.
    fn site(&self) -> Option<String> {
        self.config.sites().next().map(|site| site.name.to_string())
    }

    fn boot(&self, start: Start, name: &str) -> Result<((Machine, Seen), String)> {
        let mut machine = self.guest.start(start, name)?;
        let progress = self.subject.builder.progress();
        let seen = until_settled(&mut machine, &mut Console::default(), PATIENCE, &|event| {
            if let Event::Waiting(_) | Event::Said(_) = event {
                progress.note(&event.text());
            }
        })?;
        let text = machine.serial().text().remedied()?;
        ensure!(
            seen.is_healthy(),
            "the host is not healthy: {}; the console ends with{}",
            seen.unhealthy.join("; "),
            tail(&text)
        );
        let wanted = self.config.hostname.to_string();
        ensure!(
            seen.hostname.as_ref() == Some(&wanted),
            "the host calls itself {:?}, its document says `{wanted}`",
            seen.hostname
        );
        let detail = times(&seen);
        Ok(((machine, seen), detail))
    }

    fn ssh(&self, seen: &Seen) -> Result<(String, String)> {
        let machine_id = self.machine_id()?;
        let key = self.client.known_host_key()?;
        ensure!(
            seen.ssh_keys.iter().any(|shown| shown.ends_with(&key)),
            "ssh sees the host key {key}, the console showed {:?}",
            seen.ssh_keys
        );
        let detail = format!("host key {key}");
        Ok((machine_id, detail))
    }

    fn machine_id(&self) -> Result<String> {
        let text = self.client.ssh_ok(&self.key, "cat /etc/machine-id")?;
        let id = text.trim();
        ensure!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "`/etc/machine-id` holds `{id}`");
        Ok(id.to_owned())
    }

    fn https(&self, site: &str, seen: &Seen) -> Result<((), String)> {
        let shown = self.client.pin_certificate(site)?;
        let told =
            seen.certificates.get(site).with_context(|| format!("the console shows no certificate of `{site}`"))?;
        ensure!(*told == shown, "`{site}` shows the certificate {shown}, the console showed {told}");
        let status = self.client.https(site, "/")?.status;
        ensure!(status == 200, "`https://{site}/` answers with status {status}");
        Ok(((), format!("https://{site}/ answers with 200")))
    }

    fn second_boot(&self, first: &Seen, machine_id: Option<&str>) -> Result<(Machine, String)> {
        let ((machine, second), detail) = self.boot(Start::Direct, "second-boot")?;
        ensure!(
            first.identity() == second.identity(),
            "the host showed {:?}, and after the second boot {:?}",
            first.identity(),
            second.identity()
        );
        if let Some(machine_id) = machine_id {
            // ssh itself refuses another host key than the one that it has kept.
            let now = self.machine_id().context("ssh does not reach the same host")?;
            ensure!(now == machine_id, "the machine id was {machine_id} and is now {now}");
        }
        if let Some(site) = self.site() {
            let shown = self.client.pin_certificate(&site)?;
            ensure!(first.certificates.get(&site) == Some(&shown), "`{site}` shows another certificate: {shown}");
        }
        Ok((machine, detail))
    }

    fn tampered(&self) -> Result<((), String)> {
        let root = self.subject.output.join("root.erofs");
        let offset = flip_in_file(&self.guest.tree, &root, &self.guest.disk, TAMPERED)?.offset();
        let mut machine = self.guest.start(Start::Direct, "tampered-boot")?;
        while machine.reset_count() == 0 {
            let ended = ended(&mut machine, Duration::from_millis(200))?;
            let text = machine.serial().text().remedied()?;
            if let Some(fault) = tamper_fault(&text) {
                bail!("{fault}; the console ends with{}", tail(&text));
            }
            if ended.is_some() || machine.uptime() > PATIENCE {
                bail!("the host neither restarted nor became healthy; the console ends with{}", tail(&text));
            }
        }
        let text = machine.serial().text().remedied()?;
        ensure!(
            text.contains(CAUGHT),
            "the host restarted without saying `{CAUGHT}`; the console ends with{}",
            tail(&text)
        );
        if let Some(fault) = tamper_fault(&text) {
            bail!("{fault}");
        }
        let seconds = machine.uptime().as_secs();
        machine.cut_power();
        Ok(((), format!("byte {offset} of the disk, in {TAMPERED}; restarted {seconds} s after power-on")))
    }
}

/// What a damaged host must never show.
fn tamper_fault(text: &str) -> Option<&'static str> {
    let events = Console::default().read(text);
    if events.contains(&Event::Healthy) {
        return Some("a damaged host calls itself healthy");
    }
    // The agent checks the configuration with the damaged program itself: the damage was read and the host went on.
    if events.iter().any(|event| matches!(event, Event::Waiting(_))) {
        return Some("a damaged host goes on and waits");
    }
    text.contains(" login:").then_some("a damaged host offers a login")
}

fn times(seen: &Seen) -> String {
    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
    format!("personalised after {:.1} s, healthy after {:.1} s", seconds(seen.personalised), seconds(seen.healthy))
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    if path.exists() { Ok(Some(fs::read_to_string(path)?)) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_host_that_goes_on_in_any_way_is_a_fault() {
        let panic = "[ 9.1] device-mapper: verity: 254:2: data block 77 is corrupted\n[ 9.2] Kernel panic - not syncing: dm-verity device corrupted\n";
        assert!(panic.contains(CAUGHT));
        assert_eq!(tamper_fault(panic), None);
        assert!(tamper_fault(&format!("casemate: healthy\n{panic}")).unwrap().contains("healthy"));
        assert!(tamper_fault(&format!("web1 login: {panic}")).unwrap().contains("login"));
        let waiting = "casemate: waiting: check failed: cannot start /usr/sbin/sshd -t\n";
        assert!(tamper_fault(waiting).unwrap().contains("waits"));
    }

    #[test]
    fn a_missing_example_is_none_and_an_unreadable_one_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_if_there(&dir.path().join("none")).unwrap(), None);
        assert!(read_if_there(dir.path()).is_err());
    }
}

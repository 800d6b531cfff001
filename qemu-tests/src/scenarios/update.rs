//! A machine from version to version: a new one from a repository, by itself; back by hand; one that cannot start, from a stick, and the way back
//! without a hand.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use fs_err::os::unix::fs::FileExt as _;
use serde::Deserialize;
use vm::guest::{Client, Console, Seen, Start, ended, slot_b_tree, tail, until_settled};
use vm::{Disk, Machine, MachineSpec, Persistence};

use crate::artifacts::{Artifacts, Image, say};
use crate::host::{PATIENCE, TestHost, credential};
use crate::neighbour::{Neighbour, OUTSIDE};
use crate::neighbour_updates::{NAME, Updates};
use crate::operator::{Facts, Operator};
use crate::wire::{self, Wire};

/// Where a host finds the stick.
const STICK: &str = "/dev/vdb";
/// What `minimal` has in `image.toml`.
const FIRST: &str = "0.1.0";
const SECOND: &str = "0.2.0";
const THIRD: &str = "0.3.0";
/// As if a time server had set the clock; there is none here.
const CLOCK_IS_SET: &str = "sudo -n install -D /dev/null /run/systemd/timesync/synchronized";

/// What `casemate-agent update status --json` says, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Status {
    running: String,
    running_entry: Standing,
    spare: Spare,
}

#[derive(Debug, Deserialize)]
struct Standing {
    standing: String,
}

#[derive(Debug, Deserialize)]
struct Spare {
    version: Option<String>,
    entry: Option<Standing>,
}

/// A host on a wire, and the repository that it follows.
struct Town {
    wire: Wire,
    updates: Updates,
    client: Client,
    operator: Operator,
    host: TestHost,
    /// What every start of it is given.
    spec: MachineSpec,
    _neighbour: Neighbour,
}

pub(crate) fn goes_forward_and_comes_back(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let [second, third] = [build(artifacts, dir, SECOND)?, build(artifacts, dir, THIRD)?];
    let repository = dir.join("repository");
    let publish = [
        "repo",
        "publish",
        &*second.to_string_lossy(),
        "--repo",
        &*repository.to_string_lossy(),
        "--channel",
        "stable",
        "--development",
        "--untested",
    ];
    artifacts.casemate(&publish, 0)?;
    let mut town = Town::new(artifacts, dir, &repository)?;

    let (mut machine, first) = town.boots(None)?;
    town.is_good(FIRST)?;
    let second_seen = town.takes_what_is_newest(&mut machine)?;
    ensure!(
        second_seen.identity() == first.identity(),
        "the new version shows another identity: {first:?} then {second_seen:?}"
    );
    let status = town.is_good(SECOND)?;
    let other = (status.spare.version, status.spare.entry.map(|entry| entry.standing));
    ensure!(other == (Some(FIRST.into()), Some("good".into())), "the way back is {other:?}");
    let said = town.agent("rollback")?;
    ensure!(said.contains(FIRST), "it goes back to something else: {said}");
    machine.power_off(PATIENCE)?;

    let (mut machine, last) = town.boots(Some(&third.join("bundle.tar")))?;
    ensure!(last.identity() == first.identity(), "the old version shows another identity: {first:?} then {last:?}");
    town.is_good(FIRST)?;
    let newest = town.agent("update check")?;
    ensure!(newest.contains("failed on this host"), "what was left is wanted again: {newest}");
    town.applies_the_stick()?;
    machine.power_off(PATIENCE)?;

    zero(town.host.disk())?;
    let mut machine = town.comes_back_by_itself()?;
    town.is_good(FIRST)?;
    let why = town.agent("why")?;
    ensure!(why.contains(&format!("{THIRD}, started 3 times")), "it does not say why: {why}");
    let refused =
        town.client.ssh(&town.operator.key, "admin", &format!("sudo -n casemate-agent update apply {STICK}"))?;
    let said = refused.stderr_text();
    ensure!(refused.status == 1 && said.contains("was tried on this host"), "the bad version is tried again: {said}");
    machine.power_off(PATIENCE)?;
    Ok(())
}

/// The small image as a later version; its output.
fn build(artifacts: &Artifacts, dir: &Path, version: &str) -> Result<PathBuf> {
    let (image, output) = (dir.join(format!("image-{version}")), dir.join(version));
    fs::create_dir_all(&image)?;
    let definition = artifacts.definition(Image::Minimal);
    let text = fs::read_to_string(definition.join("image.toml"))?;
    let changed = text.replace(&format!("version  = \"{FIRST}\""), &format!("version  = \"{version}\""));
    ensure!(changed != text, "`minimal` is not of version {FIRST}");
    fs::write(image.join("image.toml"), changed)?;
    fs::copy(definition.join("host.example.toml"), image.join("host.example.toml"))?;
    artifacts.casemate(&["build", &image.to_string_lossy(), "--output", &output.to_string_lossy()], 0)?;
    Ok(output)
}

/// Takes all of the bad version's hash tree away, behind the back of the host.
fn zero(disk: &Path) -> Result<()> {
    let (offset, length) = slot_b_tree(disk)?;
    let file = fs::OpenOptions::new().write(true).open(disk)?;
    file.write_all_at(&vec![0; usize::try_from(length)?], offset)?;
    Ok(file.sync_all()?)
}

impl Town {
    fn new(artifacts: &Artifacts, dir: &Path, repository: &Path) -> Result<Self> {
        let wire = Wire::new()?;
        let neighbour = Neighbour::start(&wire.namespace, OUTSIDE)?;
        let updates = Updates::start(&wire.namespace, artifacts.run_tree(), dir, repository)?;
        let operator = Operator::new(artifacts, dir, "operator")?;
        let facts = Facts { hostname: "updated.example.org", serial: 1, wordpress: None };
        let mut document = fs::read_to_string(operator.document(dir, &facts)?)?;
        document += &Wire::section();
        // All but one minute of the day.
        document += &format!(
            "\n[update]\nrepository = \"https://{NAME}\"\nwindow = \"00:00-23:59\"\nroots = \"\"\"\n{}\"\"\"\n",
            updates.authority
        );
        let signature = artifacts.sign_as_operator(document.as_bytes())?;
        let host = TestHost::new(artifacts, Image::Minimal, dir)?;
        let mut spec = host.spec(Start::Firmware)?;
        spec.network = wire.network();
        spec.credentials =
            vec![credential("casemate.host", document.into_bytes())?, credential("casemate.host.sig", signature)?];
        let client = Client::inside(artifacts.run_tree(), dir, &wire.namespace, wire::ADDRESS);
        Ok(Self { wire, updates, client, operator, host, spec, _neighbour: neighbour })
    }

    /// With a bundle in it as the second disk.
    fn boots(&mut self, stick: Option<&Path>) -> Result<(Machine, Seen)> {
        self.spec.disks.truncate(1);
        self.spec.disks.extend(stick.map(|bundle| Disk { persistence: Persistence::ReadOnly, ..Disk::new(bundle) }));
        let mut machine = self.starts()?;
        let seen = until_settled(&mut machine, &mut Console::default(), PATIENCE, &|_| ())?;
        ensure!(seen.is_healthy(), "the host is not healthy: {}", seen.unhealthy.join("; "));
        Ok((machine, seen))
    }

    fn starts(&mut self) -> Result<Machine> {
        let machine = self.host.boot(&self.spec)?;
        ensure!(self.wire.is_up(), "the machine has no wire");
        self.wire.plug_in()?;
        Ok(machine)
    }

    /// What the timer does, at the time at which it does it: nothing while nobody knows the time, and then everything.
    fn takes_what_is_newest(&self, machine: &mut Machine) -> Result<Seen> {
        self.root("systemctl stop casemate-update.timer")?;
        let said = self.agent("update check --json")?;
        ensure!(said.contains("\"standing\": \"new\"") && said.contains(SECOND), "it finds something else: {said}");
        self.root("systemctl start casemate-update.service")?;
        let said = self.root("journalctl -o cat -u casemate-update.service")?;
        ensure!(said.contains("the host waits for a time server"), "it does not wait for the time: {said}");
        self.client.ssh_ok(&self.operator.key, CLOCK_IS_SET)?;
        let (started, before) = (Instant::now(), machine.serial().text()?.len());
        self.root("systemctl start --no-block casemate-update.service")?;
        let seen = wait_for_another_start(machine, before)?;
        say(&format!("update: by itself in the new version after {:.0} s", started.elapsed().as_secs_f64()));
        let asked = self.updates.asked();
        let parts: Vec<&String> =
            asked.iter().filter(|path| path.contains(".tar") && path.contains("/bundles/")).collect();
        ensure!(
            matches!(&parts[..], [whole, rest] if rest.starts_with(&format!("{whole} from "))),
            "the connection that broke off was not gone on with: {asked:?}"
        );
        Ok(seen)
    }

    fn applies_the_stick(&self) -> Result<()> {
        let started = Instant::now();
        let said = self.agent(&format!("update apply {STICK}"))?;
        ensure!(said.contains("on trial"), "it is not applied: {said}");
        say(&format!("update: applied from a stick in {:.0} s", started.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Three tries and the old version, in one go.
    fn comes_back_by_itself(&mut self) -> Result<Machine> {
        let mut machine = self.starts()?;
        machine
            .wait_for_serial_past_panic("casemate: healthy", PATIENCE)
            .context("the host does not come back from a version that cannot start")?;
        say(&format!("update: back in the old version after {:.0} s", machine.uptime().as_secs_f64()));
        Ok(machine)
    }

    fn agent(&self, what: &str) -> Result<String> {
        self.root(&format!("casemate-agent {what} 2>&1"))
    }

    fn root(&self, command: &str) -> Result<String> {
        self.client.ssh_ok(&self.operator.key, &format!("sudo -n {command}"))
    }

    /// What runs, once the boot loader's counter is off its name: that is shortly after the console says that it is healthy.
    fn is_good(&self, version: &str) -> Result<Status> {
        let started = Instant::now();
        loop {
            let status: Status = serde_json::from_str(&self.agent("update status --json")?)?;
            if status.running == version && status.running_entry.standing == "good" {
                return Ok(status);
            }
            let is_over = started.elapsed() > Duration::from_secs(60);
            ensure!(status.running == version && !is_over, "expected {version}, and it is good: {status:?}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// The restart that the host makes by itself, up to healthy. `before` is how long the console's text was.
fn wait_for_another_start(machine: &mut Machine, before: usize) -> Result<Seen> {
    let started = Instant::now();
    loop {
        let text = machine.serial().text()?;
        let seen = Seen::of(text.get(before..).unwrap_or_default());
        if seen.is_healthy() {
            return Ok(seen);
        }
        let ended = ended(machine, Duration::from_millis(500))?;
        ensure!(
            started.elapsed() < PATIENCE && seen.panic.is_none() && ended.is_none(),
            "the host does not start into the new version; the console ends with{}",
            tail(&text)
        );
    }
}

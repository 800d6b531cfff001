//! A machine from version to version: a new one from a stick, on trial and then good; one that cannot start, and the way back without a hand;
//! and back by hand.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use fs_err::os::unix::fs::FileExt as _;
use serde::Deserialize;
use vm::guest::{Client, Seen, Start, slot_a_tree};
use vm::{Disk, Machine, MachineSpec, Persistence};

use crate::artifacts::{Artifacts, Image, say};
use crate::host::{PATIENCE, TestHost, credential};
use crate::operator::{Facts, Operator};

/// Where a host finds the stick.
const STICK: &str = "/dev/vdb";
/// What `minimal` has in `image.toml`.
const FIRST: &str = "0.1.0";
const SECOND: &str = "0.2.0";
const THIRD: &str = "0.3.0";

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

struct Town {
    client: Client,
    operator: Operator,
    host: TestHost,
    /// What every start of it is given.
    spec: MachineSpec,
}

pub(crate) fn goes_forward_and_comes_back(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let [second, third] = [build(artifacts, dir, SECOND)?, build(artifacts, dir, THIRD)?];
    let mut town = Town::new(artifacts, dir)?;

    let (mut machine, first) = town.boots(Some(&second))?;
    town.runs(FIRST, "good")?;
    town.apply()?;
    machine.power_off(PATIENCE)?;

    let (mut machine, seen) = town.boots(Some(&third))?;
    ensure!(seen.identity() == first.identity(), "the new version shows another identity: {first:?} then {seen:?}");
    let status = town.runs(SECOND, "good")?;
    let other = (status.spare.version, status.spare.entry.map(|entry| entry.standing));
    ensure!(other == (Some(FIRST.into()), Some("good".into())), "the way back is {other:?}");
    town.apply()?;
    machine.power_off(PATIENCE)?;

    zero(town.host.disk())?;
    let mut machine = town.comes_back_by_itself(&third)?;
    town.runs(SECOND, "good")?;
    let why = town.agent("why")?;
    ensure!(why.contains(&format!("{THIRD}, started 3 times")), "it does not say why: {why}");
    let refused = town.client.ssh(&town.operator.key, "admin", &format!("sudo -n casemate-agent update apply {STICK}"))?;
    let said = refused.stderr_text();
    ensure!(refused.status == 1 && said.contains("was tried on this host"), "the bad version is tried again: {said}");
    let said = town.agent("rollback")?;
    ensure!(said.contains(FIRST), "it goes back to something else: {said}");
    machine.power_off(PATIENCE)?;

    let (_machine, last) = town.boots(None)?;
    ensure!(last.identity() == first.identity(), "the old version shows another identity: {first:?} then {last:?}");
    town.runs(FIRST, "good")?;
    Ok(())
}

/// The small image as a later version; its bundle.
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
    Ok(output.join("bundle.tar"))
}

/// Takes all of the new version's hash tree away, behind the back of the host.
fn zero(disk: &Path) -> Result<()> {
    // The third version went where the first was.
    let (offset, length) = slot_a_tree(disk)?;
    let file = fs::OpenOptions::new().write(true).open(disk)?;
    file.write_all_at(&vec![0; usize::try_from(length)?], offset)?;
    Ok(file.sync_all()?)
}

impl Town {
    fn new(artifacts: &Artifacts, dir: &Path) -> Result<Self> {
        let operator = Operator::new(artifacts, dir, "operator")?;
        let facts = Facts { hostname: "updated.example.org", serial: 1, wordpress: None };
        let document = fs::read(operator.document(dir, &facts)?)?;
        let signature = artifacts.sign_as_operator(&document)?;
        let host = TestHost::new(artifacts, Image::Minimal, dir)?;
        let mut spec = host.spec(Start::Firmware)?;
        spec.credentials = vec![credential("casemate.host", document)?, credential("casemate.host.sig", signature)?];
        let client = Client::new(artifacts.run_tree(), dir, host.ports());
        Ok(Self { client, operator, host, spec })
    }

    /// With a bundle in it as the second disk.
    fn spec_with(&self, stick: Option<&Path>) -> MachineSpec {
        let mut spec = self.spec.clone();
        spec.disks.extend(stick.map(|bundle| Disk { persistence: Persistence::ReadOnly, ..Disk::new(bundle) }));
        spec
    }

    fn boots(&mut self, stick: Option<&Path>) -> Result<(Machine, Seen)> {
        let spec = self.spec_with(stick);
        self.host.boot_healthy(&spec)
    }

    /// Three tries and the old version, in one go.
    fn comes_back_by_itself(&mut self, stick: &Path) -> Result<Machine> {
        let spec = self.spec_with(Some(stick));
        let mut machine = self.host.boot(&spec)?;
        machine
            .wait_for_serial_past_panic("casemate: healthy", PATIENCE)
            .context("the host does not come back from a version that cannot start")?;
        say(&format!("update: back after {:.0} s", machine.uptime().as_secs_f64()));
        Ok(machine)
    }

    fn agent(&self, what: &str) -> Result<String> {
        self.client.ssh_ok(&self.operator.key, &format!("sudo -n casemate-agent {what} 2>&1"))
    }

    fn apply(&self) -> Result<()> {
        let started = Instant::now();
        let said = self.agent(&format!("update apply {STICK}"))?;
        ensure!(said.contains("on trial"), "it is not applied: {said}");
        say(&format!("update: applied in {:.0} s", started.elapsed().as_secs_f64()));
        Ok(())
    }

    /// What runs, and what the boot loader thinks of it: it is told shortly after the console is.
    fn runs(&self, version: &str, standing: &str) -> Result<Status> {
        let started = Instant::now();
        loop {
            let status: Status = serde_json::from_str(&self.agent("update status --json")?)?;
            if status.running == version && status.running_entry.standing == standing {
                return Ok(status);
            }
            let is_over = started.elapsed() > Duration::from_secs(60);
            ensure!(status.running == version && !is_over, "expected {version}, {standing}: {status:?}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

//! A host on a wire that follows a repository, and the small image as later versions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bundle::Sha256Digest;
use fs_err as fs;
use serde::Deserialize;
use vm::guest::{Client, Console, Seen, Start, ended, tail, until_settled};
use vm::{Disk, Interface, Machine, MachineSpec, Persistence};

use super::bad::{Bad, Defect};
use super::crafted;
use crate::artifacts::{Artifacts, Image, say};
use crate::host::{PATIENCE, TestHost, credential};
use crate::neighbour::{Neighbour, OUTSIDE};
use crate::neighbour_updates::{NAME, Updates};
use crate::operator::{Facts, Operator};
use crate::wire::{self, Wire};

/// What `minimal` has in `image.toml`.
pub(super) const FIRST: &str = "0.1.0";
/// What systemd-boot says of itself to the system that it starts (the Boot Loader Interface), in UTF-16.
const LOADER_INFO: &str = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// As if a time server had set the clock; there is none here.
const CLOCK_IS_SET: &str = "install -D /dev/null /run/systemd/timesync/synchronized";
/// What failed here is not tried again.
pub(super) const TRIED: &str = "was tried on this host";
/// Three tries of a version whose agent crashes, or one whose gate has 330 s, on a busy machine.
const WAY_BACK: Duration = Duration::from_secs(1800);

/// What `casemate-agent update status --json` says, as far as it is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    running: String,
    running_entry: Standing,
    pub(super) spare: Spare,
    loaders: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Standing {
    pub(super) standing: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Spare {
    pub(super) version: Option<String>,
    pub(super) entry: Option<Standing>,
}

/// A host on a wire, and the repository that it follows.
pub(crate) struct Town {
    wire: Wire,
    updates: Updates,
    client: Client,
    operator: Operator,
    pub(crate) host: TestHost,
    /// What every start of it is given.
    pub(crate) spec: MachineSpec,
    /// Where sticks are plugged in: as a disk of the machine, which is read fast, or by USB.
    pub(crate) port: Interface,
    _neighbour: Neighbour,
}

/// The small image as a later version, with something wrong or nothing; its output.
pub(crate) fn build(artifacts: &Artifacts, dir: &Path, version: &str, defect: Option<&Defect>) -> Result<PathBuf> {
    build_with(artifacts, dir, version, defect, &|_, text| Ok(text))
}

/// The same, and `change` puts more into the image's folder and into its `image.toml`.
pub(super) fn build_with(
    artifacts: &Artifacts,
    dir: &Path,
    version: &str,
    defect: Option<&Defect>,
    change: &dyn Fn(&Path, String) -> Result<String>,
) -> Result<PathBuf> {
    let (image, output) = (dir.join(format!("image-{version}")), dir.join(version));
    fs::create_dir_all(&image)?;
    let definition = artifacts.definition(Image::Minimal);
    let text = fs::read_to_string(definition.join("image.toml"))?;
    let mut changed = text.replace(&format!("version  = \"{FIRST}\""), &format!("version  = \"{version}\""));
    ensure!(version == FIRST || changed != text, "`minimal` is not of version {FIRST}");
    changed = change(&image, changed)?;
    if let Some(Defect::Unit { name, drop_in }) = defect {
        fs::write(image.join("bad.conf"), drop_in)?;
        let digest = Sha256Digest::of(drop_in.as_bytes());
        let place = format!("/usr/lib/systemd/system/{name}.d/zz-bad.conf");
        changed += &format!(
            "\n[[asset]]\nname = \"bad\"\nfile = \"bad.conf\"\nsha256 = \"{digest}\"\nsize = \"1K\"\nunpack = \"none\"\ninto = \"{place}\"\n"
        );
    }
    fs::write(image.join("image.toml"), changed)?;
    fs::copy(definition.join("host.example.toml"), image.join("host.example.toml"))?;
    artifacts.casemate(&["build", &image.to_string_lossy(), "--output", &output.to_string_lossy()], 0)?;
    if let Some(Defect::EmptyRoot) = defect {
        crafted::empty_root(artifacts, &output)?;
    }
    Ok(output)
}

impl Town {
    pub(crate) fn new(artifacts: &Artifacts, dir: &Path, repository: &Path) -> Result<Self> {
        Self::of(artifacts, dir, repository, &artifacts.image(Image::Minimal))
    }

    /// With this first version on its disk.
    pub(super) fn of(artifacts: &Artifacts, dir: &Path, repository: &Path, first: &Path) -> Result<Self> {
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
        let host = TestHost::of_output(artifacts, first, dir)?;
        let mut spec = host.spec(Start::Firmware)?;
        spec.network = wire.network();
        spec.credentials =
            vec![credential("casemate.host", document.into_bytes())?, credential("casemate.host.sig", signature)?];
        let client = Client::inside(artifacts.run_tree(), dir, &wire.namespace, wire::ADDRESS);
        Ok(Self { wire, updates, client, operator, host, spec, port: Interface::VirtioBlk, _neighbour: neighbour })
    }

    /// The same, and what is written to its disk is recorded.
    pub(super) fn boots_recorded(&mut self, sticks: &[PathBuf], log: &Path) -> Result<(Machine, Seen)> {
        let usual = self.spec.clone();
        self.spec.disks.first_mut().context("the machine has no disk")?.log = Some(log.to_owned());
        let booted = self.boots(sticks);
        self.spec = usual;
        booted
    }

    /// From here on it is started so.
    pub(super) fn start_by(&mut self, start: Start) -> Result<()> {
        self.spec.firmware = self.host.spec(start)?.firmware;
        Ok(())
    }

    /// Where the host finds a stick.
    pub(super) fn stick(&self, number: usize) -> Result<String> {
        let mut letters = 'a'..='i';
        // The machine's own disk is the first of its kind.
        let (kind, first) = if self.port == Interface::Usb { ("sd", 0) } else { ("vd", 1) };
        let letter = letters.nth(first + number).context("more sticks than letters")?;
        Ok(format!("/dev/{kind}{letter}"))
    }

    /// With these bundles plugged in, each as a disk or stick.
    pub(crate) fn boots(&mut self, sticks: &[PathBuf]) -> Result<(Machine, Seen)> {
        self.spec.disks.truncate(1);
        let sticks = sticks.iter().map(|bundle| Disk {
            interface: self.port,
            persistence: Persistence::ReadOnly,
            ..Disk::new(bundle)
        });
        self.spec.disks.extend(sticks);
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
    pub(super) fn takes_what_is_newest(&self, machine: &mut Machine, version: &str) -> Result<Seen> {
        self.root("systemctl stop casemate-update.timer")?;
        let said = self.agent("update check --json")?;
        ensure!(said.contains("\"standing\": \"new\"") && said.contains(version), "it finds something else: {said}");
        self.root("systemctl start casemate-update.service")?;
        let said = self.root("journalctl -o cat -u casemate-update.service")?;
        ensure!(said.contains("the host waits for a time server"), "it does not wait for the time: {said}");
        self.root(CLOCK_IS_SET)?;
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

    /// How long that took.
    pub(crate) fn applies_the_stick(&self, number: usize) -> Result<Duration> {
        let started = Instant::now();
        let said = self.agent(&format!("update apply {}", self.stick(number)?))?;
        ensure!(said.contains("on trial"), "it is not applied: {said}");
        let took = started.elapsed();
        say(&format!("update: applied from a stick in {:.0} s", took.as_secs_f64()));
        Ok(took)
    }

    /// Begins to apply the bundle that a command writes, and is killed a while after its first step.
    pub(super) fn is_killed_while_applying(&self, machine: &mut Machine, bundle: &str, after: Duration) -> Result<()> {
        self.root(&format!("systemd-run --unit=killed sh -c '{bundle} | casemate-agent update apply -'"))?;
        let started = Instant::now();
        while !self.root("journalctl -o cat -u killed")?.contains("update: ") {
            ensure!(started.elapsed() < Duration::from_secs(60), "there is no update to be killed");
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(after);
        machine.cut_power();
        say(&format!("update: killed {:.1} s into `{bundle}`", after.as_secs_f64()));
        Ok(())
    }

    /// The version that runs.
    pub(super) fn runs(&self) -> Result<String> {
        let status: Status = serde_json::from_str(&self.agent("update status --json")?)?;
        Ok(status.running)
    }

    /// Restarts into what the boot loader takes for the newest.
    pub(crate) fn restarts(&self, machine: &mut Machine) -> Result<()> {
        let (started, before) = (Instant::now(), machine.serial().text()?.len());
        self.root("systemctl reboot --no-block")?;
        wait_for_another_start(machine, before)?;
        say(&format!("update: restarted in {:.0} s", started.elapsed().as_secs_f64()));
        Ok(())
    }

    /// By which boot loader this version was started, and which one is on the ESP: that is exchanged shortly after the version is good.
    pub(crate) fn is_started_by(&self, version: &str, loader: &str, on_disk: &str) -> Result<()> {
        let info = self.root(&format!("sh -c 'tr -cd \"[:print:]\" < {LOADER_INFO}'"))?;
        ensure!(info.ends_with(&format!("systemd-boot {loader}")), "{version} is started by `{info}`, not by {loader}");
        let started = Instant::now();
        loop {
            let loaders = self.is_good(version)?.loaders;
            if loaders.len() == 2 && loaders.values().all(|found| found.as_deref() == Some(on_disk)) {
                return Ok(());
            }
            let is_over = started.elapsed() > Duration::from_secs(60);
            ensure!(!is_over, "the boot loader on the ESP is not {on_disk}: {loaders:?}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// What is on the stick is refused, for this reason.
    pub(crate) fn refuses_the_stick(&self, number: usize, because: &str) -> Result<()> {
        let order = format!("sudo -n casemate-agent update apply {}", self.stick(number)?);
        let refused = self.client.ssh(&self.operator.key, "admin", &order)?;
        let said = refused.stderr_text();
        ensure!(refused.status == 1 && said.contains(because), "stick {number} is not refused as `{because}`: {said}");
        Ok(())
    }

    /// A bad version is applied and started, and the old one runs again without a hand and says why.
    pub(super) fn comes_back_from(&self, machine: &mut Machine, bad: &Bad, number: usize) -> Result<()> {
        self.applies_the_stick(number)?;
        let (started, before) = (Instant::now(), machine.serial().text()?.len());
        self.root("systemctl reboot --no-block")?;
        wait_for_another_start(machine, before)?;
        self.is_good(FIRST)?;
        say(&format!("update: {}: back after {:.0} s", bad.what, started.elapsed().as_secs_f64()));
        let why = self.agent("why")?;
        let own = why.split_once(&format!("{}, started {} ", bad.version, bad.starts));
        let own = own.with_context(|| format!("it does not say how often it was started: {why}"))?.1;
        ensure!(own.contains(bad.because), "it does not say why: {why}");
        self.refuses_the_stick(number, TRIED)
    }

    /// After a bad version that was taken for a good one: what comes next is judged from the first version.
    pub(super) fn is_led_back(&self, machine: &mut Machine) -> Result<()> {
        if self.runs()? != FIRST {
            self.agent("rollback")?;
            self.restarts(machine)?;
            self.is_good(FIRST)?;
        }
        Ok(())
    }

    /// Three tries and the old version, in one go.
    pub(super) fn comes_back_by_itself(&mut self) -> Result<Machine> {
        let mut machine = self.starts()?;
        machine
            .wait_for_serial_past_panic("casemate: healthy", PATIENCE)
            .context("the host does not come back from a version that cannot start")?;
        say(&format!("update: back in the old version after {:.0} s", machine.uptime().as_secs_f64()));
        // What is seen at once to be broken is not waited for: that is a minute of each try.
        ensure!(
            !machine.serial().text()?.contains("Timed out waiting for device"),
            "a root that cannot come is waited for"
        );
        Ok(machine)
    }

    pub(super) fn agent(&self, what: &str) -> Result<String> {
        self.root(&format!("casemate-agent {what} 2>&1"))
    }

    /// Whether state of before an update is kept.
    pub(super) fn keeps_state(&self) -> Result<bool> {
        Ok(self.root("sh -c 'test ! -e /var/lib/casemate/update/kept || echo kept'")?.contains("kept"))
    }

    /// Digest of the kernel image of a good version, as the kernel reads it from the ESP.
    pub(super) fn kernel_image(&self, version: &str) -> Result<String> {
        let said = self.root(&format!(
            "sh -c 'mount -o ro /dev/vda1 /mnt && sha256sum < /mnt/EFI/Linux/minimal_{version}.efi; umount /mnt'"
        ))?;
        Ok(said.split_whitespace().next().unwrap_or_default().to_owned())
    }

    pub(super) fn root(&self, command: &str) -> Result<String> {
        self.client.ssh_ok(&self.operator.key, &format!("sudo -n {command}"))
    }

    /// What runs, once the boot loader's counter is off its name: that is shortly after the console says that it is healthy.
    pub(super) fn is_good(&self, version: &str) -> Result<Status> {
        let started = Instant::now();
        loop {
            let is_over = started.elapsed() > Duration::from_secs(60);
            match self.agent("update status --json") {
                Ok(said) => {
                    let status: Status = serde_json::from_str(&said)?;
                    if status.running == version && status.running_entry.standing == "good" {
                        return Ok(status);
                    }
                    ensure!(status.running == version && !is_over, "expected {version}, and it is good: {status:?}");
                }
                // Who marks the version as good has the lock.
                Err(error) => ensure!(!is_over, "the host does not say what runs: {error:#}"),
            }
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
            started.elapsed() < WAY_BACK && ended.is_none(),
            "the host does not become healthy after its restart; the console ends with{}",
            tail(&text)
        );
    }
}

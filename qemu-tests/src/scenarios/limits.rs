//! Memory, tasks, processor and disk of one site: whoever uses them up hurts that site alone. Only a machine shows this: containers here have
//! no controllers for it.

use anyhow::{Context as _, Result, ensure};
use vm::guest::Client;

use crate::artifacts::say;
use crate::operator::Operator;

/// The site that is greedy, and what it may use.
const GREEDY: &str = "www.example.org";
const MEMORY_MIB: u64 = 192;
const TASKS: u64 = 40;
const CPU_PERCENT: u64 = 50;
const DISK_MIB: u64 = 48;
/// A page that is not kept, so that PHP makes it.
const ALIVE: &str = "/?alive=1";
/// The site that must not notice.
const NEIGHBOUR: &str = "b.example.org";
const SLICE: &str = "/sys/fs/cgroup/casemate.slice/casemate-site001.slice";
/// What an idle site that was visited may cost.
const IDLE_MIB: u64 = 40;
/// What a site may cost that nobody has visited, but the host itself to see whether it works.
const UNVISITED_MIB: u64 = 16;
/// Takes memory until something ends it.
const HOG: &str =
    "<?php ini_set(\"memory_limit\", -1); while (true) { $taken[] = str_repeat(random_bytes(1024), 1024); }";

/// What the scenario's document has besides its first site: that site's limits, and a neighbour.
pub(crate) fn document() -> String {
    format!(
        "limits = {{ memory = \"{MEMORY_MIB}M\", tasks = {TASKS}, cpu_percent = {CPU_PERCENT}, disk = \"{DISK_MIB}M\" }}\n\n\
         [[domain.site]]\nname = \"{NEIGHBOUR}\"\nkind = \"php\"\nlimits = {{ disk = \"512M\" }}\n"
    )
}

/// What each site costs before its first visitor: the host asks WordPress once at a start and lets it go again.
pub(crate) fn nobody_came_yet(client: &Client, operator: &Operator) -> Result<()> {
    let limits = Limits { client, operator };
    // The screen says healthy before the gate has let PHP go. Planned work asks WordPress too, and on a slow machine it falls into the start; it leaves
    // PHP as it found it.
    limits.root(
        "systemctl start casemate-health.service; systemctl stop casemate-wordpress-cron.timer; systemctl start casemate-wordpress-cron.service",
    )?;
    let running = limits.root("systemctl list-units --plain --no-legend 'casemate-php-fpm@*.service'")?;
    ensure!(running.trim().is_empty(), "PHP runs before anybody came: {running}");
    let was = limits.root("journalctl --boot --no-pager --output=cat --unit=casemate-php-fpm@site001.service")?;
    ensure!(was.contains("Started "), "the host never asked its WordPress: {was}");
    for id in ["site001", "site002"] {
        let place = format!("/sys/fs/cgroup/casemate.slice/casemate-{id}.slice");
        let shown = limits.root(&format!(
            "if test -d {place}; then cat {place}/memory.current; sed -n 's/^\\(anon\\|shmem\\|kernel\\) //p' {place}/memory.stat; else echo 0; fi"
        ))?;
        let bytes: Vec<u64> = shown.lines().map(|line| Ok(line.trim().parse()?)).collect::<Result<_>>()?;
        let (all, own) = (bytes.first().context("no figures")? >> 20, bytes.iter().skip(1).sum::<u64>() >> 20);
        say(&format!(
            "limits: {id}, which nobody has visited, costs {own} MiB (with its part of the page cache {all})"
        ));
        ensure!(own <= UNVISITED_MIB, "{id} costs {own} MiB before anybody came");
    }
    limits.root("systemctl start casemate-wordpress-cron.timer")?;
    Ok(())
}

struct Limits<'a> {
    client: &'a Client,
    operator: &'a Operator,
}

pub(crate) fn hurt_only_the_site_itself(client: &Client, operator: &Operator) -> Result<()> {
    let limits = Limits { client, operator };
    limits.root(
        "printf '<?php echo \"b is \", \"well\";' > /var/lib/casemate/sites/site002/htdocs/index.php\n\
         chown site002:site002 /var/lib/casemate/sites/site002/htdocs/index.php",
    )?;
    limits.both_answer()?;
    // One limit that does not hold keeps none of the others from being looked at.
    let mut broken = Vec::new();
    for (name, look) in [
        ("memory", &(|| limits.memory()) as &dyn Fn() -> Result<()>),
        ("tasks", &|| limits.tasks()),
        ("processor", &|| limits.processor()),
        ("disk", &|| limits.disk()),
    ] {
        if let Err(error) = look().and_then(|()| limits.both_answer()) {
            broken.push(format!("{name}: {error}"));
        }
    }
    ensure!(broken.is_empty(), "limits that do not hold:\n{}", broken.join("\n"));
    limits.snapshots()?;
    limits.idle()
}

impl Limits<'_> {
    /// A script of the administrator, as root.
    fn root(&self, script: &str) -> Result<String> {
        self.client.ssh_ok(&self.operator.key, &format!("sudo -n sh -eu <<'END'\n{script}\nEND"))
    }

    /// The value of a line `name value` in a file of the site's slice, or of a file with one number.
    fn value(&self, file: &str, name: &str) -> Result<u64> {
        let text = self.root(&format!("cat {SLICE}/{file}"))?;
        let found = text
            .lines()
            .find_map(|line| if name.is_empty() { Some(line) } else { line.strip_prefix(name)?.strip_prefix(' ') });
        found.and_then(|value| value.trim().parse().ok()).with_context(|| format!("`{file}` has no `{name}`: {text}"))
    }

    fn both_answer(&self) -> Result<()> {
        let neighbour = self.client.https_unverified(NEIGHBOUR, "/")?;
        ensure!(neighbour.body == "b is well", "the neighbour answers {}{}", neighbour.head, neighbour.body);
        let greedy = self.client.https_unverified(GREEDY, ALIVE)?;
        ensure!(greedy.status == 200, "the greedy site does not come back: {}", greedy.head);
        Ok(())
    }

    fn memory(&self) -> Result<()> {
        let plugins = "/var/lib/casemate/sites/site001/htdocs/wp-content/plugins";
        self.root(&format!("printf '%s' '{HOG}' > {plugins}/hog.php && chown site001:site001 {plugins}/hog.php"))?;
        let answer = self.client.https_unverified(GREEDY, "/wp-content/plugins/hog.php")?;
        ensure!([500, 502, 503].contains(&answer.status), "the memory hog answers {}", answer.head);
        ensure!(self.value("memory.peak", "")? <= MEMORY_MIB << 20, "the site had more than {MEMORY_MIB} MiB");
        ensure!(self.value("memory.events", "oom_kill")? > 0, "nobody was killed");
        Ok(())
    }

    fn tasks(&self) -> Result<()> {
        self.root(
            "systemd-run --quiet --unit=bomb --slice=casemate-site001.slice --uid=site001-php \
             sh -c 'while :; do sleep 60 & done 2>/dev/null'\nsleep 5",
        )?;
        let answers = self.both_answer();
        let counted = || Ok::<_, anyhow::Error>((self.value("pids.events", "max")?, self.value("pids.peak", "")?));
        let counted = counted();
        self.root("systemctl stop bomb.service || true; systemctl reset-failed bomb.service || true")?;
        let (refused, most) = counted?;
        ensure!(refused > 0 && most <= TASKS, "{refused} tasks were refused, {most} were there at once");
        answers
    }

    /// Two loops for ten seconds: what they get is measured by the kernel, whatever else the machine does.
    fn processor(&self) -> Result<()> {
        let spun = self.root(&format!(
            "used() {{ sed -n 's/usage_usec //p' {SLICE}/cpu.stat; }}\n\
             for loop in 1 2; do systemd-run --quiet --unit=spin$loop --slice=casemate-site001.slice --uid=site001-php sh -c 'while :; do :; done'; done\n\
             sleep 2\nbefore=$(used)\nfrom=$(cut -d' ' -f1 /proc/uptime)\nsleep 10\nafter=$(used)\nto=$(cut -d' ' -f1 /proc/uptime)\n\
             systemctl stop spin1.service spin2.service\necho $((after - before)) $from $to"
        ))?;
        let figures: Vec<f64> = spun.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [used, from, to] = figures.try_into().ok().with_context(|| format!("no figures: {spun}"))?;
        let percent = used / 1e6 / (to - from) * 100.0;
        say(&format!("limits: two endless loops got {percent:.0} % of a core, {CPU_PERCENT} % are allowed"));
        ensure!(
            percent > 10.0 && percent < f64::from(u32::try_from(CPU_PERCENT)?) * 1.2,
            "the loops got {percent:.0} %"
        );
        Ok(())
    }

    fn disk(&self) -> Result<()> {
        let write = |id: &str, place: &str, mib: u64| {
            format!(
                "setpriv --reuid={id}-php --regid={id} --clear-groups dd if=/dev/urandom of=/var/lib/casemate/sites/{id}/{place} bs=1M count={mib} conv=fsync 2>&1 || true"
            )
        };
        let uploads = "htdocs/wp-content/uploads/much";
        let full = self.root(&write("site001", uploads, 2 * DISK_MIB))?;
        ensure!(full.contains("Disk quota exceeded"), "{} MiB were written: {full}", 2 * DISK_MIB);
        let other = self.root(&write("site002", "tmp/much", 2 * DISK_MIB))?;
        ensure!(other.contains("copied") && !other.contains("exceeded"), "the neighbour cannot write: {other}");
        // With its quota full.
        self.both_answer()?;
        self.root(&format!(
            "rm -f /var/lib/casemate/sites/site001/{uploads} /var/lib/casemate/sites/site002/tmp/much\nsync"
        ))?;
        let again = self.root(&write("site001", uploads, 1))?;
        ensure!(again.contains("copied") && !again.contains("exceeded"), "with room again it cannot write: {again}");
        let kept = self.root("btrfs subvolume show /var/lib/casemate/sites/site001")?;
        ensure!(kept.contains("Limit referenced"), "the site's directory has no limit: {kept}");
        Ok(())
    }

    /// A snapshot is a read-only subvolume, what is restored a writable one with the site's limit, and the pages are those of before.
    fn snapshots(&self) -> Result<()> {
        let shown = self.root(&format!(
            "page=/var/lib/casemate/sites/site002/htdocs/index.php\n\
             name=$(casemate-agent site snapshot {NEIGHBOUR} --label proof)\n\
             echo broken > $page\n\
             casemate-agent site restore {NEIGHBOUR} $name\n\
             btrfs property get /var/lib/casemate/snapshots/site002/$name/files ro\n\
             btrfs property get /var/lib/casemate/sites/site002 ro\n\
             btrfs subvolume show /var/lib/casemate/sites/site002 | grep 'Limit referenced'\n\
             touch $page"
        ))?;
        let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(
            words.contains("ro=true ro=false Limit referenced: 512.00MiB"),
            "a snapshot and what it was restored to are {shown}"
        );
        self.both_answer()
    }

    /// Workers go after a minute; what stays is the master with its memory for code.
    fn idle(&self) -> Result<()> {
        self.root("systemctl restart casemate-php-fpm@site001.service")?;
        ensure!(self.client.https_unverified(GREEDY, ALIVE)?.status == 200, "the site does not answer");
        self.root(
            "for second in $(seq 150); do pgrep -u site001-php -f 'pool site001' >/dev/null || break; sleep 1; done",
        )?;
        let [current, anon, shared, kernel] = [
            self.value("memory.current", "")?,
            self.value("memory.stat", "anon")?,
            self.value("memory.stat", "shmem")?,
            self.value("memory.stat", "kernel")?,
        ]
        .map(|bytes| bytes >> 20);
        say(&format!(
            "limits: an idle site that was visited costs {current} MiB (own {anon}, code {shared}, kernel {kernel}, the rest is page cache)"
        ));
        ensure!(anon + shared + kernel <= IDLE_MIB, "an idle site costs more than {IDLE_MIB} MiB");
        Ok(())
    }
}

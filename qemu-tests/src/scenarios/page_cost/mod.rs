//! What pages cost. Of an uncached `WordPress` in processor time: here, with Apache's own PHP module as Debian sets it up, with and without
//! the WAF, and with `open_basedir`, which is not used here (decision 22).
//!
//! Pages that are kept for visitors without a name are measured in processor time, and in time to their first byte.
//!
//! The stock server runs beside ours in the same container: the same core, database, content and user, without a jail.

mod report;

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bench::measure::median;
use bench::workshop;
use debian::deb::Deb;
use fs_err as fs;
use pipeline::build::Builder;
use tools::{Progress, ProgressMode};
use vm::Container;
use vm::guest::Client;

use crate::artifacts::{Artifacts, say};
use crate::container_host::{ADDRESS, ContainerHost, NEIGHBOUR, lift_measures, shell};
use crate::neighbour::Neighbour;
use crate::operator::{Facts, Operator};

use report::{Figures, Row};

const SITE: &str = "www.example.org";
const MACHINE_ID: &str = "c057c057c057c057c057c057c057c057";
/// The package with Apache's own PHP, and its module.
const PACKAGE: &str = "libapache2-mod-php8.4";
const MODULE: &str = "usr/lib/apache2/modules/libphp8.4.so";
const STOCK: &str = include_str!("stock.conf");
const STOCK_PORT: u16 = 8443;
const OURS: [&str; 2] = ["apache2.service", "casemate-php-fpm@site001.service"];
const THEIRS: [&str; 1] = ["stock.service"];
const PAGES: u32 = 12;
/// Pages before those that count: PHP may have been started just now.
const WARM: u32 = 2;
/// Many short ones: what else happens on the machine then meets both, or one pair of many.
const ROUNDS: usize = 11;
/// What is not met is looked at again: others at work on the machine take the caches from ours, where a request goes through two programs, more than
/// from theirs. What really costs more does so every time.
const LOOKS: usize = 3;
const KEPT_PAGES: u32 = 200;
const KEPT_ROUNDS: u32 = 5;
/// A kept page, and a file of `WordPress` that is as large (some 15 KB) and compressed already, as the page is: TLS is done with all of it first.
const TO_FIRST_BYTE: [&str; 2] = ["/", "/wp-includes/images/wpicons-2x.png"];
const FIRST_BYTES: usize = 40;
/// Where the table and its picture go, if anywhere: a folder of the repository.
const DOCS: &str = "CASEMATE_BENCHMARKS";
const WAF: &str = "/run/casemate/etc/apache2/site-waf/site001.conf";
const POOL: &str = "/run/casemate/etc/php/8.4/fpm/pool.d/site001.conf";
const BASES: &str = "/usr/share/wordpress:/usr/share/php:/usr/share/javascript:/usr/share/casemate/wordpress:/etc/wordpress:\
                     /var/lib/casemate/sites/site001:/var/lib/casemate/keys/wordpress:/tmp";

/// Medians over pairs of neighbouring runs: milliseconds of both, and of each pair's ratio.
#[derive(Debug, Clone)]
struct Comparison {
    each: [f64; 2],
    ratio: f64,
}

struct Costs<'a> {
    container: &'a Container,
    client: &'a Client,
}

pub(crate) fn is_that_of_a_stock_server(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let facts = Facts { hostname: "cost.example.org", serial: 1, wordpress: Some("Costs") };
    let document = fs::read_to_string(operator.document(dir, &facts)?)?;
    let mut host = ContainerHost::new(artifacts, dir, &document, MACHINE_ID)?;
    let _neighbour = Neighbour::start(&host.neighbour, NEIGHBOUR)?;
    let (container, _, _) = host.boot()?;
    lift_measures(&container)?;
    let client = host.client();
    let costs = Costs { container: &container, client: &client };
    costs.start_stock(dir)?;

    let mut rows = costs.look()?;
    for _ in 1..LOOKS {
        if rows.iter().all(Row::is_met) {
            break;
        }
        rows = rows.into_iter().zip(costs.look()?).map(|(row, again)| if row.is_met() { row } else { again }).collect();
    }
    if let Some(docs) = std::env::var_os(DOCS) {
        report::write(&artifacts.repository().join(docs), &rows)?;
    }
    let missed: Vec<String> = rows.iter().filter(|row| !row.is_met()).map(ToString::to_string).collect();
    ensure!(missed.is_empty(), "more than is expected, in each of {LOOKS} looks: {}", missed.join("; "));
    Ok(())
}

/// Whose processor time counts, how they are asked, and what must be done before.
type Turn<'t> = (&'t [&'t str], &'t [&'t str], &'t dyn Fn() -> Result<()>);

impl Comparison {
    fn of(pairs: &[[f64; 2]]) -> Self {
        let column = |which: usize| median(pairs.iter().map(|pair| pair[which]).collect());
        Self { each: [column(0), column(1)], ratio: median(pairs.iter().map(|[one, other]| one / other).collect()) }
    }
}

impl Costs<'_> {
    /// Everything once, and said.
    fn look(&self) -> Result<Vec<Row>> {
        let to_stock = format!("{SITE}:443:{ADDRESS}:{STOCK_PORT}");
        let stock = ["--connect-to", to_stock.as_str()];
        self.guard(false)?;
        let stock = self.compare([(&OURS, &[], &|| Ok(())), (&THEIRS, &stock, &|| Ok(()))])?;
        let bases = self.compare([(&OURS, &[], &|| self.restrict(true)), (&OURS, &[], &|| self.restrict(false))])?;
        let kept_open = self.kept()?;
        self.guard(true)?;
        let (kept, first_byte) = (self.kept()?, self.first_bytes()?);
        let rows = Figures { stock, bases, kept_open, kept, first_byte }.rows();
        for row in &rows {
            say(&format!("page cost: {row}"));
        }
        Ok(rows)
    }

    /// A second Apache, as its package and that of its module leave it, with TLS and the site.
    fn start_stock(&self, dir: &Path) -> Result<()> {
        let place = dir.join("var/lib/casemate/stock");
        fs::create_dir_all(&place)?;
        fs::write(place.join("libphp8.4.so"), module()?)?;
        fs::write(place.join("apache2.conf"), STOCK)?;
        // State is noexec; what this server sends has the uid that may send nothing, and its port is no overlay's.
        shell(
            self.container,
            "set -eu\n\
             mkdir -p /run/stock/conf.d && cp /var/lib/casemate/stock/* /run/stock/\n\
             cp /usr/lib/php/8.4/php.ini-production /run/stock/php.ini\n\
             cp /etc/php/casemate/conf.d/10-extensions.ini /run/stock/conf.d/\n\
             nft insert rule inet casemate_egress of_sites tcp sport 8443 accept\n\
             iptables -I INPUT -p tcp --dport 8443 -j ACCEPT\n\
             systemd-run --quiet --unit=stock --setenv=PHP_INI_SCAN_DIR=/run/stock/conf.d --setenv=WORDPRESS_CONFIG=site001 \
             /usr/sbin/apache2 -f /run/stock/apache2.conf -DFOREGROUND\n\
             for turn in $(seq 50); do test -s /run/stock/apache2.pid && break; sleep 0.1; done",
        )
        .map(drop)
    }

    /// The kernel's count for these units, in microseconds.
    fn used(&self, units: &[&str]) -> Result<f64> {
        let script = format!(
            "for unit in {}; do sed -n 's/^usage_usec //p' /sys/fs/cgroup$(systemctl show --value --property=ControlGroup $unit)/cpu.stat; done",
            units.join(" ")
        );
        let shown = shell(self.container, &script)?;
        let figures: Vec<f64> = shown.lines().filter_map(|line| line.parse().ok()).collect();
        ensure!(figures.len() == units.len(), "the kernel's counts are {shown:?}");
        Ok(figures.iter().sum())
    }

    fn ask(&self, pages: u32, further: &[&str]) -> Result<()> {
        let answer = self.client.https_with(SITE, &format!("/?turn=[1-{pages}]"), further)?;
        let all = format!("{}{}", answer.head, answer.body);
        let good = all.matches("HTTP/1.1 200 OK").count();
        ensure!(good == usize::try_from(pages)?, "{good} of {pages} pages are good: {}", answer.head);
        ensure!(answer.body.contains("<title>Costs"), "another page: {}", answer.body);
        Ok(())
    }

    /// Milliseconds of processor time for a page.
    fn take(&self, (units, further, before): &Turn<'_>) -> Result<f64> {
        before()?;
        self.ask(WARM, further)?;
        let from = self.used(units)?;
        self.ask(PAGES, further)?;
        Ok((self.used(units)? - from) / 1000.0 / f64::from(PAGES))
    }

    /// Two that take turns, each the first every other time.
    fn compare(&self, turns: [Turn<'_>; 2]) -> Result<Comparison> {
        let mut pairs = Vec::new();
        for round in 0..ROUNDS {
            let first = round % 2;
            let mut pair = [0.0; 2];
            for which in [first, 1 - first] {
                pair[which] = self.take(&turns[which])?;
            }
            pairs.push(pair);
        }
        Ok(Comparison::of(&pairs))
    }

    /// Milliseconds of processor time for a page that is kept, as browsers ask for it; PHP is not woken. The least of some rounds, for others at
    /// work on the machine only add.
    fn kept(&self) -> Result<f64> {
        let answer = self.client.https_with(SITE, "/", &[])?;
        ensure!(answer.status == 200, "the page answers {}", answer.head);
        shell(self.container, &format!("systemctl stop {}", OURS[1]))?;
        let ask = |pages: u32| -> Result<()> {
            let answer =
                self.client.https_with(SITE, &format!("/#[1-{pages}]"), &["--header", "Accept-Encoding: gzip"])?;
            let all = format!("{}\r\n\r\n{}", answer.head, answer.body);
            let good = all.matches("Content-Encoding: gzip").count();
            ensure!(good == usize::try_from(pages)?, "{good} of {pages} pages were kept: {}", answer.head);
            Ok(())
        };
        ask(WARM)?;
        let mut taken = f64::INFINITY;
        for _ in 0..KEPT_ROUNDS {
            let from = self.used(&OURS[..1])?;
            ask(KEPT_PAGES)?;
            taken = taken.min((self.used(&OURS[..1])? - from) / 1000.0 / f64::from(KEPT_PAGES));
        }
        let state = shell(self.container, &format!("systemctl is-active {} || true", OURS[1]))?;
        ensure!(state.trim() == "inactive", "a kept page wakes PHP: it is {state}");
        Ok(taken)
    }

    /// Milliseconds from a request that is sent to the first byte of its answer: of a page that is kept, and of a file. The wall clock's.
    fn first_bytes(&self) -> Result<Comparison> {
        let mut pairs = Vec::new();
        for round in 0..ROUNDS {
            let mut pair = [0.0; 2];
            for which in [round % 2, 1 - round % 2] {
                pair[which] = self.first_byte(TO_FIRST_BYTE[which])?;
            }
            pairs.push(pair);
        }
        Ok(Comparison::of(&pairs))
    }

    fn first_byte(&self, path: &str) -> Result<f64> {
        let further = [
            "--header",
            "Accept-Encoding: gzip",
            "--write-out",
            "%{http_code} %{time_pretransfer} %{time_starttransfer}\\n",
        ];
        let told = self.client.https_statuses(SITE, &format!("{path}#[1-{FIRST_BYTES}]"), &further)?;
        let times: Vec<f64> = told.iter().filter_map(|line| milliseconds(line)).collect();
        ensure!(times.len() == FIRST_BYTES, "`{path}` is answered {told:?}");
        Ok(median(times))
    }

    /// The site's WAF, or none. The server reads its settings after it has said that it will.
    fn guard(&self, guarded: bool) -> Result<()> {
        let line = if guarded { "true".into() } else { format!("echo SecRuleEngine Off >> {WAF}") };
        shell(
            self.container,
            &format!("sed -i /SecRuleEngine/d {WAF}; {line}; systemctl reload {} && sleep 1", OURS[0]),
        )
        .map(drop)
    }

    /// PHP of the site with `open_basedir`, or without.
    fn restrict(&self, restricted: bool) -> Result<()> {
        let line = if restricted {
            format!("echo 'php_admin_value[open_basedir] = {BASES}' >> {POOL}")
        } else {
            "true".into()
        };
        shell(self.container, &format!("sed -i '/open_basedir/d' {POOL}; {line}; systemctl restart {}", OURS[1]))
            .map(drop)
    }
}

/// Of a status, and two moments in seconds: the time between them, if all is well.
fn milliseconds(line: &str) -> Option<f64> {
    let (from, to) = line.strip_prefix("200 ")?.split_once(' ')?;
    Some((to.parse::<f64>().ok()? - from.parse::<f64>().ok()?) * 1000.0)
}

/// The module from Debian's package, as the archive has it now: of the same version as the image's PHP.
fn module() -> Result<Vec<u8>> {
    let builder = Builder::new(workshop::settings(&workshop::cache_dir()?)?, Progress::new(ProgressMode::Quiet))?;
    let packages = builder.fetch_packages(&builder.lock_packages(&[PACKAGE])?)?;
    let package = packages.iter().find(|package| package.name == PACKAGE).context("the archive has no such package")?;
    let mut deb = Deb::open(fs::File::open(&package.path)?)?;
    let mut data = deb.data()?;
    while let Some(entry) = data.next_entry()? {
        if entry.path.to_string().trim_start_matches('/') == MODULE {
            let mut bytes = Vec::new();
            data.content().read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
    }
    anyhow::bail!("`{PACKAGE}` holds no `{MODULE}`")
}

//! What a page of an uncached `WordPress` costs in processor time: here, with Apache's own PHP module as Debian sets it up, and with
//! `open_basedir`, which is not used here (decision 22).
//!
//! The stock server runs beside ours in the same container: the same core, database, content and user, without a jail.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bench::workshop;
use debian::deb::Deb;
use fs_err as fs;
use pipeline::build::Builder;
use tools::{Progress, ProgressMode};
use vm::Container;
use vm::guest::Client;

use crate::artifacts::{Artifacts, say};
use crate::container_host::{ADDRESS, ContainerHost, NEIGHBOUR, shell};
use crate::neighbour::Neighbour;
use crate::operator::{Facts, Operator};

const SITE: &str = "www.example.org";
const MACHINE_ID: &str = "c057c057c057c057c057c057c057c057";
/// The package with Apache's own PHP, and its module.
const PACKAGE: &str = "libapache2-mod-php8.4";
const MODULE: &str = "usr/lib/apache2/modules/libphp8.4.so";
const STOCK: &str = include_str!("page_cost.conf");
const STOCK_PORT: u16 = 8443;
const OURS: [&str; 2] = ["apache2.service", "casemate-php-fpm@site001.service"];
const THEIRS: [&str; 1] = ["stock.service"];
const PAGES: u32 = 30;
/// Pages before those that count: PHP may have been started just now.
const WARM: u32 = 6;
const ROUNDS: usize = 5;
/// Ours may cost this much of theirs.
const AT_MOST: f64 = 1.1;
const POOL: &str = "/run/casemate/etc/php/8.4/fpm/pool.d/site001.conf";
const BASES: &str = "/usr/share/wordpress:/usr/share/php:/usr/share/javascript:/usr/share/casemate/wordpress:/etc/wordpress:\
                     /var/lib/casemate/sites/site001:/var/lib/casemate/keys/wordpress:/tmp";

struct Costs<'a> {
    container: &'a Container,
    client: &'a Client,
}

pub(crate) fn is_that_of_a_stock_server(artifacts: &Artifacts) -> Result<()> {
    let dir = artifacts.scratch("page-cost")?;
    let operator = Operator::new(artifacts, &dir, "operator")?;
    let facts = Facts { hostname: "cost.example.org", serial: 1, wordpress: Some("Costs") };
    let document = fs::read_to_string(operator.document(&dir, &facts)?)?;
    let mut host = ContainerHost::new(artifacts, &dir, &document, MACHINE_ID)?;
    let _neighbour = Neighbour::start(&host.neighbour, NEIGHBOUR)?;
    let (container, _, _) = host.boot()?;
    let client = host.client();
    let costs = Costs { container: &container, client: &client };
    costs.start_stock(&dir)?;

    let to_stock = format!("{SITE}:443:{ADDRESS}:{STOCK_PORT}");
    let stock = ["--connect-to", to_stock.as_str()];
    let [ours, theirs] = costs.take_turns([(&OURS, &[], &|| Ok(())), (&THEIRS, &stock, &|| Ok(()))])?;
    let ratio = ours / theirs;
    say(&format!(
        "page cost: a page takes {ours:.1} ms of processor time here and {theirs:.1} ms of a stock server: {ratio:.3}"
    ));
    let [without, with] =
        costs.take_turns([(&OURS, &[], &|| costs.restrict(false)), (&OURS, &[], &|| costs.restrict(true))])?;
    say(&format!(
        "page cost: with open_basedir a page takes {with:.1} ms, without {without:.1} ms: {:.3}",
        with / without
    ));
    ensure!(ratio <= AT_MOST, "a page costs {ratio:.3} of what it costs with Apache's own PHP");
    Ok(())
}

/// Whose processor time counts, how they are asked, and what must be done before.
type Turn<'t> = (&'t [&'t str], &'t [&'t str], &'t dyn Fn() -> Result<()>);

impl Costs<'_> {
    /// A second Apache, as its package and that of its module leave it, with TLS and the site.
    fn start_stock(&self, dir: &Path) -> Result<()> {
        let place = dir.join("var/lib/casemate/stock");
        fs::create_dir_all(&place)?;
        fs::write(place.join("libphp8.4.so"), module()?)?;
        fs::write(place.join("apache2.conf"), STOCK)?;
        // State is noexec; and what this server sends has the uid that may send nothing.
        shell(
            self.container,
            "set -eu\n\
             mkdir -p /run/stock/conf.d && cp /var/lib/casemate/stock/* /run/stock/\n\
             cp /usr/lib/php/8.4/php.ini-production /run/stock/php.ini\n\
             cp /etc/php/casemate/conf.d/10-extensions.ini /run/stock/conf.d/\n\
             nft insert rule inet casemate_egress of_sites tcp sport 8443 accept\n\
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

    /// Milliseconds of a page for each of two, which take turns; the least of all rounds, since others at work on the machine only add.
    fn take_turns(&self, turns: [Turn<'_>; 2]) -> Result<[f64; 2]> {
        let mut taken = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for ((units, further, before), taken) in turns.iter().zip(&mut taken) {
                before()?;
                self.ask(WARM, further)?;
                let from = self.used(units)?;
                self.ask(PAGES, further)?;
                taken.push((self.used(units)? - from) / 1000.0 / f64::from(PAGES));
            }
        }
        Ok(taken.map(|rounds| rounds.into_iter().fold(f64::INFINITY, f64::min)))
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

//! A hundred sites: what each of them adds to the start of a host.

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use std::path::Path;
use tools::{ResultExt as _, Tool};
use vm::Container;

use crate::artifacts::{Artifacts, say};
use crate::container_host::ContainerHost;
use crate::host::PATIENCE;
use crate::operator::{Facts, Operator};

const MACHINE_ID: &str = "100510051005100510051005100510ff";
const SITES: u32 = 100;
/// What a site may add to a start, in seconds.
const EACH: f64 = 0.1;

pub(crate) fn start_quickly(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let document = |serial, sites: u32| -> Result<String> {
        let facts = Facts { hostname: "many.example.org", serial, wordpress: None };
        let site = |number| format!("[[domain.site]]\nname = \"s{number}.example.net\"\nkind = \"php\"\n");
        let all: String = (1..=sites).map(site).collect();
        Ok(fs::read_to_string(operator.document(dir, &facts)?)? + "\n[[domain]]\nname = \"example.net\"\n" + &all)
    };
    let mut host = ContainerHost::new(artifacts, dir, &document(1, 1)?, MACHINE_ID)?;
    let start = |host: &mut ContainerHost<'_>| -> Result<f64> {
        let (mut container, _, _) = host.boot()?;
        let seconds = seconds_to_sockets(&container)?;
        ensure!(container.power_off(PATIENCE)? == 0, "the container does not end in good order");
        Ok(seconds)
    };
    start(&mut host)?;
    let one = start(&mut host)?;
    host.give(&document(2, SITES)?);
    let first = start(&mut host)?;
    let again = start(&mut host)?;
    let each = (again - one) / f64::from(SITES - 1);
    say(&format!(
        "many sites: from the agent to all sockets {one:.1} s with one site, {first:.1} s with {SITES} new ones, {again:.1} s at the next start: {each:.3} s each"
    ));
    ensure!(each <= EACH, "a site adds {each:.3} s to a start");

    let (container, _, _) = host.boot()?;
    let sockets = "systemctl list-units --plain --no-legend --state=listening 'casemate-php-fpm@*.socket' | wc -l";
    let listening = container.exec(&Tool::new("sh").args(["-c", sockets])).remedied()?.stdout_text();
    ensure!(listening.trim() == SITES.to_string(), "{} sockets listen", listening.trim());
    let place = "echo '<?php echo \"last\";' > /var/lib/casemate/sites/site100/htdocs/index.php && chown site100:site100 /var/lib/casemate/sites/site100/htdocs/index.php";
    container.exec(&Tool::new("sh").args(["-c", place])).remedied()?;
    let page = host.client().https_unverified(&format!("s{SITES}.example.net"), "/")?;
    ensure!(page.body == "last", "the last site answers {}{}", page.head, page.body);
    Ok(())
}

/// From the start of the agent to the moment in which every site's socket listens.
fn seconds_to_sockets(container: &Container) -> Result<f64> {
    let moment = |unit: &str, property: &str| -> Result<f64> {
        let tool = Tool::new("systemctl").args(["show", "--value", "--property", property, unit]);
        let shown = container.exec(&tool).remedied()?.stdout_text();
        let microseconds: f64 = shown.trim().parse().with_context(|| format!("{property} of {unit} is {shown}"))?;
        ensure!(microseconds > 0.0, "{unit} was never started");
        Ok(microseconds / 1e6)
    };
    Ok(moment("casemate-php.target", "ActiveEnterTimestampMonotonic")?
        - moment("casemate-personalise.service", "ExecMainStartTimestampMonotonic")?)
}

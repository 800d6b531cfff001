//! A program of an attacker in one site: it reaches its own site and nothing else, at once, and leaves lines that name the site.
//!
//! Tried twice: as PHP is set up, and with every PHP function given back, so that the second walls are seen to stand by themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use serde::Deserialize;
use tools::{ResultExt as _, Tool};
use vm::Container;
use vm::guest::Client;

use crate::artifacts::{Artifacts, say};
use crate::container_host::{ContainerHost, NEIGHBOUR, put_file, shell};
use crate::neighbour::{Neighbour, PAGE};
use crate::operator::{Facts, Operator};

const SITE: &str = "www.example.org";
const OTHER: &str = "b.example.org";
const MACHINE_ID: &str = "0ddba110ddba110ddba110ddba110ddb";
const CONTENT: &str = "/var/lib/casemate/sites/site001/htdocs/wp-content";
/// What the attacker's PHP does; answers with JSON.
const ATTACK: &str = include_str!("attack.php");
/// Attempts whose name begins so use what the site may use: they must succeed.
const CONTROL: &str = "control: ";
/// No attempt may keep a PHP process longer, in milliseconds: whoever waits is out of work soon. By the proxy there is TLS on the way.
const QUICK: u64 = 100;
const QUICK_BY_PROXY: u64 = 500;

/// A second site, and names that the first may ask for.
const FURTHER: &str = r#"allow = ["listed.example.net", "inside.example.net"]

[[domain.site]]
name = "b.example.org"
kind = "wordpress"
title = "Another"
admin_user = "somebody"
admin_email = "somebody@example.org"
"#;

/// What became of an attempt.
#[derive(Debug, Deserialize)]
struct Attempt {
    done: bool,
    saw: String,
    ms: u64,
}

pub(crate) fn keeps_a_program_in(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let facts = Facts { hostname: "jail.example.org", serial: 1, wordpress: Some("Attacked") };
    let document = fs::read_to_string(operator.document(dir, &facts)?)? + FURTHER;
    let mut host = ContainerHost::new(artifacts, dir, &document, MACHINE_ID)?;
    let neighbour = Neighbour::start(&host.neighbour, NEIGHBOUR)?;
    let (container, _, _) = host.boot()?;
    let client = host.client();
    plant(&container, dir)?;

    let usual = attack(&client)?;
    say(&format!("jail: {} attempts", usual.len()));
    give_functions_back(&container)?;
    let bare = attack(&client)?;
    for attempt in ["a program by a list", "a program by exec", "a library by the environment"] {
        let saw = |attempts: &BTreeMap<String, Attempt>| attempts.get(attempt).map(|found| found.saw.clone());
        let (first, second) = (saw(&usual).unwrap_or_default(), saw(&bare).unwrap_or_default());
        ensure!(first.contains("undefined function"), "PHP has functions that start programs: `{attempt}`: {first}");
        ensure!(!second.contains("undefined function"), "`{attempt}` was not tried: {second}");
    }
    check(&usual).context("as PHP is set up")?;
    check(&bare).context("with all functions of PHP")?;
    check_quick(&usual, &bare)?;
    check_journal(&container)?;
    check_neighbour(&container, &neighbour)?;
    check_links(&container, &client)?;
    check_own_requests(&container, &client)?;
    check_crowd(&container, &client)?;
    check_exposure(&container)?;
    check_database_restart(&container, &client)
}

/// Puts the attacker's files where a leaky plugin would have put them, and sees that the program among them is a good one.
fn plant(container: &Container, dir: &std::path::Path) -> Result<()> {
    let state = dir.join("var/lib/casemate/sites/site001/htdocs/wp-content");
    fs::write(state.join("plugins/attack.php"), ATTACK)?;
    fs::write(state.join("uploads/program"), program())?;
    let place = format!(
        "cd {CONTENT} && chown --reference=plugins plugins/attack.php && chown --reference=uploads uploads/program && \
         install uploads/program /dev/shm/program && /dev/shm/program"
    );
    let said = shell(container, &place)?;
    ensure!(said == "ran: 42\n", "the attacker's program does not run where it may: {said:?}");
    Ok(())
}

fn attack(client: &Client) -> Result<BTreeMap<String, Attempt>> {
    let answer = client.https_unverified(SITE, "/wp-content/plugins/attack.php")?;
    ensure!(answer.status == 200, "the attacker's program answers {}", answer.head);
    serde_json::from_str(&answer.body).with_context(|| format!("no list of attempts but {}", answer.body))
}

fn check(attempts: &BTreeMap<String, Attempt>) -> Result<()> {
    ensure!(attempts.len() > 50, "only {} attempts", attempts.len());
    let wrong: Vec<String> = attempts
        .iter()
        .filter(|(name, attempt)| attempt.done != name.starts_with(CONTROL))
        .map(|(name, attempt)| format!("{name}: {}", attempt.saw))
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The machine may be busy once, hardly twice at the same attempt.
fn check_quick(first: &BTreeMap<String, Attempt>, second: &BTreeMap<String, Attempt>) -> Result<()> {
    let slow: Vec<String> = first
        .iter()
        .filter(|(name, _)| !name.starts_with(CONTROL))
        .filter_map(|(name, attempt)| Some((name, attempt.ms.min(second.get(name)?.ms))))
        .filter(|(name, took)| *took > if name.contains("proxy") { QUICK_BY_PROXY } else { QUICK })
        .map(|(name, milliseconds)| format!("{name}: {milliseconds} ms"))
        .collect();
    ensure!(slow.is_empty(), "refused too slowly: {}", slow.join(", "));
    Ok(())
}

/// Takes away the first wall: the list of functions that PHP does not have.
fn give_functions_back(container: &Container) -> Result<()> {
    let unit = "casemate-php-fpm@site001.service";
    let start = "/usr/sbin/php-fpm8.4 --nodaemonize -c /etc/php/casemate/php.ini -d disable_functions= --fpm-config /run/php.conf";
    let script = format!(
        "mkdir -p /run/systemd/system/{unit}.d && printf '[Service]\\nExecStart=\\nExecStart={start}\\n' > /run/systemd/system/{unit}.d/bare.conf && \
         systemctl daemon-reload && systemctl stop --quiet {unit}"
    );
    shell(container, &script).map(drop)
}

/// Every kind of refusal left a line with the site's name, and the other site is in none.
fn check_journal(container: &Container) -> Result<()> {
    let wanted = [
        "egress refused site=www.example.org  IN= OUT=lo",
        "DST=10.0.2.2 LEN=60",
        " DPT=22 ",
        " DPT=53 ",
        " DPT=443 ",
        "DST=127.77.0.2 ",
        "site=www.example.org TCP_DENIED/403 GET http://unlisted.example.net/",
        "site=www.example.org TCP_DENIED/200 CONNECT unlisted.example.net:443",
        "site=www.example.org TCP_DENIED/403 GET http://10.0.2.2/",
        "site=www.example.org TCP_DENIED/200 CONNECT www.example.org:22",
        "site=www.example.org TCP_DENIED/200 CONNECT b.example.org:443",
        "site=www.example.org TCP_DENIED/403 GET http://inside.example.net/",
    ];
    let journal = Tool::new("journalctl").args(["--boot", "--no-pager", "--output=cat"]);
    let mut missing = Vec::new();
    for _ in 0..20 {
        let lines = container.exec(&journal).remedied()?.stdout_text();
        missing = wanted.iter().filter(|part| !lines.contains(**part)).collect();
        let innocent = lines.lines().find(|line| line.contains(&format!("refused site={OTHER}")));
        ensure!(innocent.is_none(), "the other site is blamed: {innocent:?}");
        if missing.is_empty() {
            return Ok(());
        }
        // Lines take a moment from the kernel to the journal.
        thread::sleep(Duration::from_millis(250));
    }
    bail!("the journal has no line with {missing:?}")
}

/// Only the page that may be asked for was asked for; the proxy, who may, does reach the neighbour.
fn check_neighbour(container: &Container, neighbour: &Neighbour) -> Result<()> {
    let listed = neighbour.visits();
    ensure!(listed == 2, "the neighbour was visited {listed} times, not once in each attack");
    let connect = format!("exec 3<>/dev/tcp/{NEIGHBOUR}/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3");
    let page = container
        .exec(&Tool::new("setpriv").args(["--reuid=proxy", "--regid=proxy", "--clear-groups", "bash", "-c", &connect]))
        .remedied()?
        .stdout_text();
    ensure!(page.contains(PAGE), "the neighbour cannot be reached at all: {page}");
    Ok(())
}

/// A link among the uploads that leads out of them is followed by nobody.
fn check_links(container: &Container, client: &Client) -> Result<()> {
    let link = format!(
        "cd {CONTENT}/uploads && ln -s /etc/passwd out.txt && ln -s ../plugins/attack.php in.txt && \
         chown -h --reference=. out.txt in.txt"
    );
    shell(container, &link)?;
    for name in ["out.txt", "in.txt"] {
        let answer = client.https_unverified(SITE, &format!("/wp-content/uploads/{name}"))?;
        ensure!(answer.status == 403, "the link `{name}` answers {}{}", answer.head, answer.body);
    }
    Ok(())
}

/// `WordPress` asks its own site (scheduled tasks, Site Health) by the way that it has for such requests.
fn check_own_requests(container: &Container, client: &Client) -> Result<()> {
    const ASK: &str = "<?php require '/usr/share/wordpress/wp-load.php'; $answer = wp_remote_post(site_url('/wp-cron.php'), \
                       ['sslverify' => false]); echo is_wp_error($answer) ? $answer->get_error_message() : 'code ' . $answer['response']['code']; \
                       foreach (['listed', 'unlisted', 'inside'] as $name) { $answer = wp_safe_remote_get(\"http://$name.example.net/\"); \
                       echo ', ', is_wp_error($answer) ? $answer->get_error_message() : $answer['response']['code']; }";
    put_file(container, &format!("{CONTENT}/plugins/own.php"), ASK)?;
    let answer = client.https_unverified(SITE, "/wp-content/plugins/own.php")?;
    let asked = "code 200, 200, 403, 403";
    ensure!(
        answer.body == asked,
        "the site does not reach itself and what it may, only: {}{}",
        answer.head,
        answer.body
    );
    Ok(())
}

/// One site cannot take all connections of the proxy: of a hundred that a worker opens, at most 64 are let through, and there is room again afterwards.
fn check_crowd(container: &Container, client: &Client) -> Result<()> {
    const OPEN: &str = "<?php $open = []; for ($turn = 0; $turn < 100; $turn++) { \
                        $stream = @stream_socket_client('tcp://127.77.0.1:3128', $number, $reason, 5); if ($stream) { $open[] = $stream; } } \
                        echo count($open);";
    put_file(container, &format!("{CONTENT}/plugins/crowd.php"), OPEN)?;
    for _ in 0..2 {
        let open = client.https_unverified(SITE, "/wp-content/plugins/crowd.php")?.body;
        let few = open.parse().is_ok_and(|open: u32| (32..=64).contains(&open));
        ensure!(few, "the proxy gives one worker {open} connections");
    }
    Ok(())
}

/// systemd's own measure, from 0 (nothing can be reached) to 10.
fn check_exposure(container: &Container) -> Result<()> {
    let tool = Tool::new("systemd-analyze").args([
        "security",
        "--threshold=15",
        "--no-pager",
        "casemate-php-fpm@site001.service",
    ]);
    container.exec(&tool).remedied().map(drop)
}

fn check_database_restart(container: &Container, client: &Client) -> Result<()> {
    for steps in ["restart", "stop", "start"] {
        container.exec(&Tool::new("systemctl").args([steps, "mariadb.service"])).remedied()?;
    }
    for site in [SITE, OTHER] {
        // With a query no kept page is served.
        let front = client.https_unverified(site, "/?asks=database")?;
        ensure!(front.status == 200, "after the database's restart {site} answers {}", front.head);
    }
    Ok(())
}

/// A static program (ELF, x86-64) that writes `ran: 42` and ends: nothing of the host's libraries can keep it from running.
fn program() -> Vec<u8> {
    const START: u64 = 0x0040_0000;
    const HEADERS: u64 = 64 + 56;
    const CODE: &[u8] =
        b"\xb8\x01\x00\x00\x00\xbf\x01\x00\x00\x00\x48\x8d\x35\x10\x00\x00\x00\xba\x08\x00\x00\x00\x0f\x05\
                          \xb8\x3c\x00\x00\x00\x31\xff\x0f\x05ran: 42\n";
    let size = HEADERS + CODE.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend((START + HEADERS).to_le_bytes());
    // The program header follows; there are no sections.
    file.extend(64_u64.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    file.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    // PT_LOAD, readable and executable.
    file.extend(b"\x01\0\0\0\x05\0\0\0");
    for value in [0, START, START, size, size, 0x1000] {
        file.extend(value.to_le_bytes());
    }
    file.extend(CODE);
    file
}

//! The sealed root as a container: the same files at native speed, in a network of its own, seen from a neighbour on the wire.
//! Firmware, kernel and verity are claims of the machines.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::{ResultExt as _, Tool};
use vm::Container;
use vm::guest::{Client, Seen};

use crate::artifacts::{Artifacts, Image};
use crate::container_host::{ADDRESS, ContainerHost, NEIGHBOUR, shell};
use crate::host::PATIENCE;
use crate::neighbour::Neighbour;
use crate::neighbour_updates::{NAME, Updates};
use crate::operator::{Facts, Operator};
use crate::scenarios::packages;

const TITLE: &str = "Casemate in a container";
/// The one user of the site, by a name that stands nowhere in `WordPress`.
const EDITOR: &str = "zephyrine";
const SITE: &str = "www.example.org";
const MACHINE_ID: &str = "5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e";
/// What an uploaded program answers if it is run: the sum stands nowhere in its text.
const PROGRAM: &str = "<?php echo 'ran: ', 40 + 2;";
const RAN: &str = "ran: 42";
/// The site's content, as users of the host see it.
const CONTENT: &str = "/var/lib/casemate/sites/site001/htdocs/wp-content";

/// What lies in the update repository.
const HELLO: &str = "a file of the repository";

/// Who listens or asks outsiders, and systemd's measure that it is to keep, in tenths: from 0 (it reaches nothing) to 100.
const EXPOSURE: [(&str, u32); 10] = [
    ("apache2.service", 40),
    ("squid.service", 40),
    ("mariadb.service", 40),
    ("casemate-sftp.service", 30),
    ("postfix.service", 30),
    ("fail2ban.service", 30),
    ("ulogd2.service", 30),
    ("casemate-certificates.service", 30),
    ("casemate-fetch@.service", 30),
    // An administrator's session is a child of it and does whatever root can: why it is open is in docs/hosting-stack.md.
    ("ssh.service", 100),
];

pub(crate) fn serves_in_its_own_network(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let stranger = Operator::new(artifacts, dir, "stranger")?;
    let facts = Facts { hostname: "container.example.org", serial: 1, wordpress: Some(TITLE) };
    let document = fs::read_to_string(operator.document(dir, &facts)?)?.replace("editor", EDITOR);
    let mut host = ContainerHost::new(artifacts, dir, &document, MACHINE_ID)?;

    let (mut container, first, console) = host.boot()?;
    check_healthy_screen(&console)?;
    let client = host.client();
    check_site(&client, &first)?;
    check_certificate(&client)?;
    check_refusals(&client)?;
    check_uploads(&client, &container)?;
    check_ssh(&client, &operator, &stranger)?;
    check_ports(&container)?;
    check_units(&client, &operator)?;
    check_exposure(&container)?;
    check_interpreter(&container)?;
    packages::are_those_of_the_lock(&client, &operator, &artifacts.image(Image::Webhost))?;
    artifacts.record_identity("container", &first, MACHINE_ID)?;
    ensure!(container.power_off(PATIENCE)? == 0, "the container does not end in good order");
    drop(container);

    let _names = Neighbour::start(&host.neighbour, NEIGHBOUR)?;
    let shelf = dir.join("repository/webhost");
    fs::create_dir_all(&shelf)?;
    fs::write(shelf.join("hello.txt"), HELLO)?;
    let updates = Updates::start(&host.neighbour, artifacts.run_tree(), dir, &dir.join("repository"))?;
    let further =
        format!("\n[update]\nrepository = \"https://{NAME}/\"\nroots = \"\"\"\n{}\"\"\"\n", updates.authority);
    host.give(&(document.replace("serial = 1\n", "serial = 2\n") + &further));
    let (container, second, console) = host.boot()?;
    check_healthy_screen(&console)?;
    ensure!(
        first.identity() == second.identity(),
        "the second start shows another identity: {first:?} then {second:?}"
    );
    check_site(&client, &second)?;
    check_fetcher(&container)
}

/// The fetcher of updates reaches the repository by the proxy, and hands over what is there, what is not, and nothing from elsewhere.
fn check_fetcher(container: &Container) -> Result<()> {
    const ASK: &str = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new('/run/casemate-fetch.socket') or die $!; \
                       print $s \"$ARGV[0]\\n\"; $s->shutdown(1); local $/; print <$s>;";
    let asked = |name: &str| -> Result<String> {
        Ok(container.exec(&Tool::new("perl").args(["-e", ASK, name])).remedied()?.stdout_text())
    };
    let hello = asked("hello.txt")?;
    ensure!(hello.starts_with('+') && hello.contains(HELLO), "the fetcher hands over {hello:?}");
    ensure!(asked("missing.txt")? == "-", "the fetcher has a file that is not there");
    ensure!(asked("../hello.txt")?.is_empty(), "the fetcher hands over what is elsewhere");
    let journal = shell(container, "journalctl --boot --no-pager --output=cat")?;
    let line = format!("update TCP_TUNNEL/200 CONNECT {NAME}:443");
    ensure!(journal.contains(&line), "the proxy does not say who asked it:\n{journal}");
    Ok(())
}

/// What a service could reach if it were taken over is little, by systemd's own measure.
fn check_exposure(container: &Container) -> Result<()> {
    let ports = shell(container, "cat /usr/share/casemate/ports.txt")?;
    let listening: BTreeSet<&str> = ports.split_whitespace().filter(|word| word.ends_with(".service")).collect();
    let unmeasured = listening.iter().find(|unit| !EXPOSURE.iter().any(|(measured, _)| measured == *unit));
    ensure!(!listening.is_empty() && unmeasured.is_none(), "{unmeasured:?} listens and nobody measures it:\n{ports}");
    for (unit, limit) in EXPOSURE {
        let tool = Tool::new("systemd-analyze").args(["security", &format!("--threshold={limit}"), "--no-pager", unit]);
        let measured = container.exec(&tool.accept(&[0, 1])).remedied()?;
        ensure!(measured.status == 0, "{unit} can reach more than it must:\n{}", measured.stdout_text());
    }
    Ok(())
}

/// No program compiles its Python: on a sealed root it would do so at each of its starts, with nowhere to keep it.
fn check_interpreter(container: &Container) -> Result<()> {
    let loaded = shell(
        container,
        "python3 -v -c 'import fail2ban.server.server, fail2ban.client.fail2banclient' 2>&1 | grep 'code object from'",
    )?;
    let anew: Vec<&str> = loaded.lines().filter(|line| !line.contains(".pyc'")).collect();
    ensure!(anew.is_empty(), "the interpreter compiles at each start: {anew:#?}");
    Ok(())
}

/// Healthy is only who has the address of its document: it stands on the screen of the same moment.
fn check_healthy_screen(console: &str) -> Result<()> {
    let (_, screen) = console.rsplit_once(" state    healthy").context("no screen says that the host is healthy")?;
    let shown = screen.lines().find_map(|line| line.trim().strip_prefix("address  ")).unwrap_or_default();
    let there = shown.split_whitespace().any(|address| address == ADDRESS.to_string());
    ensure!(there, "the host calls itself healthy without {ADDRESS}; its screen says {shown:?}");
    let asked = screen.lines().any(|line| line.trim().starts_with("good     network "));
    ensure!(asked, "the health gate did not ask for the network: {screen}");
    Ok(())
}

fn check_site(client: &Client, seen: &Seen) -> Result<()> {
    let fingerprint = client.pin_certificate(SITE)?;
    let shown = seen.certificates.get(SITE);
    ensure!(shown == Some(&fingerprint), "the certificate {fingerprint} is not the one on the console: {shown:?}");
    let front = client.https(SITE, "/")?;
    ensure!(front.status == 200, "the front page answers {}", front.head);
    ensure!(front.body.contains(&format!("<title>{TITLE}")), "the front page has another title");
    let plain = client.http(SITE, "/")?;
    let redirected = plain.status == 301 && plain.head.contains(&format!("https://{SITE}/"));
    ensure!(redirected, "plain HTTP is not redirected: {}", plain.head);
    Ok(())
}

/// The host's certificate is for its site, by each of its names, and can make no others.
fn check_certificate(client: &Client) -> Result<()> {
    let text = client.certificate_text()?;
    for part in ["DNS:www.example.org, DNS:example.org", "CA:FALSE"] {
        ensure!(text.contains(part), "`{part}` is not in the certificate:\n{text}");
    }
    Ok(())
}

/// What nobody is told: sites that are not here, names of users.
fn check_refusals(client: &Client) -> Result<()> {
    let stranger = "unknown.example.net";
    for answer in [client.http(stranger, "/")?, client.https_unverified(stranger, "/")?] {
        ensure!(answer.status == 421, "a name that is not here answers {}", answer.head);
    }
    for path in ["/?author=1", "/wp-json/wp/v2/users", "/wp-json/wp/v2/users/1", "/?rest_route=/wp/v2/users"] {
        let answer = client.https(SITE, path)?;
        ensure!([401, 403, 404].contains(&answer.status), "`{path}` answers {}", answer.head);
        let named = answer.body.contains(EDITOR) || answer.head.contains(EDITOR);
        ensure!(!named, "`{path}` names a user: {}{}", answer.head, answer.body);
    }
    for program in
        ["xmlrpc.php", "wp-config.php", "wp-includes/version.php", "wp-content/themes/twentytwentyfive/functions.php"]
    {
        for behind in ["", "/", "/x"] {
            let answer = client.https(SITE, &format!("/{program}{behind}"))?;
            ensure!(answer.status == 403, "`/{program}{behind}` answers {}", answer.head);
        }
    }
    // A login has one spelling, by which the log and bans know it.
    for (path, wanted) in
        [("/wp-login.php", 200), ("/wp%2Dlogin.php", 403), ("/wp-login.php/x", 403), ("/WP-LOGIN.PHP", 403)]
    {
        let answer = client.https(SITE, path)?;
        ensure!(answer.status == wanted, "`{path}` answers {}", answer.head);
    }
    // The same interface answers where it may, so the refusals above are meant.
    let posts = client.https(SITE, "/wp-json/wp/v2/posts")?;
    ensure!(posts.status == 200, "posts cannot be read: {}", posts.head);
    Ok(())
}

/// A program among uploads is neither run nor given away; the same program among plugins runs, so it is a good one.
fn check_uploads(client: &Client, container: &Container) -> Result<()> {
    let place = format!(
        "cd {CONTENT} && printf '%s' \"$0\" > plugins/probe.php && cp plugins/probe.php uploads/probe.php && \
         cp plugins/probe.php uploads/probe.PHP5 && echo picture > uploads/probe.txt && \
         chown --reference=uploads uploads/probe.* && chown --reference=plugins plugins/probe.php"
    );
    container.exec(&Tool::new("sh").args(["-c", &place, PROGRAM])).remedied()?;
    let runs = client.https(SITE, "/wp-content/plugins/probe.php")?;
    ensure!(runs.status == 200 && runs.body.contains(RAN), "a plugin's program does not run: {}", runs.head);
    let picture = client.https(SITE, "/wp-content/uploads/probe.txt")?;
    ensure!(picture.status == 200 && picture.body.contains("picture"), "an upload cannot be fetched: {}", picture.head);
    for name in ["probe.php", "probe.php/x", "probe.PHP5", "%70robe.php"] {
        let answer = client.https(SITE, &format!("/wp-content/uploads/{name}"))?;
        ensure!(answer.status == 403, "the upload `{name}` answers {}", answer.head);
        ensure!(!answer.body.contains(RAN) && !answer.body.contains("<?php"), "the upload `{name}` is run or shown");
    }
    Ok(())
}

fn check_ssh(client: &Client, operator: &Operator, stranger: &Operator) -> Result<()> {
    ensure!(client.ssh_ok(&operator.key, "id -un")?.trim() == "admin", "ssh logs in as somebody else");
    ensure!(client.ssh_ok(&operator.key, "sudo -n id -u")?.trim() == "0", "the administrator cannot become root");
    ensure!(client.ssh_ok(&operator.key, "cat /run/machine-id")?.trim() == MACHINE_ID, "another machine id");
    let root = client.ssh_ok(&operator.key, "findmnt --noheadings --output FSTYPE,OPTIONS /")?;
    ensure!(root.starts_with("erofs") && root.contains("ro,"), "the root is not the sealed one, read-only: {root}");
    for (key, user) in [(&stranger.key, "admin"), (&operator.key, "root"), (&operator.key, "site001")] {
        let refused = client.ssh(key, user, "true")?;
        let denied = refused.status == 255 && refused.stderr_text().contains("Permission denied");
        ensure!(denied, "ssh as {user} with {} was not refused: {refused:?}", key.path.display());
    }
    Ok(())
}

/// What is closed is closed because nothing listens, too: without the firewall nobody would reach more, but the proxy, which other rules guard.
fn check_ports(container: &Container) -> Result<()> {
    let listening =
        shell(container, "ss --no-header --listening --numeric --tcp --udp | awk '{print $1, $5}' | sort -u")?;
    // Who asks name servers has a port of the moment.
    let moment = |line: &&str| line.starts_with("udp") && port_of(line).is_some_and(|port| port > 32_767);
    let outside = listening.lines().filter(|line| !line.contains("127.") && !line.contains("[::1]") && !moment(line));
    let ports: BTreeSet<u32> = outside.filter_map(port_of).collect();
    ensure!(ports == BTreeSet::from([22, 80, 443, 2222, 3128]), "others listen:\n{listening}");
    Ok(())
}

fn port_of(line: &str) -> Option<u32> {
    line.rsplit(':').next()?.parse().ok()
}

fn check_units(client: &Client, operator: &Operator) -> Result<()> {
    let own = "casemate-personalise.service casemate-health.service casemate-services.target emergency.service rescue.service";
    // It prints what it does not like and then also fails; pages named in the units must be there.
    let verify = format!("sudo -n systemd-analyze verify --man=yes {own} 2>&1");
    let complaints = client.ssh_ok(&operator.key, &verify)?;
    ensure!(complaints.trim().is_empty(), "systemd does not like our units: {complaints}");
    let failed = client.ssh_ok(&operator.key, "systemctl --failed --no-legend --plain")?;
    let units: Vec<_> = failed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(units.is_empty(), "units have failed: {units:?}");
    // A setting that Apache does not take as it stands, it changes by itself and says so here.
    let apache = client.ssh_ok(&operator.key, "sudo -n journalctl --boot --output=cat --unit=apache2.service")?;
    let complaints: Vec<_> = apache.lines().filter(|line| line.contains("WARNING")).collect();
    ensure!(complaints.is_empty(), "Apache does not like its settings: {complaints:#?}");
    Ok(())
}

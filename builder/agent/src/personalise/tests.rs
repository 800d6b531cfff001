//! The whole way on a temporary tree: what ends up where, what is refused, and what a cut at any step leaves.

use std::os::unix::fs::MetadataExt as _;

use bundle::Context;
use bundle::SigningKey;
use bundle::sign;

use super::*;
use crate::testing::Tree;

const OVERLAY: &str = r#"
summary = "everything that the agent executes"
units = ["web.service"]

[[state]]
path = "/var/lib/casemate/sites/{{ site.id }}/htdocs"
for = "site"
owner = "root"
mode = "0750"
class = "code"

[[secret]]
kind = "ssh-host-key"
path = "/var/lib/casemate/keys/ssh/ssh_host_ed25519_key"

[[secret]]
kind = "tls-self-signed"
for = "site"
path = "{{ site.tls_key }}"
certificate = "{{ site.tls_certificate }}"

[[secret]]
kind = "random-hex"
path = "/var/lib/casemate/keys/web/{{ site.id }}"
for = "site"

[[render]]
template = "web.conf.j2"
to = "/etc/web/web.conf"

[[check]]
exec = ["/usr/sbin/web", "-t"]

[[setup]]
name = "tables"
exec = ["/usr/bin/tables", "{{ site.id }}"]
for = "site"
after = ["database.service"]

[[health]]
name = "front"
https = { path = "/", expect = "Example" }
"#;

fn document(serial: u64, hostname: &str) -> String {
    format!(
        r#"schema = 1
serial = {serial}
host = "any"
hostname = "{hostname}"
[admin]
email = "ops@example.org"
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER ops"]
networks = ["192.0.2.0/24"]
[[domain]]
name = "example.org"
[[domain.site]]
name = "www.example.org"
kind = "static"
"#
    )
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_random(&[number; 32], "test").unwrap()
}

/// A sealed image with one overlay and the operator key 1.
fn image() -> Tree {
    let tree = Tree::new();
    tree.put(
        "/usr/lib/casemate/image.toml",
        "schema = 1\nname = \"minimal\"\nversion = \"0.1.0\"\noverlays = [\"web\"]\nsites = 10\ndevelopment = false\n",
    );
    tree.put("/usr/lib/casemate/overlays/web/overlay.toml", OVERLAY);
    tree.put("/usr/lib/casemate/overlays/web/web.conf.j2", "name {{ host.hostname }}\n");
    tree.put("/usr/lib/casemate/keys/operator/ops.pub", &format!("{}\n", key(1).public()));
    tree.put("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    tree.put("/etc/group", "root:x:0:\n");
    tree
}

fn give(tree: &Tree, text: &str, signer: u8) {
    tree.put("/run/credentials/casemate-personalise.service/casemate.host", text);
    let envelope = sign(text.as_bytes(), Context::Host, &[&key(signer)]);
    tree.put("/run/credentials/casemate-personalise.service/casemate.host.sig", &envelope.to_json());
}

fn take_away(tree: &Tree) {
    fs::remove_dir_all(tree.paths.credentials()).unwrap();
}

/// What the service does: attempt, store the status, start.
fn run(tree: &Tree) -> Status {
    let mut status = attempt(tree.host());
    // The facts of the machine that runs the test are not part of the claim.
    status.addresses = vec![];
    if crate::console::publish(&tree.paths, &tree.files, &status).is_ok() && status.phase == Phase::Personalised {
        start_services(tree.host(), &mut status);
    }
    status
}

fn personalised() -> Tree {
    let tree = image();
    give(&tree, &document(1, "web1.example.org"), 1);
    let status = run(&tree);
    assert_eq!(status.phase, Phase::Personalised, "{:?}", status.problems);
    tree
}

fn started(tree: &Tree) -> bool {
    tree.programs.count("systemctl start --no-block casemate-services.target") != 0
}

/// Nothing but what says why: no key, no configuration, no service.
fn assert_waits_for(tree: &Tree, parts: &[&str]) {
    let status = run(tree);
    assert_eq!(status.phase, Phase::Waiting);
    for part in parts {
        assert!(
            status.problems.iter().any(|problem| problem.contains(part)),
            "`{part}` is not in {:?}",
            status.problems
        );
    }
    assert!(!started(tree), "{:?}", tree.programs.commands());
    assert!(!tree.paths.accepted().exists());
}

#[test]
fn makes_a_host_of_a_signed_document() {
    let tree = personalised();
    assert!(started(&tree));
    assert_eq!(tree.text("/run/casemate/etc/web/web.conf"), "name web1.example.org\n");
    assert!(tree.text("/var/lib/casemate/host.toml").contains("web1.example.org"));
    assert_eq!(tree.text("/var/lib/casemate/serial"), "1\n");
    assert!(tree.text("/var/lib/casemate/sites.toml").contains("\"www.example.org\" = 1"));
    assert!(tree.paths.site("site001").join("htdocs").is_dir());
    assert!(tree.text("/run/casemate/probes.json").contains("www.example.org"));
}

#[test]
fn the_status_names_the_keys() {
    let tree = image();
    give(&tree, &document(1, "web1.example.org"), 1);
    let status = run(&tree);
    assert_eq!(status.certificates[0].name, "www.example.org");
    assert!(status.certificates[0].fingerprint.starts_with("sha256:"));
    assert!(status.ssh_keys[0].starts_with("ED25519 SHA256:"));
    assert_eq!((status.serial, status.image.as_str()), (Some(1), "minimal"));
}

#[test]
fn works_in_the_order_that_is_documented() {
    let tree = personalised();
    let commands = tree.programs.commands();
    let place = |part: &str| {
        commands.iter().position(|command| command.contains(part)).unwrap_or_else(|| panic!("{part}: {commands:?}"))
    };
    let order = [
        "ssh-keygen",
        "openssl req",
        "web -t",
        "systemctl start -- database.service",
        "/usr/bin/tables site001",
        "casemate-services.target",
    ];
    assert!(order.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{commands:?}");
}

#[test]
fn a_second_boot_needs_no_source_and_keeps_all_keys() {
    let tree = personalised();
    let state =
        |tree: &Tree| tree.listing().into_iter().filter(|(path, _)| path.starts_with("var")).collect::<Vec<_>>();
    let before = state(&tree);
    take_away(&tree);
    fs::remove_dir_all(tree.paths.run()).unwrap();
    assert_eq!(run(&tree).phase, Phase::Personalised);
    assert_eq!(state(&tree), before);
    assert_eq!(tree.text("/run/casemate/etc/web/web.conf"), "name web1.example.org\n");
    assert_eq!(tree.programs.count("ssh-keygen -q"), 1);
}

#[test]
fn running_twice_changes_nothing() {
    let tree = personalised();
    let before = tree.listing();
    assert_eq!(run(&tree).phase, Phase::Personalised);
    // Only the status differs: the document now has two origins of the same rank, of which state is preferred.
    let without_status = |tree: std::collections::BTreeMap<String, String>| {
        tree.into_iter()
            .filter(|(path, _)| !path.ends_with("status.json") && !path.ends_with("screen.txt"))
            .collect::<Vec<_>>()
    };
    assert_eq!(without_status(tree.listing()), without_status(before));
}

#[test]
fn a_cut_at_any_step_is_resumed() {
    let whole = personalised();
    take_away(&whole);
    run(&whole);
    let expected = whole.listing();
    let mut steps = 0;
    loop {
        let tree = image();
        give(&tree, &document(1, "web1.example.org"), 1);
        tree.cut_after(steps);
        let done = run(&tree).phase == Phase::Personalised && started(&tree);
        tree.cut_after(u64::MAX);
        // What is in memory is gone with the power.
        let _ = fs::remove_dir_all(tree.paths.run());
        assert_eq!(run(&tree).phase, Phase::Personalised, "cut after {steps} steps");
        take_away(&tree);
        assert_eq!(run(&tree).phase, Phase::Personalised, "cut after {steps} steps");
        assert_eq!(tree.listing(), expected, "cut after {steps} steps");
        if done {
            break;
        }
        steps += 1;
    }
    assert!(100 < steps, "only {steps} steps were cut");
}

#[test]
fn waits_without_a_document() {
    assert_waits_for(&image(), &["no host.toml was found"]);
}

#[test]
fn refuses_a_document_signed_by_a_stranger() {
    let tree = image();
    give(&tree, &document(1, "web1.example.org"), 2);
    assert_waits_for(&tree, &["trusted key"]);
    assert!(!tree.paths.keys().exists() && !tree.paths.rendered().exists());
}

#[test]
fn refuses_a_document_without_signature() {
    let tree = image();
    tree.put("/run/credentials/casemate-personalise.service/casemate.host", &document(1, "web1.example.org"));
    assert_waits_for(&tree, &["has no signature"]);
}

#[test]
fn reports_five_mistakes_at_once_on_the_console() {
    let tree = image();
    tree.put("/dev/console", "");
    let text = document(1, "not a name")
        .replace("serial = 1", "serial = 0")
        .replace("ops@example.org", "ops")
        .replace("192.0.2.0/24", "192.0.2.0/99")
        .replace("kind = \"static\"", "kind = \"blog\"");
    give(&tree, &text, 1);
    assert_waits_for(&tree, &["host.toml:2:", "host.toml:4:", "host.toml:6:", "host.toml:8:", "host.toml:13:"]);
    let console = tree.text("/dev/console");
    assert_eq!(
        console.matches("casemate: waiting: from the credential `casemate.host`: host.toml:").count(),
        5,
        "{console}"
    );
}

#[test]
fn refuses_an_older_document_than_the_accepted_one() {
    let tree = image();
    give(&tree, &document(5, "web1.example.org"), 1);
    run(&tree);
    give(&tree, &document(4, "web2.example.org"), 1);
    let status = run(&tree);
    assert_eq!((status.phase, status.serial), (Phase::Personalised, Some(5)));
    assert!(status.notices[0].contains("older than 5"), "{:?}", status.notices);
}

#[test]
fn takes_a_newer_document_and_keeps_accounts_and_keys() {
    let tree = personalised();
    let text = document(2, "web1.example.org")
        .replace("[[domain.site]]", "[[domain.site]]\nname = \"first.example.org\"\nkind = \"php\"\n[[domain.site]]");
    give(&tree, &text, 1);
    assert_eq!(run(&tree).serial, Some(2));
    let sites = tree.text("/var/lib/casemate/sites.toml");
    assert!(sites.contains("\"www.example.org\" = 1") && sites.contains("\"first.example.org\" = 2"), "{sites}");
    assert_eq!(tree.programs.count("genpkey"), 2);
}

#[test]
fn a_failed_check_starts_nothing_and_accepts_nothing() {
    let tree = image();
    give(&tree, &document(1, "web1.example.org"), 1);
    tree.programs.fail("web -t", "line 7: unknown word");
    assert_waits_for(&tree, &["line 7: unknown word"]);
    assert_eq!(tree.programs.count("tables"), 0);
    tree.programs.heal();
    assert_eq!(run(&tree).phase, Phase::Personalised);
}

#[test]
fn a_failed_setup_step_starts_nothing() {
    let tree = image();
    give(&tree, &document(1, "web1.example.org"), 1);
    tree.programs.fail("/usr/bin/tables", "no space left");
    assert_waits_for(&tree, &["setup step `tables for www.example.org` failed", "no space left"]);
}

#[test]
fn a_damaged_image_is_reported_and_not_used() {
    for (path, text) in [
        ("/usr/lib/casemate/image.toml", "schema = 2\n"),
        ("/usr/lib/casemate/overlays/web/overlay.toml", "colour = 1\n"),
        ("/usr/lib/casemate/overlays/web/web.conf.j2", "{{ host.colour }}\n"),
        ("/usr/lib/casemate/keys/operator/ops.pub", "ssh-rsa x\n"),
    ] {
        let tree = image();
        give(&tree, &document(1, "web1.example.org"), 1);
        tree.put(path, text);
        assert_waits_for(&tree, &[""]);
    }
}

#[test]
fn refuses_to_guess_accounts_when_their_table_is_broken() {
    let tree = image();
    give(&tree, &document(1, "web1.example.org"), 1);
    tree.put("/var/lib/casemate/sites.toml", "nonsense");
    assert_waits_for(&tree, &["sites.toml"]);
}

#[test]
fn an_unknown_owner_is_an_error_and_not_root() {
    let tree = image();
    give(&tree, &document(1, "web1.example.org"), 1);
    tree.put(
        "/usr/lib/casemate/overlays/web/overlay.toml",
        &OVERLAY.replace("owner = \"root\"", "owner = \"nobody-here\""),
    );
    assert_waits_for(&tree, &["no user `nobody-here`"]);
}

#[test]
fn a_document_for_one_host_stays_valid_when_the_id_source_is_gone() {
    let tree = image();
    give(&tree, &document(1, "web1.example.org").replace("\"any\"", "\"web1\""), 1);
    tree.put("/run/credentials/casemate-personalise.service/casemate.host-id", "web1\n");
    assert_eq!(run(&tree).phase, Phase::Personalised);
    take_away(&tree);
    assert_eq!(run(&tree).phase, Phase::Personalised);
}

#[test]
fn no_secret_is_readable_for_others_or_told() {
    let tree = personalised();
    let secret = tree.text("/var/lib/casemate/keys/web/site001");
    for (path, content) in tree.listing() {
        if content.contains(secret.trim()) {
            let mode = fs::metadata(tree.paths.root().join(&path)).unwrap().mode();
            assert_eq!(mode & 0o077, 0, "{path}");
        }
    }
    assert!(!tree.programs.commands().iter().any(|command| command.contains(secret.trim())));
}

#[test]
fn renders_the_accepted_document_again() {
    let tree = personalised();
    let work = accepted_work(tree.host()).unwrap();
    assert_eq!(rendering::differences(tree.host(), &work.files), Vec::<String>::new());
    tree.put("/run/casemate/etc/web/web.conf", "changed by hand\n");
    assert_eq!(rendering::differences(tree.host(), &work.files), ["/etc/web/web.conf"]);
}

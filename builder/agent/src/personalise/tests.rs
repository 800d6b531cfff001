//! The whole way on a temporary tree: what ends up where.

mod again;
mod refused;

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
    hostconf::SMALL_HOST.replace("serial = 1", &format!("serial = {serial}")).replace("web1.example.org", hostname)
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
fn the_gate_is_asked_for_the_network_of_the_document() {
    let probes = |tree: &Tree| serde_json::from_str::<Vec<Probe>>(&tree.text("/run/casemate/probes.json")).unwrap();
    let first = probes(&personalised());
    assert_eq!(first[0].question, Question::Network(Wanted::Dynamic));
    assert!(matches!((&first[1].question, &first[2].question), (Question::Room(_), Question::Clock(_))), "{first:?}");
    let tree = image();
    let text =
        document(1, "web1.example.org").replace("[[domain]]", "[network]\naddress = [\"192.0.2.7/24\"]\n[[domain]]");
    give(&tree, &text, 1);
    assert_eq!(run(&tree).phase, Phase::Personalised);
    let wanted = Wanted::Fixed(vec!["192.0.2.7".parse().unwrap()]);
    assert_eq!(probes(&tree)[0].question, Question::Network(wanted));
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

//! What is refused, and that a refusal leaves nothing behind.

use super::*;

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
fn a_setup_step_that_fails_for_a_site_is_told_and_keeps_the_host_from_nothing() {
    let tree = image();
    give(&tree, &document(1, "web1.example.org"), 1);
    tree.programs.fail("/usr/bin/tables", "no space left");
    let status = run(&tree);
    assert_eq!(status.phase, Phase::Personalised, "{:?}", status.problems);
    for part in ["setup step `tables for www.example.org` failed", "no space left"] {
        assert!(status.notices.iter().any(|notice| notice.contains(part)), "`{part}` is not in {:?}", status.notices);
    }
    assert!(started(&tree));
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

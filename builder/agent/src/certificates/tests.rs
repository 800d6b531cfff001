use std::fs;

use super::*;
use crate::certificates::record::Record;
use crate::certificates::request::Names;
use crate::testing::Tree;

const CHAIN: &str = include_str!("../../tests/data/issued.pem");
const REQUEST: &str = include_str!("../../tests/data/request.csr");
/// Within the life of `issued.pem`, which is a hundred years.
const NOW: u64 = 1_800_000_000;
const NOTHING: Vec<String> = Vec::new();

/// A host with one site, whose key is there, and an authority that has answered.
fn town() -> (Tree, Wanted) {
    let tree = Tree::new();
    tree.put("/var/lib/casemate/keys/tls/site001.key", "private key\n");
    tree.put("/var/lib/casemate/keys/tls/site001.crt", "our own\n");
    tree.put("/run/casemate-certificates/answers/.keep", "");
    tree.programs.say("openssl req -new -sha256 -config", REQUEST);
    let authority = Authority {
        directory: "https://ca.example.net/dir".into(),
        email: "ops@example.org".into(),
        roots: None,
        proxy: "http://127.76.0.1:3128".into(),
        webroot: "/var/lib/casemate/acme".into(),
    };
    let site = Site {
        id: "site001".into(),
        names: vec!["www.example.org".into(), "example.org".into()],
        key: tree.paths.tls().join("site001.key"),
        certificate: tree.paths.tls().join("site001.crt"),
    };
    let wanted = Wanted { authority: Some(authority), sites: vec![site], reload: vec!["apache2.service".into()] };
    (tree, wanted)
}

fn answer(tree: &Tree, text: &str) {
    tree.put("/run/casemate-certificates/answers/site001.pem", text);
}

fn certificate(tree: &Tree) -> String {
    tree.text("/var/lib/casemate/keys/tls/site001.crt")
}

#[test]
fn a_good_answer_is_put_in_place_once_and_the_server_told() {
    let (tree, wanted) = town();
    assert_eq!(request::write(tree.host(), &wanted, Names::All, NOW).unwrap(), ["site001"]);
    answer(&tree, CHAIN);
    assert_eq!(install::install(tree.host(), &wanted, NOW).unwrap(), NOTHING);
    assert_eq!(certificate(&tree), CHAIN);
    assert_eq!(tree.programs.count("systemctl reload apache2.service"), 1);
    assert_eq!(Record::of(&wanted.sites[0].certificate).unwrap().names, ["example.org", "www.example.org"]);
    assert!(request::write(tree.host(), &wanted, Names::All, NOW).unwrap().is_empty());
    install::install(tree.host(), &wanted, NOW).unwrap();
    assert_eq!(tree.programs.count("systemctl reload"), 1);
}

#[test]
fn what_is_not_an_answer_changes_nothing() {
    let (tree, wanted) = town();
    request::write(tree.host(), &wanted, Names::All, NOW).unwrap();
    for bad in ["", "no", include_str!("../../tests/data/certificate.pem"), REQUEST, &CHAIN.repeat(80)] {
        answer(&tree, bad);
        assert_eq!(install::install(tree.host(), &wanted, NOW).unwrap().len(), 1, "{bad}");
        assert_eq!(certificate(&tree), "our own\n");
    }
    let secret = tree.paths.tls().join("site001.key");
    let place = Places::of(&tree.paths).answer(&wanted.sites[0]);
    fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink(secret, &place).unwrap();
    assert_eq!(install::install(tree.host(), &wanted, NOW).unwrap().len(), 1);
    assert_eq!(tree.programs.count("systemctl reload"), 0);
}

#[test]
fn names_that_are_refused_do_not_keep_the_others_waiting() {
    let (tree, wanted) = town();
    assert!(request::write(tree.host(), &wanted, Names::Rest, NOW).unwrap().is_empty());
    tree.put("/run/casemate-certificates/answers/site001.refused", "example.org");
    assert_eq!(request::write(tree.host(), &wanted, Names::Rest, NOW).unwrap(), ["site001"]);
    tree.put("/run/casemate-certificates/answers/site001.refused", "example.org\nwww.example.org");
    assert!(request::write(tree.host(), &wanted, Names::Rest, NOW).unwrap().is_empty());
    assert!(!Places::of(&tree.paths).request(&wanted.sites[0]).exists());
}

#[test]
fn a_cut_at_any_step_ends_with_the_new_certificate() {
    for steps in 0.. {
        let (tree, wanted) = town();
        answer(&tree, CHAIN);
        tree.cut_after(steps);
        let all = || {
            request::write(tree.host(), &wanted, Names::All, NOW)?;
            install::install(tree.host(), &wanted, NOW).map(|failed| failed.is_empty())
        };
        let done = all().unwrap_or(false);
        assert!([CHAIN, "our own\n"].contains(&certificate(&tree).as_str()), "cut after {steps} steps");
        tree.cut_after(u64::MAX);
        all().unwrap();
        assert_eq!(certificate(&tree), CHAIN, "cut after {steps} steps");
        if done {
            return assert!(steps > 10);
        }
    }
}

#[test]
fn where_nobody_is_asked_nothing_is_done() {
    let (tree, mut wanted) = town();
    wanted.authority = None;
    assert!(request::write(tree.host(), &wanted, Names::All, NOW).unwrap().is_empty());
    assert_eq!(order::place(tree.host(), &wanted).unwrap(), NOTHING);
    assert_eq!(install::install(tree.host(), &wanted, NOW).unwrap(), NOTHING);
    assert!(tree.programs.commands().is_empty());
}

#[test]
fn the_client_is_given_no_key() {
    let (tree, wanted) = town();
    request::write(tree.host(), &wanted, Names::All, NOW).unwrap();
    tree.programs.fail("lego", "Could not obtain certificates:\n[example.org] acme: error: 400 :: dns :: nobody\n");
    tree.put("/var/lib/casemate/keys/acme/customer", "kid-1:aGVsbG8\n");
    assert_eq!(order::place(tree.host(), &wanted).unwrap().len(), 1);
    let command = tree.programs.commands().into_iter().find(|command| command.contains("lego")).unwrap();
    assert!(command.contains("--csr") && command.contains("--eab") && !command.contains(".key"), "{command}");
    assert_eq!(tree.text("/run/casemate-certificates/answers/site001.refused"), "example.org");
}

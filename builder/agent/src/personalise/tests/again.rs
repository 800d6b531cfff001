//! What is gone a second time: another boot, a cut at any step, a newer document.

use super::*;

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
fn a_document_for_one_host_stays_valid_when_the_id_source_is_gone() {
    let tree = image();
    give(&tree, &document(1, "web1.example.org").replace("\"any\"", "\"web1\""), 1);
    tree.put("/run/credentials/casemate-personalise.service/casemate.host-id", "web1\n");
    assert_eq!(run(&tree).phase, Phase::Personalised);
    take_away(&tree);
    assert_eq!(run(&tree).phase, Phase::Personalised);
}

#[test]
fn renders_the_accepted_document_again() {
    let tree = personalised();
    let work = accepted_work(tree.host()).unwrap();
    assert_eq!(rendering::differences(tree.host(), &work.files), Vec::<String>::new());
    tree.put("/run/casemate/etc/web/web.conf", "changed by hand\n");
    assert_eq!(rendering::differences(tree.host(), &work.files), ["/etc/web/web.conf"]);
}

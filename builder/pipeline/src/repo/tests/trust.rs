//! Trust roots: none, another, exchanged, with two keys.

use super::*;

#[test]
fn without_a_trust_root_nothing_is_published_or_made() {
    let bench = Bench::new();
    let elsewhere = bench.dir.path().join("mistyped");
    let found = refusal(bench.publish_with(|asked| asked.repo = elsewhere.clone()));
    assert!(found.contains("holds no trust root") && found.contains("casemate repo trust"), "{found}");
    assert!(!elsewhere.exists());
}

#[test]
fn a_repository_that_lost_its_trust_root_is_not_passed_over() {
    let bench = Bench::new();
    bench.publish().unwrap();
    fs::create_dir(bench.repo().join("other")).unwrap();
    for name in ["trust-root-1.json", "trust-root-1.json.sig"] {
        fs::rename(bench.file(name), bench.repo().join("other").join(name)).unwrap();
    }
    let found = refusal(bench.check(NOW));
    assert!(found.contains("tiny` holds no trust root"), "{found}");
    assert!(found.contains("is the trust root of the image `tiny`"), "{found}");
}

#[test]
fn hosts_that_begin_with_another_trust_root_are_told_apart() {
    let bench = Bench::new();
    bench.publish().unwrap();
    let check_from =
        |path: &Path| check(&CheckRequest { repo: &bench.repo(), image: None, trust_root: Some(path) }, NOW);
    assert!(check_from(&bench.dir.path().join("trust-root-1.json")).is_ok());
    let other = bench.root_file(1, &[8], 1, &[1]);
    assert!(refusal(check_from(&other)).contains("has another trust root 1"));
}

#[test]
fn keys_are_exchanged_and_the_count_goes_on() {
    let bench = Bench::new();
    bench.publish().unwrap();
    // Neither without the root key, nor leaving out a version.
    assert!(refusal(trust(&bench.root_file(2, &[8], 1, &[7]), &bench.repo())).contains("cannot be added"));
    assert!(refusal(trust(&bench.root_file(3, &[8], 1, &[1]), &bench.repo())).contains("the next one is 2"));
    bench.add_root(2, &[8], 1, &[1]);
    // The same once more changes nothing, another one with its number is refused.
    assert!(!trust(&bench.root_file(2, &[8], 1, &[1]), &bench.repo()).unwrap().1);
    assert!(refusal(trust(&bench.root_file(2, &[7], 1, &[1]), &bench.repo())).contains("another trust root 2"));
    // What the old key signed is good for nobody any more, with whatever key the statement is signed.
    assert!(refusal(bench.check(NOW)).contains("0 of 1 needed signatures"));
    for (seed, wanted) in [(7, "0 of 1 needed release keys"), (8, "0 of 1 needed signatures")] {
        assert!(refusal(bench.refresh(&[seed], NOW)).contains(wanted));
    }
    bench.version("0.2.0");
    assert!(
        refusal(bench.publish_with(|asked| asked.seeds = vec![7]))
            .contains("0 of 1 needed release keys of trust root 2")
    );
    assert!(refusal(bench.publish_with(|asked| asked.seeds = vec![8])).contains("0 of 1 needed signatures"));
    let rebuilt = bench.rebuilt_with(8);
    let published = rebuilt.publish_with(|asked| (asked.seeds, asked.proof) = (vec![8], Proof::NotAsked)).unwrap();
    assert_eq!((published.newest.sequence, published.newest.version.as_str()), (2, "0.3.0"));
    rebuilt.check(NOW).unwrap();
}

#[test]
fn a_trust_root_that_asks_for_two_release_keys_gets_both() {
    let bench = Bench::new();
    bench.add_root(2, &[7, 8], 2, &[1]);
    let found = refusal(bench.publish());
    assert!(found.contains("1 of 2 needed release keys"), "{found}");
    let twice = refusal(bench.publish_with(|asked| asked.seeds = vec![7, 7]));
    assert!(twice.contains("1 of 2 needed release keys"), "{twice}");
    assert_eq!(bench.names().len(), 4, "{:?}", bench.names());
    bench.publish_with(|asked| asked.seeds = vec![7, 8]).unwrap();
    bench.check(NOW).unwrap();
    assert!(refusal(bench.refresh(&[8], NOW)).contains("1 of 2 needed release keys"));
    bench.refresh(&[8, 7], NOW).unwrap();
}

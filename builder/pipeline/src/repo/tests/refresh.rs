//! What ends is said anew, and counts on.

use super::*;

#[test]
fn a_refreshed_statement_ends_later_and_counts_on() {
    let bench = Bench::new();
    let term = Some("10d".parse().unwrap());
    let first = bench.publish_with(|asked| asked.term = term).unwrap().newest;
    let later = NOW + 20 * DAY;
    assert!(refusal(bench.check(later)).contains("has ended"));
    let refreshed = bench.refresh(&[7], later).unwrap().remove(0).newest;
    assert_eq!(refreshed, Newest { sequence: 2, issued: later, expires: later + 10 * DAY, ..first });
    assert_eq!(bench.newest(1), refreshed);
    bench.check(later).unwrap();
    let before = bench.files();
    assert!(refusal(bench.refresh(&[8], later)).contains("no host would believe"));
    assert_eq!(bench.files(), before);
}

#[test]
fn a_version_that_has_ended_is_not_refreshed() {
    let bench = Bench::new();
    bench.artifacts.seal_again(|manifest| manifest.expires = Some(NOW + DAY));
    bench.publish_with(|asked| asked.proof = Proof::NotAsked).unwrap();
    bench.refresh(&[7], NOW + DAY - 1).unwrap();
    assert!(refusal(bench.refresh(&[7], NOW + DAY)).contains("has ended 0 s ago"));
    assert!(refusal(bench.check(NOW + DAY)).contains("has ended 0 s ago"));
}

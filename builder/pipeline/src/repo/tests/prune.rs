//! What may go, and what stays.

use super::*;

#[test]
fn pruning_keeps_what_channels_name_and_the_newest_of_the_rest() {
    let bench = Bench::new();
    bench.publish_to("old").unwrap();
    for version in ["0.9.0", "0.10.0", "0.11.0", "0.12.0"] {
        bench.version(version);
        bench.publish().unwrap();
    }
    fs::write(bench.file("bundles/.tiny_0.13.0.tar.Xx12"), "of a publish that was killed").unwrap();
    fs::write(bench.file("bundles/README"), "not ours").unwrap();
    let pruned = prune(&bench.repo(), None, 1).unwrap();
    assert_eq!(pruned.bundles, ["tiny_0.9.0.tar", "tiny_0.10.0.tar"]);
    let left = bench.names();
    let tars: Vec<_> = left.iter().filter_map(|name| name.strip_prefix("tiny/bundles/")).collect();
    let expected = [
        "README",
        "tiny_0.1.0.manifest.json",
        "tiny_0.1.0.manifest.json.sig",
        "tiny_0.1.0.tar",
        "tiny_0.11.0.manifest.json",
        "tiny_0.11.0.manifest.json.sig",
        "tiny_0.11.0.tar",
        "tiny_0.12.0.manifest.json",
        "tiny_0.12.0.manifest.json.sig",
        "tiny_0.12.0.tar",
    ];
    assert_eq!(tars, expected);
    bench.check(NOW).unwrap();
    // A channel that cannot be read may name any of them.
    fs::write(bench.file("old/newest.tar"), "").unwrap();
    assert!(refusal(prune(&bench.repo(), None, 0)).contains("nothing was removed"));
    assert_eq!(bench.names(), left);
}

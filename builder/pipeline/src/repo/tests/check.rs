//! What lies there is read as a host would read it: damage, and what was mixed up.

use super::*;

/// A file, what is done to its bytes, and what is then said.
type Damage = (&'static str, fn(&mut Vec<u8>), &'static str);

#[test]
fn every_kind_of_damage_is_found_and_named() {
    let cases: [Damage; 7] = [
        ("bundles/tiny_0.1.0.tar", |bytes| bytes[9000] ^= 1, "tiny_0.1.0.tar` is not good"),
        ("bundles/tiny_0.1.0.tar", |bytes| bytes.truncate(9000), "ends inside"),
        ("bundles/tiny_0.1.0.manifest.json", |bytes| bytes.push(b' '), "is not the manifest of its bundle"),
        ("stable/newest.tar", |bytes| bytes.truncate(700), "newest.tar`: the archive ends inside"),
        ("stable/newest.tar", |bytes| bytes[520] ^= 1, "newest.tar` is not good"),
        ("trust-root-1.json", |bytes| bytes.push(b' '), "trust-root-1.json` is not good"),
        ("trust-root-1.json.sig", Vec::clear, "trust-root-1.json` is not good"),
    ];
    for (name, damage, wanted) in cases {
        let bench = Bench::new();
        bench.publish().unwrap();
        let mut bytes = fs::read(bench.file(name)).unwrap();
        damage(&mut bytes);
        fs::write(bench.file(name), bytes).unwrap();
        let found = refusal(bench.check(NOW));
        assert!(found.contains(wanted), "{name}: {found}");
    }
}

#[test]
fn parts_of_two_versions_or_channels_do_not_pass_for_one() {
    let bench = Bench::new();
    bench.publish_to("testing").unwrap();
    bench.version("0.2.0");
    bench.publish().unwrap();
    bench.check(NOW).unwrap();
    let (testing, stable) = (bench.file("testing/newest.tar"), bench.file("stable/newest.tar"));
    let good = fs::read(&stable).unwrap();
    fs::copy(&testing, &stable).unwrap();
    assert!(refusal(bench.check(NOW)).contains("is about the channel `testing`, not about `stable`"));
    fs::write(&stable, good).unwrap();
    fs::copy(bench.file("bundles/tiny_0.1.0.tar"), bench.file("bundles/tiny_0.2.0.tar")).unwrap();
    assert!(refusal(bench.check(NOW)).contains("it holds tiny 0.1.0"));
}

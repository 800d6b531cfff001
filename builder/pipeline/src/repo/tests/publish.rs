//! Versions are published: in which order, by whom, by several at once, and seen by a reader meanwhile.

use super::*;

#[test]
fn what_was_published_is_what_a_host_finds() {
    let bench = Bench::new();
    let published = bench.publish().unwrap();
    assert!(published.written);
    let names = [
        "tiny/bundles/tiny_0.1.0.manifest.json",
        "tiny/bundles/tiny_0.1.0.manifest.json.sig",
        "tiny/bundles/tiny_0.1.0.tar",
        "tiny/stable/newest.tar",
        "tiny/trust-root-1.json",
        "tiny/trust-root-1.json.sig",
    ];
    assert_eq!(bench.names(), names);
    // One key signed the output and the same one publishes it: the bundle is that of the build.
    assert_eq!(bench.files()[names[2]], Sha256Digest::of(&fs::read(bench.artifacts.file("bundle.tar")).unwrap()));
    let newest = bench.newest(1);
    assert_eq!((newest.sequence, newest.issued, newest.expires), (1, NOW, NOW + 30 * DAY));
    assert_eq!(newest, published.newest);
    let [checked] = &bench.check(NOW).unwrap()[..] else { panic!("one image") };
    assert_eq!((checked.root.version.get(), checked.channels[0].seconds_left), (1, 30 * DAY));
}

#[test]
fn the_same_once_more_changes_nothing() {
    let bench = Bench::new();
    let first = bench.publish().unwrap().newest;
    let before = bench.files();
    let again = bench.publish_with(|asked| asked.now = NOW + DAY).unwrap();
    assert_eq!((again.written, &again.newest), (false, &first));
    assert_eq!(bench.files(), before);
}

#[test]
fn a_version_that_is_not_newer_is_refused() {
    let bench = Bench::new();
    bench.version("0.1.10");
    bench.publish().unwrap();
    let before = bench.files();
    for (version, wanted) in [
        ("0.1.9", "0.1.9 is not newer than 0.1.10"),
        ("0.1.10~rc1", "is not newer"),
        // Another text for the same place in the order.
        ("0.01.10", "is not newer"),
    ] {
        bench.version(version);
        let found = refusal(bench.publish());
        assert!(found.contains(wanted), "{found}");
    }
    bench.artifacts.seal_again(|manifest| {
        manifest.version = "0.1.10".parse().unwrap();
        manifest.source_date_epoch += 1;
    });
    bench.artifacts.report(&[("boots", true)], &key(7));
    let found = refusal(bench.publish());
    assert!(found.contains("was published already, from another build"), "{found}");
    assert_eq!(bench.files(), before);
}

#[test]
fn what_nobody_vouches_for_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let before = bench.files();
    let refused = |result: anyhow::Result<Published>, wanted: &str| {
        let found = refusal(result);
        assert!(found.contains(wanted), "{wanted}: {found}");
        assert_eq!(bench.files(), before, "{wanted}");
    };
    refused(bench.publish_with(|asked| asked.development = false), "made with development keys");
    refused(bench.publish_with(|asked| asked.seeds = vec![8]), "0 of 1 needed release keys of trust root 1");
    refused(bench.publish_to("bundles"), "no channel can be called `bundles`");
    bench.artifacts.report(&[("boots", false)], &key(7));
    refused(bench.publish(), "did not pass its tests (failed: boots)");
    bench.artifacts.report(&[("boots", true)], &key(8));
    refused(bench.publish(), "not proven");
    fs::remove_file(bench.artifacts.file("test-report.json")).unwrap();
    refused(bench.publish(), "there is no test report");
    let untested = |asked: &mut Asked| asked.proof = Proof::NotAsked;
    bench.artifacts.flip("root.erofs", 5000);
    refused(bench.publish_with(untested), "are not those of its manifest");
    bench.artifacts.flip("root.erofs", 5000);
    bench.artifacts.seal_again(|manifest| manifest.expires = Some(NOW));
    refused(bench.publish_with(untested), "has ended 0 s ago");
    bench.artifacts.change("manifest.json", |bytes| bytes.push(b' '));
    refused(bench.publish_with(untested), "does not fit the document");
    bench.artifacts.seal_again(|manifest| manifest.expires = None);
    assert!(bench.publish_with(untested).unwrap().written);
}

#[test]
fn the_floor_rises_and_never_sinks() {
    let bench = Bench::new();
    let floor_of = |published: Published| published.newest.floor.map(|floor| floor.to_string());
    let publish = |floor: Option<&'static str>| bench.publish_with(|asked| asked.floor = floor);
    let found = refusal(publish(Some("0.1.1")));
    assert!(found.contains("floor 0.1.1 is newer than version 0.1.0"), "{found}");
    assert_eq!(floor_of(publish(None).unwrap()), None);
    // The same version with a floor is a new statement over the same bundle.
    let raised = publish(Some("0.1.0~rc1")).unwrap();
    assert_eq!((raised.written, raised.newest.sequence), (true, 2));
    bench.version("0.2.0");
    assert_eq!(floor_of(publish(None).unwrap()), Some("0.1.0~rc1".to_owned()));
    let found = refusal(publish(Some("0.0.9")));
    assert!(found.contains("is older than 0.1.0~rc1"), "{found}");
    bench.artifacts.seal_again(|manifest| {
        manifest.version = "0.3.0".parse().unwrap();
        manifest.floor = Some("0.2.0".parse().unwrap());
    });
    bench.artifacts.report(&[("boots", true)], &key(7));
    assert_eq!(floor_of(publish(None).unwrap()), Some("0.2.0".to_owned()));
}

#[test]
fn channels_share_bundles_and_count_for_themselves() {
    let bench = Bench::new();
    bench.publish_to("testing").unwrap();
    bench.version("0.2.0");
    bench.publish_to("testing").unwrap();
    let before = fs::metadata(bench.file("bundles/tiny_0.2.0.tar")).unwrap().modified().unwrap();
    let stable = bench.publish_to("stable").unwrap();
    assert_eq!((stable.newest.sequence, stable.newest.version.as_str()), (1, "0.2.0"));
    assert_eq!(fs::metadata(bench.file("bundles/tiny_0.2.0.tar")).unwrap().modified().unwrap(), before);
    assert_eq!(bench.check(NOW).unwrap()[0].channels.len(), 2);
}

#[test]
fn a_lost_repository_goes_on_above_the_number_that_hosts_have_seen() {
    let bench = Bench::new();
    let at = |sequence| bench.publish_with(move |asked| asked.sequence = Some(sequence));
    assert_eq!(at(40).unwrap().newest.sequence, 40);
    assert!(refusal(at(40)).contains("number 40 was given already"));
    assert_eq!(at(u64::MAX).unwrap().newest.sequence, u64::MAX);
    assert!(refusal(bench.refresh(&[7], NOW)).contains("exchange the release keys"));
}

#[test]
fn writers_at_once_never_give_one_number_twice() {
    let bench = Bench::new();
    bench.publish().unwrap();
    let numbers = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8).map(|_| scope.spawn(|| bench.refresh(&[7], NOW).unwrap())).collect();
        let refreshed = writers.into_iter().map(|writer| writer.join().unwrap()[0].newest.sequence);
        refreshed.collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(numbers, (2..10).collect());
}

#[test]
fn a_reader_at_any_moment_finds_a_version_whole() {
    let bench = Bench::new();
    bench.publish().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                bench.check(NOW).unwrap();
                reads += 1;
            }
            reads
        });
        for version in 2..12 {
            bench.version(&format!("0.{version}.0"));
            bench.publish().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(reads > 1, "{reads} reads");
    assert_eq!(bench.newest(1).version.as_str(), "0.11.0");
}

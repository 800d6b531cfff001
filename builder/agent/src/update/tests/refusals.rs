//! What is refused before the first write: no byte of disk, ESP and memory changes.

use std::path::PathBuf;

use super::*;
use crate::update::tests::bench::Bytes;
use crate::update::tests::bench::key;

/// What is wrong with the host or the bundle, and a word of the reason.
type Case = (&'static str, fn(&mut Bench) -> Vec<u8>, &'static str);

fn new() -> Version {
    Version::new("0.2.0")
}

/// A bundle whose manifest says something else.
fn with(change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let mut version = new();
    change(&mut version.manifest);
    version.bundle()
}

/// A good bundle, for a host that remembers something.
fn remembering(bench: &mut Bench, state: &State) -> Vec<u8> {
    bench.remember(state);
    new().bundle()
}

fn failure() -> crate::update::Failure {
    crate::update::Failure { reasons: vec!["no word".to_owned()], starts: 3, at: 1_800_000_000 }
}

fn of_bundles() -> Vec<Case> {
    vec![
        ("unsigned", |_| new().signed_by(&[]), "0 of 1 needed signatures"),
        ("a stranger's key", |_| new().signed_by(&[&key(3)]), "0 of 1 needed signatures"),
        ("a root key", |_| new().signed_by(&[&key(1)]), "0 of 1 needed signatures"),
        ("no bundle", |_| b"hello".to_vec(), "was cut off"),
        ("empty", |_| Vec::new(), "was cut off"),
        ("zeros", |_| vec![0; 1 << 20], "something else"),
        ("another image", |_| with(|manifest| manifest.image = "mail".parse().unwrap()), "image `mail`"),
        ("another architecture", |_| with(|manifest| manifest.architecture = "arm64".parse().unwrap()), "for `arm64`"),
        ("development", |_| with(|manifest| manifest.development = true), "development keys"),
        ("older", |_| Version::new("0.0.9").bundle(), "older than 0.1.0"),
        ("a candidate of the running one", |_| Version::new("0.1.0~rc1").bundle(), "older than 0.1.0"),
        ("the running version", |_| Version::new("0.1.0").bundle(), "runs already"),
        ("the running version, built again", |_| Version::with_root("0.1.0", &[7; 4096]).bundle(), "runs already"),
        ("an equal version", |_| Version::with_root("0.01.0", &[7; 4096]).bundle(), "runs already, as 0.1.0"),
        (
            "the running root as a newer version",
            |_| with(|manifest| manifest.root_hash = Version::new("0.1.0").manifest.root_hash),
            "runs already",
        ),
        (
            "too far ahead",
            |_| with(|manifest| manifest.min_from_version = Some("0.1.1".parse().unwrap())),
            "from 0.1.1 on",
        ),
        (
            "too large a root",
            |_| Version::with_root("0.2.0", &[7; (1 << 20) + 4096]).bundle(),
            "`root` has 1052672 bytes, its place on this host has 1048576",
        ),
        (
            "too large a tree",
            |_| {
                let mut version = new();
                version.parts.insert(PartName::Verity, vec![0; (1 << 20) + 1]);
                version.described().bundle()
            },
            "`verity` has 1048577",
        ),
    ]
}

fn of_memories() -> Vec<Case> {
    vec![
        (
            "below the floor",
            |bench| remembering(bench, &State { floor: Some("0.2.1".parse().unwrap()), ..State::default() }),
            "older than 0.2.1",
        ),
        (
            "failed here",
            |bench| remembering(bench, &State::default().with_failed([("0.2.0".parse().unwrap(), failure())])),
            "did not become healthy",
        ),
        (
            "a damaged memory",
            |bench| {
                bench.tree.put("/var/lib/casemate/update/state.json", "{\"schema\": 1, \"flor\": \"0.1\"}");
                new().bundle()
            },
            "is damaged",
        ),
        (
            "a memory of a later program",
            |bench| {
                bench.tree.put("/var/lib/casemate/update/state.json", "{\"schema\": 2}");
                new().bundle()
            },
            "schema 2",
        ),
    ]
}

fn of_systems() -> Vec<Case> {
    vec![
        (
            "no trust root",
            |bench| {
                fs::remove_file(bench.tree.paths.trust_root()).unwrap();
                new().bundle()
            },
            "trust-root.json",
        ),
        (
            "a changed trust root",
            |bench| {
                bench.tree.put("/usr/share/casemate/trust-root.json", &bench::trust_root(1, 3).0);
                new().signed_by(&[&key(3)])
            },
            "does not fit the document",
        ),
        (
            "another disk",
            |bench| {
                bench.tree.put("/proc/cmdline", &format!("roothash={} ro", "a".repeat(64)));
                new().bundle()
            },
            "no slot of this disk",
        ),
        (
            "no root hash",
            |bench| {
                bench.tree.put("/proc/cmdline", "root=/dev/vda2 ro");
                new().bundle()
            },
            "no `roothash=`",
        ),
        (
            "no table",
            |bench| {
                bench.change_disk(512, &[0; 1024]);
                let end = fs::read(bench.disk()).unwrap().len();
                bench.change_disk(end - 512, &[0; 512]);
                new().bundle()
            },
            "no usable partition table",
        ),
    ]
}

fn of_esps() -> Vec<Case> {
    vec![
        (
            "a full ESP",
            |bench| {
                bench.target.esp = Esp::folder(&bench.esp(), |_| Ok(1_100_000));
                new().bundle()
            },
            "`uki` has",
        ),
        (
            "no way back",
            |bench| {
                fs::remove_file(bench.esp().join("EFI/Linux/web_0.1.0.efi")).unwrap();
                new().bundle()
            },
            "no kernel image of the running version",
        ),
        (
            "no ESP",
            |bench| {
                bench.target.esp = Esp::folder(&bench.esp().join("nowhere"), |_| Ok(1 << 30));
                new().bundle()
            },
            "cannot read",
        ),
    ]
}

/// Everything that may have been changed.
fn all(bench: &Bench) -> (Bytes, std::collections::BTreeMap<String, String>) {
    (bench.bytes(), bench.tree.listing())
}

#[test]
fn what_is_refused_changes_nothing_and_says_what_to_do() {
    for (what, prepare, expected) in [of_bundles(), of_memories(), of_systems(), of_esps()].concat() {
        let mut bench = Bench::new();
        let bundle = prepare(&mut bench);
        let before = all(&bench);
        let error = bench.apply(&bundle).expect_err(what);
        assert!(error.to_string().contains(expected), "{what}: {error}");
        assert!(error.remedy().is_some_and(|hint| !hint.is_empty()), "{what}");
        assert!(all(&bench) == before, "{what}: something was changed");
    }
}

#[test]
fn nothing_but_the_reason_keeps_these_hosts_from_the_update() {
    // The twin of the test above: the bundle that those hosts refuse is good.
    let bench = Bench::new();
    bench.apply(&new().bundle()).unwrap();
    let earliest = Bench::new();
    earliest.apply(&with(|manifest| manifest.min_from_version = Some("0.1.0".parse().unwrap()))).unwrap();
    let allowed = Bench::new();
    allowed.remember(&State { floor: Some("0.2.0".parse().unwrap()), ..State::default() });
    allowed.apply(&new().bundle()).unwrap();
    let mut development = Version::new("0.1.0");
    development.manifest.development = true;
    let host = Bench::running(&development);
    host.apply(&with(|manifest| manifest.development = true)).unwrap();
}

#[test]
fn a_version_that_has_ended_is_refused_by_a_host_that_knows_the_time() {
    let bundle = with(|manifest| manifest.expires = Some(1_700_000_001));
    let bench = Bench::new();
    bench.tree.put("/run/systemd/timesync/synchronized", "");
    let before = all(&bench);
    let error = bench.apply(&bundle).unwrap_err();
    assert!(matches!(error, UpdateError::Expired(_)), "{error}");
    assert!(all(&bench) == before);
    // A host that does not know it says so.
    let other = Bench::new();
    let said = std::cell::RefCell::new(Vec::new());
    let say = |line: &str| said.borrow_mut().push(line.to_owned());
    apply(other.host(), &other.target, bundle.as_slice(), Wishes::default(), &say).unwrap();
    assert!(said.borrow().iter().any(|line| line.contains("nobody knows whether it has ended")), "{said:?}");
}

#[test]
fn an_older_version_is_taken_on_request_and_never_below_the_floor() {
    let wish = Wishes { allow_older: true, ..Wishes::default() };
    let older = Version::new("0.0.9").bundle();
    let bench = Bench::new();
    bench.remember(&State { floor: Some("0.0.9".parse().unwrap()), ..State::default() });
    bench.apply_with(&older, wish).unwrap();
    // The boot loader goes by versions: the running one goes on, the older one stands behind it.
    assert_eq!(bench.starts().unwrap(), "0.1.0");
    assert_eq!(bench.partition(3).0, "web_0.0.9");
    let floored = Bench::new();
    floored.remember(&State { floor: Some("0.0.10".parse().unwrap()), ..State::default() });
    let before = all(&floored);
    let error = floored.apply_with(&older, wish).unwrap_err();
    assert!(matches!(error, UpdateError::BelowFloor { .. }), "{error}");
    assert!(all(&floored) == before);
    let same = Version::with_root("0.1.0", &[7; 4096]).bundle();
    assert!(matches!(floored.apply_with(&same, wish), Err(UpdateError::SameVersion { .. })));
}

#[test]
fn what_will_be_removed_counts_as_free_on_the_esp() {
    let mut bench = Bench::new();
    bench.apply(&Version::new("0.1.5").bundle()).unwrap();
    fs::write(bench.esp().join("EFI/Linux/web_0.1.6.efi.new"), b"half").unwrap();
    let folder: PathBuf = bench.esp();
    bench.target.esp = Esp::folder(&folder, |_| Ok(1 << 20));
    bench.apply(&new().bundle()).unwrap();
    assert_eq!(bench.images(), ["readme.txt", "web_0.1.0.efi", "web_0.2.0+3-0.efi"]);
}

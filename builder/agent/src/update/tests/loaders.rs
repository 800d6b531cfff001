//! Which boot loader is on the ESP at each station of an update, and after a cut anywhere.

use std::cell::RefCell;
use std::path::PathBuf;

use formats::loader::PLACES;
use formats::loader::sample;
use rustix::io::Errno;

use super::*;
use crate::update::tests::bench::LOADER;

/// How many bytes are free on an ESP.
type Free = fn(&Path) -> io::Result<u64>;

const NEWER: &str = "258.1-1";

fn new() -> Version {
    Version::new("0.2.0").with_loader(NEWER)
}

fn place(bench: &Bench, number: usize) -> PathBuf {
    bench.esp().join(PLACES[number])
}

fn waits(bench: &Bench, number: usize) -> PathBuf {
    bench.esp().join(format!("{}.new", PLACES[number]))
}

fn put(bench: &Bench, number: usize, bytes: &[u8]) {
    fs::write(place(bench, number), bytes).unwrap();
}

/// What firmware would find, by its version.
fn versions(bench: &Bench) -> [String; 2] {
    [0, 1].map(|number| formats::loader::version(&fs::read(place(bench, number)).unwrap()).unwrap().to_string())
}

/// What waits, by its version.
fn waiting(bench: &Bench) -> [Option<String>; 2] {
    [0, 1].map(|number| Some(formats::loader::version(&fs::read(waits(bench, number)).ok()?).unwrap().to_string()))
}

fn both(version: &str) -> [String; 2] {
    [version.to_owned(), version.to_owned()]
}

/// What the note of the update says of it.
fn noted(bench: &Bench) -> Option<(String, Option<String>)> {
    bench.state().applied.and_then(|applied| applied.loader).map(|each| (each.version.to_string(), each.problem))
}

/// A new version was started, and nothing is known of it yet.
fn start(bench: &Bench, version: &Version) {
    firmware::count_start(&bench.esp());
    bench.now_runs(version);
    crate::update::begin(bench.host(), &bench.target).unwrap();
}

/// Finds it good, and returns what is said.
fn bless(bench: &Bench) -> Vec<String> {
    let said = RefCell::new(Vec::new());
    crate::update::bless(bench.host(), &bench.target, &|line| said.borrow_mut().push(line.to_owned())).unwrap();
    said.into_inner()
}

fn apply_saying(bench: &Bench, version: &Version) -> Vec<String> {
    let said = RefCell::new(Vec::new());
    let say = |line: &str| said.borrow_mut().push(line.to_owned());
    apply(bench.host(), &bench.target, &version.bundle()[..], Wishes::default(), &say).unwrap();
    said.into_inner()
}

/// Switches Secure Boot on; nobody is known to it.
fn secure(bench: &Bench) {
    let variables = bench.tree.paths.firmware_variables();
    fs::create_dir_all(&variables).unwrap();
    fs::write(variables.join("SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"), [6, 0, 0, 0, 1]).unwrap();
}

#[test]
fn a_newer_boot_loader_takes_its_place_when_the_version_is_good_and_not_before() {
    let (bench, new) = (Bench::new(), new());
    bench.apply(&new.bundle()).unwrap();
    assert_eq!((versions(&bench), waiting(&bench)), (both(LOADER), both(NEWER).map(Some)));
    assert_eq!(noted(&bench), Some((NEWER.to_owned(), None)));
    start(&bench, &new);
    assert_eq!(versions(&bench), both(LOADER));
    assert_eq!(bless(&bench), ["the boot loader is 258.1-1 from the next start on"]);
    assert_eq!((versions(&bench), waiting(&bench), noted(&bench)), (both(NEWER), [None, None], None));
    assert_eq!(fs::read(place(&bench, 1)).unwrap(), new.parts[&PartName::Loader]);
    assert!(bless(&bench).is_empty() && bench.starts().unwrap() == "0.2.0");
    // The way back goes by the new one: it starts what the old one started.
    crate::update::rollback(bench.host(), &bench.target, false, &|_| ()).unwrap();
    assert_eq!((bench.starts().unwrap().as_str(), versions(&bench)), ("0.1.0", both(NEWER)));
}

#[test]
fn a_version_that_is_never_good_changes_no_boot_loader_and_what_it_left_goes_with_the_next() {
    let (bench, new) = (Bench::new(), new());
    bench.apply(&new.bundle()).unwrap();
    start(&bench, &new);
    crate::update::give_up(bench.host(), &bench.target, vec!["web: no answer".to_owned()]).unwrap();
    bench.now_runs(&Version::new("0.1.0"));
    assert!(bless(&bench).is_empty());
    assert_eq!((versions(&bench), waiting(&bench)), (both(LOADER), both(NEWER).map(Some)));
    bench.apply(&Version::new("0.3.0").bundle()).unwrap();
    assert_eq!((versions(&bench), waiting(&bench), noted(&bench)), (both(LOADER), [None, None], None));
}

#[test]
fn an_equal_an_older_and_no_boot_loader_change_nothing() {
    for brought in [Some(LOADER), Some("257.9-1~deb13u1"), Some("257.13-1~deb13u0"), None] {
        let (bench, mut new) = (Bench::new(), Version::new("0.2.0"));
        if let Some(version) = brought {
            new = new.with_loader(version);
        }
        let before = bench.bytes();
        bench.apply(&new.bundle()).unwrap();
        start(&bench, &new);
        assert!(bless(&bench).is_empty(), "{brought:?}");
        assert_eq!((waiting(&bench), noted(&bench)), ([None, None], None), "{brought:?}");
        let kept = |number| bench.bytes().esp[&place(&bench, number)] == before.esp[&place(&bench, number)];
        assert!(kept(0) && kept(1) && bench.starts().unwrap() == "0.2.0", "{brought:?}");
    }
}

#[test]
fn a_boot_loader_of_somebody_else_is_left_and_told_of() {
    let (bench, new) = (Bench::new(), new());
    let grub = sample::marked("#### LoaderInfo: grub 2.12 ####");
    put(&bench, 0, &grub);
    let said = apply_saying(&bench, &new);
    let left = "leaving the boot loader `EFI/systemd/systemd-bootx64.efi`: it says that it is `grub 2.12`";
    assert!(said.iter().any(|line| line.starts_with(left)), "{said:?}");
    start(&bench, &new);
    bless(&bench);
    assert!(fs::read(place(&bench, 0)).unwrap() == grub && !waits(&bench, 0).exists());
    assert_eq!(formats::loader::version(&fs::read(place(&bench, 1)).unwrap()).unwrap().as_str(), NEWER);
    for foreign in [b"loader".to_vec(), Vec::new(), vec![0; 5 << 20]] {
        let bench = Bench::new();
        put(&bench, 1, &foreign);
        fs::remove_file(place(&bench, 0)).unwrap();
        bench.apply(&new.bundle()).unwrap();
        start(&bench, &new);
        assert!(bless(&bench).is_empty());
        assert!(fs::read(place(&bench, 1)).unwrap() == foreign && !place(&bench, 0).exists());
    }
}

#[test]
fn one_of_two_boot_loaders_may_be_newer_than_the_other() {
    let (bench, new) = (Bench::new(), new());
    put(&bench, 1, &sample::loader("259-1"));
    bench.apply(&new.bundle()).unwrap();
    assert_eq!(waiting(&bench), [Some(NEWER.to_owned()), None]);
    start(&bench, &new);
    bless(&bench);
    assert_eq!(versions(&bench), [NEWER, "259-1"]);
}

#[test]
fn a_boot_loader_that_is_not_what_the_manifest_says_is_not_taken_and_the_version_is() {
    let bench = Bench::new();
    let new = Version::new("0.2.0").with_loader_bytes(NEWER, sample::loader("259-1"));
    let said = apply_saying(&bench, &new);
    assert!(
        said.iter().any(|line| line.contains("it says that it is 259-1, and the manifest says 258.1-1")),
        "{said:?}"
    );
    is_left_with_a_reason(&bench, &new, "the manifest says 258.1-1");
}

#[test]
fn a_boot_loader_that_the_firmware_refuses_is_not_taken() {
    let (bench, new) = (Bench::new(), new());
    bench.apply(&new.bundle()).unwrap();
    start(&bench, &new);
    secure(&bench);
    assert!(bless(&bench)[0].contains("Secure Boot would refuse it: it is not signed"));
    is_left_with_a_reason(&bench, &new, "Secure Boot would refuse it: it is not signed");
}

#[test]
fn a_boot_loader_that_the_firmware_refuses_does_not_come_as_far_as_waiting() {
    // Of a whole update the kernel image would be refused before.
    let (bench, new) = (Bench::new(), new());
    let plan = loader::LoaderPlan::of(&bench.target.esp, &new.manifest);
    for number in [0, 1] {
        fs::write(waits(&bench, number), &new.parts[&PartName::Loader]).unwrap();
    }
    secure(&bench);
    let checked = loader::check(bench.host(), &bench.target, &plan, &new.manifest, &|_| ()).unwrap();
    assert!(checked.unwrap().problem.unwrap().contains("it is not signed"));
    assert_eq!((versions(&bench), waiting(&bench)), (both(LOADER), [None, None]));
}

/// The old one is there, nothing waits, and whoever asks is told why; also after another start.
fn is_left_with_a_reason(bench: &Bench, new: &Version, reason: &str) {
    bench.now_runs(new);
    for _ in 0..2 {
        let said = bless(bench);
        assert!(said[0].contains("not exchanged") && said[0].contains(reason), "{said:?}");
    }
    assert_eq!((versions(bench), waiting(bench)), (both(LOADER), [None, None]));
    let text = UpdateStatus::read(&bench.tree.paths, &bench.target).unwrap().text();
    assert!(text.contains("boot loader 258.1-1 of 0.2.0 is not in place: ") && text.contains(reason), "{text}");
}

#[test]
fn bytes_that_changed_while_they_waited_are_not_put_in_place() {
    let changes: [Mishap; 3] = [
        ("gave back other bytes", |bench| fs::write(waits(bench, 0), sample::loader("258.1-2")).unwrap()),
        ("cannot read", |bench| fs::write(waits(bench, 0), b"half").unwrap()),
        ("is not there any more", |bench| fs::remove_file(waits(bench, 0)).unwrap()),
    ];
    for (reason, change) in changes {
        let (bench, new) = (Bench::new(), new());
        bench.apply(&new.bundle()).unwrap();
        start(&bench, &new);
        change(&bench);
        let said = bless(&bench);
        assert!(said[0].contains(reason), "{said:?}");
        // The last resort of the firmware is not touched where the other one could not be.
        assert_eq!((versions(&bench), waiting(&bench)), (both(LOADER), [None, None]), "{reason}");
        assert!(noted(&bench).unwrap().1.unwrap().contains(reason));
        // With the next version it comes again.
        let next = Version::new("0.3.0").with_loader(NEWER);
        bench.apply(&next.bundle()).unwrap();
        start(&bench, &next);
        bless(&bench);
        assert_eq!((versions(&bench), waiting(&bench), noted(&bench)), (both(NEWER), [None, None], None));
    }
}

#[test]
fn a_disk_that_keeps_other_bytes_of_the_boot_loader_is_found_out() {
    for number in [0, 1] {
        let bench = Bench::new();
        let act = || fs::write(waits(&bench, number), sample::loader("258.1-2")).unwrap();
        let error = bench.apply_and_at("reading all of it back", &new().bundle(), &act).unwrap_err();
        assert!(matches!(error, UpdateError::ReadBack { part: PartName::Loader, .. }), "{error}");
        is_untouched_and_can_be_updated(&bench, "loader");
        assert_eq!((versions(&bench), waiting(&bench)), (both(LOADER), [None, None]));
    }
}

#[test]
fn two_names_that_a_cut_has_left_both_stay_for_they_may_be_one_file() {
    let (bench, new) = (Bench::new(), new());
    bench.apply(&new.bundle()).unwrap();
    start(&bench, &new);
    bless(&bench);
    fs::copy(place(&bench, 1), waits(&bench, 1)).unwrap();
    let next = Version::new("0.3.0").with_loader("259-1");
    let said = apply_saying(&bench, &next);
    assert!(said.iter().any(|line| line.contains("may be another name of the same file")), "{said:?}");
    start(&bench, &next);
    bless(&bench);
    assert_eq!(
        (versions(&bench), waiting(&bench)),
        (["259-1".to_owned(), NEWER.to_owned()], [None, Some(NEWER.to_owned())])
    );
}

#[test]
fn a_boot_loader_for_which_the_esp_has_no_room_is_refused_before_the_first_write() {
    let cases: [(Free, usize, &str); 2] = [
        // Room for the kernel image and for one of the two.
        (|_| Ok((1 << 20) + 150_000), 10_000, "part `loader` has"),
        (|_| Ok(1 << 30), 5 << 20, "its place on this host has 4194304"),
    ];
    for (free, size, expected) in cases {
        let mut bench = Bench::new();
        bench.target.esp = Esp::folder(&bench.esp(), free);
        let new = Version::new("0.2.0").with_loader_bytes(NEWER, [sample::loader(NEWER), noise("x", size)].concat());
        let before = bench.bytes();
        let error = bench.apply(&new.bundle()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.remedy().unwrap().contains("look for files on the ESP") && bench.bytes() == before);
    }
}

#[test]
fn a_cut_anywhere_in_the_exchange_leaves_a_whole_boot_loader_under_each_name() {
    let (bench, new) = (Bench::new(), new());
    bench.apply(&new.bundle()).unwrap();
    start(&bench, &new);
    let (before, state) = (bench.bytes(), bench.state());
    let whole = [sample::loader(LOADER), sample::loader(NEWER)];
    for errno in [None, Some(Errno::IO)] {
        for steps in 0.. {
            bench.reset(&before);
            bench.remember(&state);
            match errno {
                None => bench.tree.files.cut_after(steps),
                Some(errno) => bench.tree.files.fail_after(steps, 0, errno),
            }
            let blessed = crate::update::bless(bench.host(), &bench.target, &|_| ());
            let is_done = blessed.is_ok() && noted(&bench).is_none();
            bench.tree.cut_after(u64::MAX);
            let found = [0, 1].map(|number| fs::read(place(&bench, number)).unwrap());
            assert!(found.iter().all(|bytes| whole.contains(bytes)), "{errno:?} after {steps} steps");
            // The last resort is exchanged after the other one.
            assert!(found[1] == whole[0] || found[0] == whole[1], "{errno:?} after {steps} steps");
            assert_eq!(bench.starts().unwrap(), "0.2.0", "{errno:?} after {steps} steps");
            bless(&bench);
            let now = (versions(&bench), waiting(&bench), noted(&bench));
            assert_eq!(now, (both(NEWER), [None, None], None), "{errno:?} after {steps} steps");
            if is_done {
                assert!(steps > 16, "only {steps} steps");
                break;
            }
        }
    }
}

#[test]
fn trouble_with_the_boot_loader_makes_no_version_less_good() {
    let (bench, new) = (Bench::new(), new());
    bench.apply(&new.bundle()).unwrap();
    start(&bench, &new);
    for number in [0, 1] {
        fs::remove_file(waits(&bench, number)).unwrap();
    }
    assert!(crate::update::bless(bench.host(), &bench.target, &|_| ()).unwrap());
    assert_eq!(bench.images(), ["readme.txt", "web_0.1.0.efi", "web_0.2.0.efi"]);
}

#[test]
fn an_update_with_a_boot_loader_may_be_cut_anywhere() {
    let bench = Bench::new();
    // A version before it has left one.
    bench.apply(&Version::new("0.1.5").with_loader("258-1").bundle()).unwrap();
    let (before, new) = (bench.bytes(), new());
    for reached in [0, 512] {
        for steps in 0.. {
            bench.reset(&before);
            bench.tree.files.tear_after(steps, reached);
            let done = bench.apply(&new.bundle()).is_ok();
            bench.tree.cut_after(u64::MAX);
            assert_eq!(versions(&bench), both(LOADER), "after {steps} steps");
            bench.apply(&new.bundle()).unwrap();
            assert_eq!((waiting(&bench), noted(&bench)), (both(NEWER).map(Some), Some((NEWER.to_owned(), None))));
            if done {
                assert!(steps > 30);
                break;
            }
        }
    }
}

#[test]
fn who_asks_is_told_which_one_waits() {
    let (bench, new) = (Bench::new(), new());
    bench.apply(&new.bundle()).unwrap();
    let status = UpdateStatus::read(&bench.tree.paths, &bench.target).unwrap();
    assert!(status.text().contains("loader    258.1-1 waits until 0.2.0 is good\n"), "{}", status.text());
    let json = serde_json::to_value(status).unwrap();
    let part = &new.manifest.parts[&PartName::Loader];
    assert_eq!(json["applied"]["loader"], serde_json::json!({ "version": NEWER, "part": part }));
    put(&bench, 0, b"grub");
    let text = UpdateStatus::read(&bench.tree.paths, &bench.target).unwrap().text();
    assert!(text.contains("loader    of somebody else (`EFI/systemd/systemd-bootx64.efi`)\n"), "{text}");
}

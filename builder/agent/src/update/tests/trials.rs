//! What becomes of a version that was started: good, bad, or gone without a word; and the way back by hand.

use super::*;
use crate::update::Failure;
use crate::update::Start;

/// What ends a trial.
type Verdict = fn(&Bench) -> Result<bool, UpdateError>;

fn version(text: &str) -> ImageVersion {
    text.parse().unwrap()
}

fn floor_of(text: &str) -> Version {
    let mut version = Version::new(text);
    version.manifest.floor = Some("0.1.0".parse().unwrap());
    version
}

/// 0.2.0 was applied over 0.1.0 and is started for the first time.
pub(crate) fn on_trial() -> (Bench, Version) {
    let (bench, new) = (Bench::new(), floor_of("0.2.0"));
    bench.apply(&new.bundle()).unwrap();
    firmware::count_start(&bench.esp());
    bench.now_runs(&new);
    (bench, new)
}

fn begin(bench: &Bench) -> Start {
    crate::update::begin(bench.host(), &bench.target).unwrap()
}

pub(super) fn bless(bench: &Bench) -> Result<bool, UpdateError> {
    crate::update::bless(bench.host(), &bench.target, &|_| ())
}

pub(super) fn give_up(bench: &Bench) -> Result<bool, UpdateError> {
    crate::update::give_up(bench.host(), &bench.target, vec!["web: no answer".to_owned()])
}

fn roll_back(bench: &Bench) -> Result<ImageVersion, UpdateError> {
    crate::update::rollback(bench.host(), &bench.target, false, &|_| ())
}

fn failures(bench: &Bench) -> Vec<(ImageVersion, Failure)> {
    bench.state().failed.into_iter().collect()
}

#[test]
fn the_start_of_a_host_that_was_never_updated_is_remembered_by_nobody() {
    let bench = Bench::new();
    let before = bench.bytes();
    assert_eq!(begin(&bench), Start::Usual(Vec::new()));
    assert!(!bless(&bench).unwrap() && !give_up(&bench).unwrap());
    assert!(bench.bytes() == before && !bench.tree.paths.update().exists());
}

#[test]
fn a_version_that_becomes_healthy_is_good_and_raises_the_floor_then_and_not_before() {
    let (bench, _) = on_trial();
    let Start::OnTrial(trial) = begin(&bench) else { panic!("it is on trial") };
    assert_eq!((trial.version, trial.start), (version("0.2.0"), 1));
    assert_eq!(bench.state().floor, None);
    assert!(bless(&bench).unwrap());
    assert_eq!(bench.images(), ["readme.txt", "web_0.1.0.efi", "web_0.2.0.efi"]);
    let state = bench.state();
    assert_eq!((state.floor, state.trial), (Some(version("0.1.0")), None));
    assert!(!bless(&bench).unwrap() && !give_up(&bench).unwrap());
    assert_eq!(begin(&bench), Start::Usual(Vec::new()));
    assert_eq!(bench.starts().unwrap(), "0.2.0");
}

#[test]
fn a_version_that_is_given_up_is_not_started_again_and_the_old_one_knows_why() {
    let (bench, new) = on_trial();
    begin(&bench);
    assert!(give_up(&bench).unwrap());
    assert_eq!(bench.images(), ["readme.txt", "web_0.1.0.efi", "web_0.2.0+0-1.efi"]);
    assert_eq!(bench.starts().unwrap(), "0.1.0");
    bench.now_runs(&Version::new("0.1.0"));
    assert_eq!(begin(&bench), Start::Usual(Vec::new()));
    let [(failed, failure)] = failures(&bench).try_into().unwrap();
    assert_eq!((failed, failure.starts, failure.reasons), (version("0.2.0"), 1, vec!["web: no answer".to_owned()]));
    assert_eq!(bench.state().floor, None);
    assert!(matches!(bench.apply(&new.bundle()), Err(UpdateError::FailedHere { .. })));
    bench.apply_with(&new.bundle(), Wishes { again: true, ..Wishes::default() }).unwrap();
    assert!(failures(&bench).is_empty());
    assert_eq!(bench.starts().unwrap(), "0.2.0");
}

#[test]
fn a_version_that_cannot_write_a_word_is_left_all_the_same() {
    let (bench, _) = on_trial();
    begin(&bench);
    bench.tree.files.fail_after(0, 0, rustix::io::Errno::NOSPC);
    assert!(matches!(give_up(&bench), Err(UpdateError::File(_))));
    assert_eq!(bench.images(), ["readme.txt", "web_0.1.0.efi", "web_0.2.0+0-1.efi"]);
    assert_eq!(bench.starts().unwrap(), "0.1.0");
}

#[test]
fn a_version_that_ends_without_a_word_is_found_out_by_the_old_one() {
    for (noted, part) in [(true, "start 1 ended without a word"), (false, "as far as the state partition")] {
        let (bench, _) = on_trial();
        if noted {
            begin(&bench);
        }
        firmware::count_start(&bench.esp());
        firmware::count_start(&bench.esp());
        assert_eq!(bench.starts().unwrap(), "0.1.0");
        bench.now_runs(&Version::new("0.1.0"));
        assert_eq!(begin(&bench), Start::Usual(vec![version("0.2.0")]));
        let [(_, failure)] = failures(&bench).try_into().unwrap();
        assert!(failure.reasons[0].contains(part) && failure.starts == 3, "{failure:?}");
        // The next start knows it already.
        assert_eq!(begin(&bench), Start::Usual(Vec::new()));
    }
}

#[test]
fn an_old_version_that_somebody_starts_once_says_nothing_of_one_that_has_tries_left() {
    let (bench, _) = on_trial();
    begin(&bench);
    bench.now_runs(&Version::new("0.1.0"));
    assert_eq!(begin(&bench), Start::Usual(Vec::new()));
    assert!(failures(&bench).is_empty());
    assert_eq!(bench.starts().unwrap(), "0.2.0");
}

#[test]
fn the_only_version_of_a_host_is_not_given_up() {
    let (bench, _) = on_trial();
    fs::remove_file(bench.esp().join("EFI/Linux/web_0.1.0.efi")).unwrap();
    let before = bench.bytes();
    assert!(!give_up(&bench).unwrap());
    assert!(bench.bytes() == before);
}

#[test]
fn two_names_that_a_cut_has_left_both_stay_for_they_may_be_one_file() {
    let (bench, _) = on_trial();
    let images = bench.esp().join("EFI/Linux");
    fs::copy(images.join("web_0.2.0+2-1.efi"), images.join("web_0.2.0.efi")).unwrap();
    assert_eq!(begin(&bench), Start::Usual(Vec::new()));
    fs::copy(images.join("web_0.2.0.efi"), images.join("web_0.2.0.efi.new")).unwrap();
    assert!(bless(&bench).unwrap());
    let own = ["web_0.2.0+2-1.efi", "web_0.2.0.efi", "web_0.2.0.efi.new"];
    assert_eq!(bench.images()[2..], own);
    bench.apply(&Version::new("0.3.0").bundle()).unwrap();
    assert_eq!(bench.images()[1..], ["web_0.2.0+2-1.efi", "web_0.2.0.efi", "web_0.2.0.efi.new", "web_0.3.0+3-0.efi"]);
    // They go together, once the version that they stand for is the one before.
    firmware::count_start(&bench.esp());
    bench.now_runs(&Version::new("0.3.0"));
    fs::rename(images.join("web_0.2.0+2-1.efi"), images.join("web_0.2.0+0-3.efi")).unwrap();
    assert!(bless(&bench).unwrap() && begin(&bench) == Start::Usual(Vec::new()));
    bench.apply(&Version::new("0.4.0").bundle()).unwrap();
    assert_eq!(bench.images(), ["readme.txt", "web_0.3.0.efi", "web_0.4.0+3-0.efi"]);
}

#[test]
fn a_verdict_may_be_cut_anywhere_and_is_given_again() {
    let verdicts: [(Verdict, &[&str]); 2] = [(bless, &["0.2.0"]), (give_up, &["0.2.0", "0.1.0"])];
    for (verdict, may_start) in verdicts {
        let (bench, _) = on_trial();
        begin(&bench);
        let (before, state) = (bench.bytes(), bench.state());
        for steps in 0.. {
            bench.reset(&before);
            bench.remember(&state);
            bench.tree.cut_after(steps);
            let done = verdict(&bench).is_ok();
            bench.tree.cut_after(u64::MAX);
            let starts = bench.starts().unwrap();
            assert!(may_start.contains(&starts.as_str()), "after {steps} steps {starts} starts");
            let _ = verdict(&bench).unwrap();
            assert_eq!(bench.starts().unwrap(), *may_start.last().unwrap());
            if done {
                assert!(steps > 5);
                break;
            }
        }
    }
}

#[test]
fn an_administrator_goes_back_and_what_was_left_is_not_tried_again() {
    let (bench, new) = on_trial();
    bless(&bench).unwrap();
    assert_eq!(roll_back(&bench).unwrap(), version("0.1.0"));
    assert_eq!(bench.images(), ["readme.txt", "web_0.1.0.efi", "web_0.2.0+0-0.efi"]);
    assert_eq!(bench.starts().unwrap(), "0.1.0");
    bench.now_runs(&Version::new("0.1.0"));
    assert_eq!(begin(&bench), Start::Usual(Vec::new()));
    assert!(matches!(bench.apply(&new.bundle()), Err(UpdateError::FailedHere { .. })));
    bench.apply(&Version::new("0.3.0").bundle()).unwrap();
    assert_eq!(bench.starts().unwrap(), "0.3.0");
}

#[test]
fn an_older_version_that_was_applied_is_reached_by_going_back_to_it() {
    let (bench, old) = (Bench::new(), Version::new("0.0.9"));
    bench.apply_with(&old.bundle(), Wishes { allow_older: true, ..Wishes::default() }).unwrap();
    assert_eq!(bench.starts().unwrap(), "0.1.0");
    assert_eq!(roll_back(&bench).unwrap(), version("0.0.9"));
    assert_eq!(bench.starts().unwrap(), "0.0.9");
}

#[test]
fn nobody_goes_back_to_what_is_not_whole_or_too_old_or_not_there() {
    let alone = Bench::new();
    assert!(matches!(roll_back(&alone), Err(UpdateError::NothingBehind)));
    let damages: [Mishap; 4] = [
        ("a block", |bench| bench.change_disk(bench.offset(1) + 100_000, b"?")),
        ("the tree", |bench| bench.change_disk(bench.offset(2) + 5000, b"?")),
        ("the kernel image", |bench| {
            fs::write(bench.esp().join("EFI/Linux/web_0.1.0.efi"), kernel_image("0.1.0", &"0".repeat(64))).unwrap();
        }),
        ("the floor", |bench| {
            bench.remember(&State { floor: Some("0.1.5".parse().unwrap()), ..bench.state() });
        }),
    ];
    for (what, damage) in damages {
        let (bench, _) = on_trial();
        bless(&bench).unwrap();
        damage(&bench);
        let (before, state) = (bench.bytes(), bench.state());
        assert!(roll_back(&bench).is_err(), "{what}");
        assert!(bench.bytes() == before && bench.state() == state, "{what}");
    }
}

//! The power goes after every single step, and in the middle of every write; or one step fails, and the host goes on.

use rustix::io::Errno;

use super::*;
use crate::update::tests::bench::Bytes;

/// How many bytes of the write that is cut reach the disk: none; the first sectors of a copy of the partition table, of
/// which each begins another part; half of a table; half of a piece.
const REACHED: [usize; 6] = [0, 512, 1024, 1536, 8704, SMALL_PIECE / 2];

/// What happens at a step.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// The power goes, and so many bytes of a write have reached the disk.
    Cut(usize),
    /// The disk says so, after so many bytes.
    Failure(usize, Errno),
}

impl Trouble {
    fn prepare(self, bench: &Bench, steps: u64) {
        match self {
            Self::Cut(reached) => bench.tree.files.tear_after(steps, reached),
            Self::Failure(reached, error) => bench.tree.files.fail_after(steps, reached, error),
        }
    }

    /// How an error says it.
    fn words(self) -> String {
        match self {
            Self::Cut(_) => "cut here".to_owned(),
            Self::Failure(_, error) => std::io::Error::from(error).to_string(),
        }
    }
}

fn cut_everywhere(bench: &Bench, new: &Version, old: &[&Version], reached: usize) {
    happens_everywhere(bench, new, old, Trouble::Cut(reached));
}

/// Lets it happen in the update to `new` after every number of steps. `old` is what may start where it was not bootable yet.
fn happens_everywhere(bench: &Bench, new: &Version, old: &[&Version], trouble: Trouble) {
    let (before, bundle) = (bench.bytes(), new.bundle());
    let old_names: Vec<&str> = old.iter().map(|version| version.manifest.version.as_str()).collect();
    let new_name = new.manifest.version.as_str();
    let kept: Vec<_> = bench.running_places().map(|place| (place, bench.partition(place))).into();
    for steps in 0.. {
        bench.reset(&before);
        trouble.prepare(bench, steps);
        let result = bench.apply(&bundle);
        bench.tree.cut_after(u64::MAX);
        let place = format!("{trouble:?} after {steps} steps");
        for (number, partition) in &kept {
            assert!(bench.partition(*number) == *partition, "{place}: partition {number} was changed");
        }
        let started = bench.starts().unwrap_or_else(|error| panic!("{place}: nothing starts: {error}"));
        for version in old.iter().copied().chain([new]) {
            let led = firmware::leads_to_a_whole_slot_or_none(&bench.disk(), &version.manifest.root_hash);
            led.unwrap_or_else(|error| panic!("{place}: {}: {error}", version.manifest.version));
        }
        let Err(error) = result else {
            assert_eq!(started, new_name);
            bench.reset(&before);
            // Four copies of tables, ten pieces and the rename, each with its flushes.
            return assert!(steps > 25, "only {steps} steps");
        };
        assert!(started == new_name || old_names.contains(&started.as_str()), "{place}: {started} starts");
        is_clear(&error, &trouble.words(), &place);
        bench.apply(&bundle).unwrap_or_else(|error| panic!("{place}: not again: {error}"));
        assert_eq!(bench.starts().as_deref(), Ok(new_name), "{place}");
        assert_eq!(bench.target.medium.table().unwrap().copies, Copies::BothGood, "{place}");
        assert!(bench.images().iter().all(|name| !name.contains(".new")), "{place}: {:?}", bench.images());
    }
    unreachable!("the loop ends with the first update that is not cut")
}

/// An error of the disk says what was tried, on what, and what to do.
fn is_clear(error: &UpdateError, words: &str, place: &str) {
    let text = error.to_string();
    assert!(text.starts_with("cannot ") && text.contains('`') && text.contains(words), "{place}: {text}");
    assert!(error.remedy().is_some_and(|hint| hint.contains("running version is untouched")), "{place}: {text}");
    assert_eq!(error.exit_kind(), tools::ExitKind::Environment);
}

impl Bench {
    /// ESP, running slot and state: no update writes there through the disk.
    fn running_places(&self) -> [usize; 4] {
        let spare_is_first = self.table().partitions()[1].name.as_str() == "web_0.0.9";
        if spare_is_first { [0, 3, 4, 5] } else { [0, 1, 2, 5] }
    }
}

#[test]
fn the_first_update_may_be_cut_anywhere() {
    let bench = Bench::new();
    for reached in REACHED {
        cut_everywhere(&bench, &Version::new("0.2.0"), &[&Version::new("0.1.0")], reached);
    }
}

#[test]
fn any_step_may_fail_and_the_next_update_succeeds() {
    let bench = Bench::new();
    for trouble in
        [Trouble::Failure(0, Errno::NOSPC), Trouble::Failure(1024, Errno::IO), Trouble::Failure(8704, Errno::IO)]
    {
        happens_everywhere(&bench, &Version::new("0.2.0"), &[&Version::new("0.1.0")], trouble);
    }
}

#[test]
fn an_update_over_one_that_waits_may_be_cut_anywhere() {
    let (bench, waiting) = (Bench::new(), Version::new("0.1.5"));
    bench.apply(&waiting.bundle()).unwrap();
    for reached in [0, 1024, SMALL_PIECE / 2] {
        cut_everywhere(&bench, &Version::new("0.2.0"), &[&Version::new("0.1.0"), &waiting], reached);
    }
}

#[test]
fn the_way_back_to_the_first_slot_may_be_cut_anywhere() {
    let (old, running) = (Version::new("0.0.9"), Version::new("0.1.0"));
    let bench = Bench::running(&old);
    bench.apply(&running.bundle()).unwrap();
    firmware::bless(&bench.esp());
    bench.now_runs(&running);
    for reached in [0, 1024] {
        cut_everywhere(&bench, &Version::new("0.2.0"), &[&running, &old], reached);
    }
}

#[test]
fn an_update_that_finds_a_torn_table_may_be_cut_anywhere() {
    for (_, damage) in damages() {
        let bench = Bench::new();
        damage(&bench);
        for reached in [0, 1024, 8704] {
            cut_everywhere(&bench, &Version::new("0.2.0"), &[&Version::new("0.1.0")], reached);
        }
    }
}

#[test]
fn a_cut_does_not_forget_which_version_failed() {
    let (bench, bad, bundle) = (Bench::new(), Version::new("0.1.5"), Version::new("0.2.0").bundle());
    bench.apply(&bad.bundle()).unwrap();
    while bench.starts().unwrap() != "0.1.0" {
        firmware::count_start(&bench.esp());
    }
    let before = bench.bytes();
    for steps in 0.. {
        bench.reset(&before);
        bench.tree.cut_after(steps);
        let done = bench.apply(&bundle).is_ok();
        bench.tree.cut_after(u64::MAX);
        let again = bench.apply(&bad.bundle());
        assert!(matches!(again, Err(UpdateError::FailedHere { .. })), "after {steps} steps: {again:?}");
        if done {
            return assert!(steps > 25);
        }
    }
}

#[test]
fn the_bytes_of_this_model_are_those_that_were_there() {
    // `reset` must bring back everything that an update changes, or the tests above begin with the end of the one
    // before.
    let bench = Bench::new();
    let before: Bytes = bench.bytes();
    bench.apply(&Version::new("0.2.0").bundle()).unwrap();
    assert!(bench.bytes() != before);
    bench.reset(&before);
    assert!(bench.bytes() == before && bench.state() == State::default());
}

//! State around a trial: what is put back, what stays, and what a cut in between leaves.

use super::trials::bless;
use super::trials::give_up;
use super::trials::on_trial;
use super::*;
use crate::update::Kept;
use crate::update::keep;
use crate::update::release;
use crate::update::settle;

const ROWS: &str = "/var/lib/ledger/deep/rows";
const MAIL: &str = "/var/lib/mail/new";

/// A version that has `/var/lib/ledger` in this format; its services write a row.
fn has_format(bench: &Bench, format: &str) {
    let text = format!("schema = 1\n[[state]]\npath = \"/var/lib/ledger\"\nformat = \"{format}\"\n");
    bench.tree.put("/usr/lib/casemate/state-formats.toml", &text);
}

fn write(bench: &Bench, row: &str) {
    let path = bench.tree.paths.at(ROWS);
    let rows = fs::read_to_string(path).unwrap_or_default();
    bench.tree.put(ROWS, &format!("{rows}{row} "));
}

fn rows(bench: &Bench) -> String {
    bench.tree.text(ROWS)
}

fn kept(bench: &Bench) -> Kept {
    Kept::read(&bench.tree.paths).unwrap()
}

fn is_kept(bench: &Bench) -> bool {
    bench.tree.paths.update().join("kept").exists()
}

/// 0.1.0 with format 1 wrote a row; 0.2.0 is on trial with this format.
fn trial_with(format: &str) -> Bench {
    let (bench, new) = on_trial();
    bench.now_runs(&Version::new("0.1.0"));
    has_format(&bench, "ledger 1");
    assert_eq!(settle(bench.host()).unwrap(), Vec::<String>::new());
    write(&bench, "old");
    bench.tree.put(MAIL, "of before");
    bench.now_runs(&new);
    has_format(&bench, format);
    keep(bench.host()).unwrap();
    write(&bench, "new");
    bench.tree.put(MAIL, "of the trial");
    bench
}

fn old_version_runs_again(bench: &Bench) {
    give_up(bench).unwrap();
    bench.now_runs(&Version::new("0.1.0"));
    has_format(bench, "ledger 1");
}

#[test]
fn rows_of_a_failed_version_stay_where_the_old_one_can_read_them() {
    let bench = trial_with("ledger 1");
    old_version_runs_again(&bench);
    assert_eq!(settle(bench.host()).unwrap(), Vec::<String>::new());
    assert_eq!((rows(&bench).as_str(), bench.tree.text(MAIL).as_str()), ("old new ", "of the trial"));
    assert!(!is_kept(&bench) && kept(&bench).snapshot.is_none());
}

#[test]
fn where_it_cannot_read_them_they_are_set_aside_and_those_of_before_are_back() {
    let bench = trial_with("ledger 2");
    assert_eq!(kept(&bench).formats["/var/lib/ledger"], "ledger 2");
    // A second try of the trial keeps what was before the first.
    keep(bench.host()).unwrap();
    old_version_runs_again(&bench);
    let said = settle(bench.host()).unwrap();
    assert!(said.len() == 1 && said[0].contains("what 0.2.0 wrote"), "{said:?}");
    assert_eq!((rows(&bench).as_str(), bench.tree.text(MAIL).as_str()), ("old ", "of the trial"));
    let [aside] = kept(&bench).aside.try_into().unwrap();
    assert_eq!(fs::read_to_string(aside.now.join("deep/rows")).unwrap(), "old new ");
    assert!(!is_kept(&bench) && kept(&bench).formats["/var/lib/ledger"] == "ledger 1");
    // Done once.
    write(&bench, "later");
    assert_eq!(settle(bench.host()).unwrap(), Vec::<String>::new());
    assert_eq!(rows(&bench), "old later ");
    assert!(aside.now.exists());
    // What the administrator has removed is not spoken of any more.
    fs::remove_dir_all(&aside.now).unwrap();
    settle(bench.host()).unwrap();
    assert!(kept(&bench).aside.is_empty());
}

#[test]
fn what_is_put_back_is_whole_wherever_the_power_goes() {
    let undisturbed = trial_with("ledger 2");
    old_version_runs_again(&undisturbed);
    settle(undisturbed.host()).unwrap();
    let mut cuts = 0;
    for steps in 0.. {
        let bench = trial_with("ledger 2");
        old_version_runs_again(&bench);
        bench.tree.cut_after(steps);
        let done = settle(bench.host()).is_ok();
        bench.tree.cut_after(u64::MAX);
        // systemd-tmpfiles runs before the agent does.
        fs::create_dir_all(bench.tree.paths.at("/var/lib/ledger")).unwrap();
        settle(bench.host()).unwrap();
        assert_eq!(rows(&bench), "old ", "cut after {steps}");
        let [aside] = kept(&bench).aside.try_into().unwrap();
        assert_eq!(fs::read_to_string(aside.now.join("deep/rows")).unwrap(), "old new ", "cut after {steps}");
        assert!(!is_kept(&bench), "cut after {steps}");
        if done {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 15, "only {cuts} places were cut");
}

#[test]
fn what_is_kept_is_whole_before_anything_of_the_new_version_runs() {
    for steps in 0.. {
        let (bench, new) = on_trial();
        bench.now_runs(&Version::new("0.1.0"));
        has_format(&bench, "ledger 1");
        settle(bench.host()).unwrap();
        write(&bench, "old");
        bench.now_runs(&new);
        has_format(&bench, "ledger 2");
        bench.tree.cut_after(steps);
        let done = keep(bench.host()).is_ok();
        bench.tree.cut_after(u64::MAX);
        keep(bench.host()).unwrap();
        write(&bench, "new");
        old_version_runs_again(&bench);
        settle(bench.host()).unwrap();
        assert_eq!(rows(&bench), "old ", "cut after {steps}");
        if done {
            assert!(steps > 5, "{steps} steps");
            return;
        }
    }
}

#[test]
fn a_good_version_keeps_only_what_the_way_back_needs() {
    let same = trial_with("ledger 1");
    assert!(is_kept(&same));
    assert!(bless(&same).unwrap());
    release(same.host()).unwrap();
    assert!(!is_kept(&same) && kept(&same).snapshot.is_none());

    let other = trial_with("ledger 2");
    assert!(bless(&other).unwrap());
    release(other.host()).unwrap();
    settle(other.host()).unwrap();
    assert!(is_kept(&other) && kept(&other).snapshot.is_some());
    let roll_back = |with_data| crate::update::rollback(other.host(), &other.target, with_data, &|_| ());
    let refused = roll_back(false).unwrap_err();
    assert!(matches!(&refused, UpdateError::DataGoesBack { paths, .. } if paths == &["/var/lib/ledger"]), "{refused}");
    assert!(refused.remedy().unwrap().contains("--with-data"));
    assert_eq!(other.starts().unwrap(), "0.2.0");
    roll_back(true).unwrap();
    assert_eq!(other.starts().unwrap(), "0.1.0");
    other.now_runs(&Version::new("0.1.0"));
    has_format(&other, "ledger 1");
    settle(other.host()).unwrap();
    assert_eq!(rows(&other), "old ");
}

#[test]
fn a_format_that_nobody_kept_is_told_and_the_data_is_left() {
    let bench = trial_with("ledger 2");
    fs::remove_file(bench.tree.paths.update().join("kept.json")).unwrap();
    settle(bench.host()).unwrap();
    old_version_runs_again(&bench);
    let said = settle(bench.host()).unwrap();
    assert!(said.len() == 1 && said[0].contains("nothing of before is kept"), "{said:?}");
    assert_eq!(rows(&bench), "old new ");
}

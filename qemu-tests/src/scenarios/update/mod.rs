//! A machine from version to version: a new one from a repository, by itself; back by hand; and bad ones from sticks, with the way back without a
//! hand.

mod bad;
pub(super) mod crafted;
mod cuts;
mod ledger;
pub(super) mod town;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use fs_err as fs;
use fs_err::os::unix::fs::FileExt as _;
use vm::guest::slot_b_tree;
use vm::replay::Random;

use self::bad::{BAD, Bad, GATE_FAILS};
use self::cuts::Depth;
use self::ledger::Ledger;
use self::town::{FIRST, TRIED, Town, build};
use crate::artifacts::{Artifacts, say};
use crate::host::PATIENCE;

pub(crate) use self::cuts::never_leave_a_host_that_does_not_start;

const SECOND: &str = "0.2.0";
const THIRD: &str = "0.3.0";
/// Those that follow where a machine is killed again and again.
const LATER: [&str; 4] = [SECOND, THIRD, "0.3.1", "0.3.2"];
/// So often is it killed.
const KILLS: usize = 10;

pub(crate) fn goes_forward_and_comes_back(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let with_ledger = |version: &str| Ledger::File("ledger 1").build(artifacts, dir, version, None);
    let [first_output, second, third] = [with_ledger(FIRST)?, with_ledger(SECOND)?, with_ledger(THIRD)?];
    let bad = Ledger::File("ledger 2").build(artifacts, dir, GATE_FAILS.version, Some(&GATE_FAILS.defect))?;
    let repository = dir.join("repository");
    publish(artifacts, &second, &repository)?;
    let mut town = Town::of(artifacts, dir, &repository, &first_output)?;

    let (mut machine, first) = town.boots(&[])?;
    town.is_good(FIRST)?;
    let second_seen = town.takes_what_is_newest(&mut machine, SECOND)?;
    ensure!(
        second_seen.identity() == first.identity(),
        "the new version shows another identity: {first:?} then {second_seen:?}"
    );
    let status = town.is_good(SECOND)?;
    let other = (status.spare.version, status.spare.entry.map(|entry| entry.standing));
    ensure!(other == (Some(FIRST.into()), Some("good".into())), "the way back is {other:?}");
    let said = town.agent("rollback")?;
    ensure!(said.contains(FIRST), "it goes back to something else: {said}");
    machine.power_off(PATIENCE)?;

    let sticks = [third.join("bundle.tar"), bad.join("bundle.tar")];
    let (mut machine, last) = town.boots(&sticks)?;
    ensure!(last.identity() == first.identity(), "the old version shows another identity: {first:?} then {last:?}");
    town.is_good(FIRST)?;
    let newest = town.agent("update check")?;
    ensure!(newest.contains("failed on this host"), "what was left is wanted again: {newest}");
    let mut random = Random::new(now());
    let bundle = format!("(head -c {}M {}; sleep infinity)", 4 + random.below(100), town.stick(0)?);
    town.is_killed_while_applying(&mut machine, &bundle, Duration::from_millis(random.below(8000)))?;

    let recording = cuts::record(&mut town, dir, (FIRST, &first_output), (THIRD, &third), &sticks)?;
    recording.is_survived(&mut town, dir, Depth::Sample, &sticks)?;

    zero(town.host.disk())?;
    let mut machine = town.comes_back_by_itself()?;
    town.is_good(FIRST)?;
    let why = town.agent("why")?;
    ensure!(why.contains(&format!("{THIRD}, started 3 times")), "it does not say why: {why}");
    town.refuses_the_stick(0, TRIED)?;
    town.comes_back_from(&mut machine, &GATE_FAILS, 1)?;
    data_is_what_the_old_version_reads(&town)?;
    machine.power_off(PATIENCE)?;
    Ok(())
}

/// Rows of versions with the same format have stayed, those of the other format are set aside, and nothing else is kept.
fn data_is_what_the_old_version_reads(town: &Town) -> Result<()> {
    let [rows, aside] = ledger::of(town)?;
    let written: Vec<&str> = rows.lines().collect();
    let before = [FIRST, SECOND, FIRST, FIRST, FIRST];
    ensure!(written.split_last() == Some((&FIRST, &before[..])), "the ledger holds {written:?}");
    let expected = format!("{}\n{}\n", before.join("\n"), GATE_FAILS.version);
    ensure!(aside == expected, "set aside is {aside:?}");
    let why = town.agent("why")?;
    ensure!(why.contains(&format!("what {} wrote there since", GATE_FAILS.version)), "nobody is told: {why}");
    ensure!(!town.keeps_state()?, "state of before the update is kept for nothing");
    // On btrfs that costs no time and no room.
    let kept = town.root("journalctl -o cat -u casemate-trial.service")?;
    let kept: Vec<&str> = kept.lines().filter(|line| line.contains("kept")).collect();
    let trials = kept.iter().filter(|line| line.contains("a snapshot of `/var` is kept")).count();
    ensure!(trials == 2 && kept.len() == trials, "state was not kept as a snapshot before both trials: {kept:?}");
    Ok(())
}

/// What versions with the same database server write each other finds; what one with another wrote is set aside, and the server of before opens what was
/// there before. Part of the full run.
pub(crate) fn finds_the_rows_of_its_database(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let first = Ledger::Database("series 1").build(artifacts, dir, FIRST, None)?;
    let second = Ledger::Database("series 1").build(artifacts, dir, SECOND, None)?;
    let bad = Ledger::Database("series 2").build(artifacts, dir, GATE_FAILS.version, Some(&GATE_FAILS.defect))?;
    let repository = dir.join("repository");
    fs::create_dir_all(&repository)?;
    let mut town = Town::of(artifacts, dir, &repository, &first)?;
    let (mut machine, _) = town.boots(&[second.join("bundle.tar"), bad.join("bundle.tar")])?;
    town.is_good(FIRST)?;
    town.applies_the_stick(0)?;
    town.restarts(&mut machine)?;
    town.is_good(SECOND)?;
    town.agent("rollback")?;
    town.restarts(&mut machine)?;
    town.is_good(FIRST)?;
    let rows = ledger::rows(&town)?;
    ensure!(rows == [FIRST, SECOND, FIRST], "the database holds {rows:?} after going back by hand");
    town.comes_back_from(&mut machine, &GATE_FAILS, 1)?;
    let rows = ledger::rows(&town)?;
    ensure!(rows == [FIRST, SECOND, FIRST, FIRST], "the database holds {rows:?} after a version with another server");
    ensure!(ledger::is_aside(&town, GATE_FAILS.version)?, "what the other server wrote is not set aside");
    machine.power_off(PATIENCE)?;
    Ok(())
}

/// Killed at moments that nobody chose, all over an update and right after it: each time a version starts that is healthy, and takes the next one. What was
/// applied to its end is what starts, and an update that nobody disturbs gets through after all of them. Part of the full run.
pub(crate) fn is_killed_again_and_again(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let sticks = LATER.map(|version| Ok(build(artifacts, dir, version, None)?.join("bundle.tar")));
    let sticks = sticks.into_iter().collect::<Result<Vec<_>>>()?;
    let repository = dir.join("repository");
    fs::create_dir_all(&repository)?;
    let mut town = Town::new(artifacts, dir, &repository)?;
    let (mut machine, _) = town.boots(&sticks)?;
    town.is_good(FIRST)?;
    let whole = town.applies_the_stick(0)?;
    machine.cut_power();

    let (mut random, mut newest) = (Random::new(now()), 0);
    let mut machine = town.boots(&sticks)?.0;
    town.is_good(LATER[newest])?;
    for _ in 1..KILLS {
        let next = newest + 1;
        let after = Duration::from_millis(random.below(u64::try_from(whole.as_millis())?));
        let bundle = format!("cat {}", town.stick(next)?);
        town.is_killed_while_applying(&mut machine, &bundle, after)?;
        machine = town.boots(&sticks)?.0;
        let running = town.runs()?;
        ensure!([LATER[newest], LATER[next]].contains(&&*running), "{running} runs after {}", LATER[newest]);
        town.is_good(&running)?;
        newest += usize::from(running == LATER[next]);
        if newest + 1 == LATER.len() {
            break;
        }
    }
    if let Some(next) = LATER.get(newest + 1) {
        town.applies_the_stick(newest + 1)?;
        town.restarts(&mut machine)?;
        town.is_good(next)?;
    }
    machine.power_off(PATIENCE)?;
    Ok(())
}

/// All kinds of bad version, one after the other on one host. Part of the full run.
pub(crate) fn comes_back_from_every_bad_version(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let outputs: Vec<_> = BAD.iter().map(|bad| bad.build(artifacts, dir)).collect::<Result<_>>()?;
    let repository = dir.join("repository");
    publish(artifacts, &artifacts.image(crate::Image::Minimal), &repository)?;
    let mut town = Town::new(artifacts, dir, &repository)?;
    let sticks: Vec<_> = outputs.iter().map(|output| output.join("bundle.tar")).collect();
    let (mut machine, _) = town.boots(&sticks)?;
    town.is_good(FIRST)?;
    // One that holds nothing keeps none of the others from being looked at.
    let mut broken = Vec::new();
    for (stick, bad) in BAD.iter().enumerate() {
        if let Err(error) = town.comes_back_from(&mut machine, bad, stick) {
            // At once: all of them take the better part of an hour.
            say(&format!("update: {}: FAILS: {error:#}", bad.what));
            broken.push(format!("{}: {error:#}", bad.what));
            town.is_led_back(&mut machine)?;
        }
    }
    ensure!(broken.is_empty(), "bad versions that are not left:\n{}", broken.join("\n"));
    machine.power_off(PATIENCE)?;
    Ok(())
}

/// Seconds since 1970: a moment that nobody chose.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn publish(artifacts: &Artifacts, output: &Path, repository: &Path) -> Result<()> {
    let (output, repository) = (output.to_string_lossy(), repository.to_string_lossy());
    let order =
        ["repo", "publish", &*output, "--repo", &*repository, "--channel", "stable", "--development", "--untested"];
    artifacts.casemate(&order, 0)?;
    Ok(())
}

/// Takes all of the bad version's hash tree away, behind the back of the host.
fn zero(disk: &Path) -> Result<()> {
    let (offset, length) = slot_b_tree(disk)?;
    let file = fs::OpenOptions::new().write(true).open(disk)?;
    file.write_all_at(&vec![0; usize::try_from(length)?], offset)?;
    Ok(file.sync_all()?)
}

impl Bad {
    fn build(&self, artifacts: &Artifacts, dir: &Path) -> Result<std::path::PathBuf> {
        build(artifacts, dir, self.version, Some(&self.defect))
    }
}

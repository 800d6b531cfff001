//! The table and the picture of building in `docs/benchmarks.md`. Pure.

use std::fmt::Write as _;

use crate::bars::{self, Bar};
use crate::contests::Contest;
use crate::measure::{Taken, median};
use crate::scaling::{predict, serial_part};

/// The most memory that our builder may use.
const MEMORY_KIB: u64 = 512 << 10;
/// Least efficiency from one to two cores.
const EFFICIENCY: f64 = 0.85;

/// What was measured of one contest.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub contest: Contest,
    /// Ours.
    pub ours: Vec<Taken>,
    /// The other's; empty where there is none.
    pub theirs: Vec<Taken>,
}

/// What was measured of one kind of parallel work.
#[derive(Debug)]
pub struct Scaled {
    /// Which.
    pub name: &'static str,
    /// Seconds on one core.
    pub one: Vec<f64>,
    /// Seconds on two.
    pub two: Vec<f64>,
}

fn seconds(taken: &[Taken]) -> f64 {
    median(taken.iter().map(|taken| taken.seconds).collect())
}

fn peak(taken: &[Taken]) -> u64 {
    taken.iter().map(|taken| taken.peak_kib).max().unwrap_or_default()
}

impl Row {
    /// Ours as a part of the other's, or in seconds where there is no other.
    pub fn figure(&self) -> f64 {
        if self.theirs.is_empty() { seconds(&self.ours) } else { seconds(&self.ours) / seconds(&self.theirs) }
    }

    /// Whether it is what was expected; nothing where nothing was.
    pub fn is_met(&self) -> Option<bool> {
        self.contest.expected.map(|expected| self.figure() <= expected)
    }
}

/// The section of the page.
pub fn render(title: &str, rows: &[Row], scaled: &[Scaled]) -> String {
    let mut text = format!(
        "{title}\n\n| what | ours | other | | ratio | expected | met | memory of ours | of the other |\n|---|---|---|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let other = row.contest.theirs.map_or("", |(who, _, _)| who);
        let theirs = if row.theirs.is_empty() { String::new() } else { format!("{:.2} s", seconds(&row.theirs)) };
        let ratio = if row.theirs.is_empty() { String::new() } else { format!("{:.3}", row.figure()) };
        let expected = row.contest.expected.map_or_else(String::new, |value| format!("≤ {value}"));
        let memory =
            |taken: &[Taken]| if taken.is_empty() { String::new() } else { format!("{} MiB", peak(taken) >> 10) };
        let _ = writeln!(
            text,
            "| {} | {:.2} s | {theirs} | {other} | {ratio} | {expected} | {} | {} | {} |",
            row.contest.title,
            seconds(&row.ours),
            show(row.is_met()),
            memory(&row.ours),
            memory(&row.theirs),
        );
    }
    render_sizes(&mut text, rows);
    render_scaling(&mut text, scaled);
    text
}

fn render_sizes(text: &mut String, rows: &[Row]) {
    if let Some(row) = rows.iter().find(|row| row.contest.name == "initrd") {
        let size = |taken: &[Taken]| taken.first().map_or(0, |taken| taken.bytes);
        let (ours, theirs) = (size(&row.ours), size(&row.theirs));
        let _ = writeln!(
            text,
            "\nSize of the initrd: ours {:.1} MiB, dracut's {:.1} MiB; expected at most a third: {}.",
            mib(ours),
            mib(theirs),
            show(Some(ours * 3 <= theirs))
        );
    }
    let most = rows.iter().map(|row| peak(&row.ours)).max().unwrap_or_default();
    if most > 0 {
        let _ = writeln!(
            text,
            "\nMost memory of one process of ours: {} MiB; expected at most 512 MiB: {}.",
            most >> 10,
            show(Some(most <= MEMORY_KIB))
        );
    }
}

fn render_scaling(text: &mut String, scaled: &[Scaled]) {
    if scaled.is_empty() {
        return;
    }
    text.push_str("\n| parallel work | one core | two cores | efficiency | expected | met | serial part | predicted on 64 cores |\n|---|---|---|---|---|---|---|---|\n");
    for row in scaled {
        let (one, two) = (median(row.one.clone()), median(row.two.clone()));
        let (efficiency, serial) = (one / two / 2.0, serial_part(one, two));
        let _ = writeln!(
            text,
            "| {} | {one:.2} s | {two:.2} s | {efficiency:.2} | ≥ {EFFICIENCY} | {} | {:.1} % | {:.2} s |",
            row.name,
            show(Some(efficiency >= EFFICIENCY)),
            serial * 100.0,
            predict(one, serial, 64.0)
        );
    }
}

/// A word for the table.
pub fn show(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "",
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes that are shown with one digit")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A bar for each ratio, with a mark where it is expected to end at most.
pub fn draw(rows: &[Row]) -> String {
    let bar = |row: &Row| Bar {
        label: row.contest.title.to_owned(),
        note: row.contest.theirs.map_or("", |(who, _, _)| who).to_owned(),
        length: row.figure(),
        expected: row.contest.expected,
        met: row.is_met() != Some(false),
        shown: format!("{:.3}", row.figure()),
    };
    // What is expected to take longer than the other has no place on a bar that is as long as the other.
    let is_shorter = |row: &&Row| !row.theirs.is_empty() && row.contest.expected.is_none_or(|expected| expected <= 1.0);
    let bars: Vec<Bar> = rows.iter().filter(is_shorter).map(bar).collect();
    bars::draw("time of ours as a part of the other's (whole grey bar), and what is expected (line)", &bars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contests::CONTESTS;

    fn taken(seconds: f64) -> Taken {
        Taken { seconds, peak_kib: 1024, bytes: 3 << 20 }
    }

    #[test]
    fn a_ratio_above_what_is_expected_is_not_met() {
        let row = |ours| Row { contest: CONTESTS[0], ours: vec![taken(ours)], theirs: vec![taken(10.0)] };
        assert_eq!((row(3.0).is_met(), row(4.0).is_met()), (Some(true), Some(false)));
        let text = render("x", &[row(4.0)], &[]);
        assert!(
            text.contains(
                "| root tree alone | 4.00 s | 10.00 s | mmdebstrap | 0.400 | ≤ 0.33 | **no** | 1 MiB | 1 MiB |"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_serial_part_and_the_prediction_are_told() {
        let text = render("x", &[], &[Scaled { name: "hash", one: vec![10.0], two: vec![6.0] }]);
        assert!(text.contains("| hash | 10.00 s | 6.00 s | 0.83 | ≥ 0.85 | **no** | 20.0 % | 2.12 s |"), "{text}");
    }

    #[test]
    fn the_picture_has_one_bar_for_each_pair() {
        let pair = Row { contest: CONTESTS[0], ours: vec![taken(1.0)], theirs: vec![taken(10.0)] };
        let alone = Row { contest: CONTESTS[2], ours: vec![taken(1.0)], theirs: Vec::new() };
        assert_eq!(draw(&[pair, alone]).matches("fill=\"#2e7d5b\"").count(), 1);
    }
}

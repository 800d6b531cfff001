//! The difference for people: three short tables, the largest changes first.

use super::Difference;
use super::change::{Change, FileChange, PackageChange, PartChange, weight};

/// Rows of each table that are shown where not all are wanted.
const SHORT: usize = 12;

/// The whole as text; without `all` each table is cut.
pub(super) fn render(difference: &Difference, all: bool) -> String {
    if difference.is_equal() {
        return "they are equal".to_owned();
    }
    let mut text = format!(
        "{} packages, {} files of the root and {} things of other parts differ\n",
        difference.packages.len(),
        difference.files.len(),
        difference.parts.len()
    );
    let limit = if all { usize::MAX } else { SHORT };
    let packages = difference.packages.iter().map(|row| (weight(row.before_size, row.after_size), package(row)));
    table(&mut text, "packages", packages.collect(), limit);
    let files = difference.files.iter().map(|row| (weight(row.before_size, row.after_size), file(row)));
    table(&mut text, "files of the root", files.collect(), limit);
    let parts = difference.parts.iter().map(|row| (weight(row.before_size, row.after_size), part(row)));
    table(&mut text, "parts", parts.collect(), limit);
    text
}

fn table(text: &mut String, title: &str, mut rows: Vec<(u64, [String; 4])>, limit: usize) {
    if rows.is_empty() {
        return;
    }
    rows.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.1.cmp(&right.1)));
    text.push_str(&format!("\n{title}\n"));
    let shown = &rows[..rows.len().min(limit)];
    let width = |column: usize| shown.iter().map(|(_, cells)| cells[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 3] = std::array::from_fn(width);
    for (_, cells) in shown {
        let [mark, size, name, rest] = cells;
        let line = format!("  {mark:0$}  {size:>1$}  {name:2$}  {rest}", widths[0], widths[1], widths[2]);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if rows.len() > limit {
        text.push_str(&format!("  and {} more: `--all` shows them\n", rows.len() - limit));
    }
}

fn mark(change: Change) -> String {
    match change {
        Change::Added => "+",
        Change::Removed => "-",
        Change::Changed => "~",
    }
    .to_owned()
}

fn package(row: &PackageChange) -> [String; 4] {
    let versions = match (&row.before, &row.after) {
        (Some(before), Some(after)) if before == after => format!("{after}, another file of the same version"),
        (Some(before), Some(after)) => format!("{before} -> {after}"),
        (before, after) => before.clone().or_else(|| after.clone()).unwrap_or_default(),
    };
    let versions = if row.tree == "tools" { format!("{versions} (tools tree)") } else { versions };
    [mark(row.change), sizes(row.before_size, row.after_size), row.name.clone(), plain(&versions)]
}

fn file(row: &FileChange) -> [String; 4] {
    let what = row.what.join(", ");
    let rest = if what.is_empty() { row.owner.clone() } else { format!("{} ({what})", row.owner) };
    [mark(row.change), sizes(row.before_size, row.after_size), plain(&row.path), rest]
}

fn part(row: &PartChange) -> [String; 4] {
    let values = match (&row.before, &row.after) {
        (Some(before), Some(after)) => format!("{before} -> {after}"),
        (before, after) => before.clone().or_else(|| after.clone()).unwrap_or_default(),
    };
    let name = plain(&format!("{}: {}", row.part, row.item));
    [mark(row.change), sizes(row.before_size, row.after_size), name, plain(&values)]
}

/// What has no bytes has no size.
fn sizes(before: Option<u64>, after: Option<u64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) if before != after => format!("{} -> {}", size(before), size(after)),
        (before, after) => after.or(before).map(size).unwrap_or_default(),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=10_239 => format!("{bytes} B"),
        10_240..=10_485_759 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Foreign texts are escaped, so that a terminal shows them and does not obey them.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

//! What was measured beside what is expected: as lines, and as a section of `docs/benchmarks.md` with its picture.

use std::fmt::{Display, Formatter};
use std::path::Path;

use anyhow::Result;
use bench::bars::{Bar, draw};
use bench::report::show;
use bench::{machine, page};

use super::Comparison;

/// Ours may cost this much of theirs,
const AT_MOST: f64 = 1.1;
/// and this much with the WAF: nine tenths of the pages in the same time.
const UNDER_WAF: f64 = 1.0 / 0.9;
/// What a page may take that is kept for visitors without a name, in milliseconds, and how many of them the stock server's must be worth.
const KEPT_AT_MOST: f64 = 2.5;
const KEPT_TIMES: f64 = 20.0;
/// What a page of the stock server takes where the milliseconds here were set; where it takes longer, all takes longer.
const SET_AT: f64 = 39.0;
/// What the WAF may take for a request, in milliseconds.
const WAF_AT_MOST: f64 = 2.5;
/// How much later than a file's the first byte of a kept page may come.
const FIRST_BYTE: f64 = 1.3;
const ABOUT: &str = include_str!("about.md");
const PICTURE: &str = "benchmarks-pages.svg";

/// Milliseconds of processor time, but for the first bytes, which are those of the clock on the wall.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    /// A page without the WAF, ours and the stock server's.
    pub(super) stock: Comparison,
    /// The same with `open_basedir` and without.
    pub(super) bases: Comparison,
    /// A kept page without the WAF, and with it.
    pub(super) kept_open: f64,
    pub(super) kept: f64,
    /// Of a kept page and of a file.
    pub(super) first_byte: Comparison,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    what: &'static str,
    /// Milliseconds.
    ours: f64,
    other: Option<(&'static str, f64)>,
    /// Ours as a part of the other's; of the same rounds, so not always the quotient of both.
    ratio: Option<f64>,
    expected: Option<Limit>,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Milliseconds(f64),
    Ratio(f64),
    /// At least so many of ours for one of the other's.
    Times(f64),
}

impl Figures {
    /// Slow machines have more time for what is expected in milliseconds, never for ratios.
    pub(super) fn rows(&self) -> Vec<Row> {
        let [ours, theirs] = self.stock.each;
        let (waf, scale) = (self.kept - self.kept_open, (theirs / SET_AT).max(1.0));
        let stock = "stock Apache with mod_php";
        vec![
            Row {
                what: "a page without the WAF",
                ours,
                other: Some((stock, theirs)),
                ratio: Some(self.stock.ratio),
                expected: Some(Limit::Ratio(AT_MOST)),
            },
            Row {
                what: "a page under the WAF",
                ours: ours + waf,
                other: Some((stock, theirs)),
                ratio: Some(self.stock.ratio * (ours + waf) / ours),
                expected: Some(Limit::Ratio(UNDER_WAF)),
            },
            Row {
                what: "what the WAF adds to a request",
                ours: waf,
                other: None,
                ratio: None,
                expected: Some(Limit::Milliseconds(WAF_AT_MOST * scale)),
            },
            Row {
                what: "a kept page under the WAF",
                ours: self.kept,
                other: None,
                ratio: None,
                expected: Some(Limit::Milliseconds(KEPT_AT_MOST * scale)),
            },
            Row {
                what: "the same beside a stock page",
                ours: self.kept,
                other: Some((stock, theirs)),
                ratio: Some(self.kept / theirs),
                expected: Some(Limit::Times(KEPT_TIMES)),
            },
            Row {
                what: "first byte of a kept page under the WAF",
                ours: self.first_byte.each[0],
                other: Some(("a file under the WAF", self.first_byte.each[1])),
                ratio: Some(self.first_byte.ratio),
                expected: Some(Limit::Ratio(FIRST_BYTE)),
            },
            Row {
                what: "a page with open_basedir, which is not used here",
                ours: self.bases.each[0],
                other: Some(("without", self.bases.each[1])),
                ratio: Some(self.bases.ratio),
                expected: None,
            },
        ]
    }
}

impl Row {
    pub(super) fn is_met(&self) -> bool {
        let ratio = self.ratio.unwrap_or(f64::INFINITY);
        self.expected.is_none_or(|limit| match limit {
            Limit::Milliseconds(most) => self.ours <= most,
            Limit::Ratio(most) => ratio <= most,
            Limit::Times(least) => 1.0 / ratio >= least,
        })
    }

    fn cells(&self) -> [String; 6] {
        let (who, theirs) =
            self.other.map_or_else(Default::default, |(who, theirs)| (who.to_owned(), format!("{theirs:.2} ms")));
        let ratio = self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        let met = self.expected.map(|_| self.is_met());
        [
            format!("{:.2} ms", self.ours),
            theirs,
            who,
            ratio,
            self.expected.map_or_else(String::new, |limit| limit.to_string()),
            show(met).to_owned(),
        ]
    }
}

impl Display for Limit {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Milliseconds(most) => write!(to, "≤ {most:.1} ms"),
            Self::Ratio(most) => write!(to, "≤ {most:.3}"),
            Self::Times(least) => write!(to, "≤ 1/{least:.0}"),
        }
    }
}

impl Display for Row {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        let [ours, theirs, who, ratio, expected, _] = self.cells();
        write!(to, "{}: {ours}", self.what)?;
        if !who.is_empty() {
            write!(to, ", {who} {theirs}, ratio {ratio}")?;
        }
        if expected.is_empty() { Ok(()) } else { write!(to, ", expected {expected}") }
    }
}

/// The section with its picture.
pub(super) fn write(docs: &Path, rows: &[Row]) -> Result<()> {
    let line = |row: &Row| format!("| {} | {} |", row.what, row.cells().join(" | "));
    let lines: Vec<String> = rows.iter().map(line).collect();
    let section = format!(
        "## Pages\n\n{}. {}.\n\n![Milliseconds of processor time](pictures/{PICTURE})\n\n{ABOUT}\n\
         | what | ours | other | | ratio | expected | met |\n|---|---|---|---|---|---|---|\n{}",
        machine::today()?,
        machine::describe()?,
        lines.join("\n"),
    );
    page::write(docs, &section, (PICTURE, &picture(rows)))
}

/// What requests take of the processor, the longest over the whole width.
fn picture(rows: &[Row]) -> String {
    let bar = |label: &str, note: &str, milliseconds: f64, expected: Option<f64>, met: bool| Bar {
        label: label.to_owned(),
        note: note.to_owned(),
        length: milliseconds,
        expected,
        met,
        shown: format!("{milliseconds:.2} ms"),
    };
    let of = |row: &Row| {
        let theirs = row.other.map(|(_, theirs)| theirs);
        let most = match row.expected {
            Some(Limit::Milliseconds(most)) => Some(most),
            Some(Limit::Ratio(ratio)) => theirs.map(|theirs| theirs * ratio),
            _ => None,
        };
        bar(row.what, "", row.ours, most, row.is_met())
    };
    let theirs = rows.first().and_then(|row| row.other);
    let theirs = theirs.map(|(who, theirs)| bar("a page of another server", who, theirs, None, true));
    let mut bars: Vec<Bar> = theirs.into_iter().chain(rows.iter().take(4).map(of)).collect();
    let whole = bars.iter().flat_map(|bar| [bar.length, bar.expected.unwrap_or_default()]).fold(0.0, f64::max);
    for bar in &mut bars {
        bar.length /= whole;
        bar.expected = bar.expected.map(|expected| expected / whole);
    }
    draw("milliseconds of processor time for a request, and what is expected (line)", &bars)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let pair = |one, other| Comparison { each: [one, other], ratio: one / other };
        Figures {
            stock: pair(40.0, 40.0),
            bases: pair(50.0, 40.0),
            kept_open: 0.5,
            kept: 1.5,
            first_byte: pair(1.2, 1.0),
        }
    }

    fn missed(figures: &Figures) -> Vec<&'static str> {
        figures.rows().iter().filter(|row| !row.is_met()).map(|row| row.what).collect()
    }

    #[test]
    fn each_figure_that_is_too_high_is_missed() {
        assert_eq!(missed(&figures()), [""; 0]);
        let mut slow = figures();
        slow.stock.ratio = 1.12;
        assert_eq!(missed(&slow), ["a page without the WAF", "a page under the WAF"]);
        let waf = Figures { kept: 5.5, ..figures() };
        let kept = ["a kept page under the WAF", "the same beside a stock page"];
        assert_eq!(missed(&waf), [&["a page under the WAF", "what the WAF adds to a request"], &kept[..]].concat());
        let mut late = figures();
        late.first_byte.ratio = 1.31;
        assert_eq!(missed(&late), ["first byte of a kept page under the WAF"]);
    }

    #[test]
    fn a_line_says_everything_and_the_picture_has_the_other_and_four_of_ours() {
        let rows = figures().rows();
        assert_eq!(
            rows[5].to_string(),
            "first byte of a kept page under the WAF: 1.20 ms, a file under the WAF 1.00 ms, ratio 1.200, expected ≤ 1.300"
        );
        assert_eq!(picture(&rows).matches("fill=\"#2e7d5b\"").count(), 5);
    }
}

//! A picture of bars with marks where they are expected to end, as SVG. Pure.

use std::fmt::Write as _;

const LEFT: f64 = 300.0;
const WIDTH: f64 = 460.0;
const STEP: f64 = 34.0;

/// One bar. Lengths are parts of the whole grey bar.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What it is.
    pub label: String,
    /// Something below the label, in small letters.
    pub note: String,
    /// Its length; longer than the whole is shown as the whole.
    pub length: f64,
    /// Where it is expected to end at most.
    pub expected: Option<f64>,
    /// Whether it does.
    pub met: bool,
    /// Its figure in words.
    pub shown: String,
}

/// The picture, with a line of text above.
pub fn draw(title: &str, bars: &[Bar]) -> String {
    let height = STEP * f64::from(u32::try_from(bars.len()).unwrap_or_default()) + 50.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"860\" height=\"{height}\" fill=\"#fff\"/>\n<text x=\"20\" y=\"24\">{title}</text>\n"
    );
    let mut top = 40.0;
    for bar in bars {
        bar.draw(&mut text, top);
        top += STEP;
    }
    text.push_str("</svg>\n");
    text
}

impl Bar {
    fn draw(&self, text: &mut String, top: f64) {
        let length = (self.length * WIDTH).min(WIDTH);
        let colour = if self.met { "#2e7d5b" } else { "#c0504d" };
        let _ = writeln!(
            text,
            "<text x=\"20\" y=\"{:.0}\">{}</text><text x=\"20\" y=\"{:.0}\" fill=\"#777\" font-size=\"10\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{top:.0}\" width=\"{WIDTH}\" height=\"18\" fill=\"#ddd\"/>\
             <rect x=\"{LEFT}\" y=\"{top:.0}\" width=\"{length:.1}\" height=\"18\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            top + 10.0,
            self.label,
            top + 22.0,
            self.note,
            LEFT + WIDTH + 10.0,
            top + 14.0,
            self.shown
        );
        if let Some(expected) = self.expected {
            let at = LEFT + expected * WIDTH;
            let (from, to) = (top - 3.0, top + 21.0);
            let _ =
                writeln!(text, "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{from:.0}\" y2=\"{to:.0}\" stroke=\"#000\"/>");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_ends_with_the_whole_and_its_colour_tells_whether_it_is_short_enough() {
        let bar = |length, met| Bar {
            label: "a".into(),
            note: String::new(),
            length,
            expected: Some(0.5),
            met,
            shown: String::new(),
        };
        let text = draw("t", &[bar(0.25, true), bar(2.0, false)]);
        assert!(text.contains("width=\"115.0\" height=\"18\" fill=\"#2e7d5b\""), "{text}");
        assert!(text.contains("width=\"460.0\" height=\"18\" fill=\"#c0504d\""), "{text}");
        assert_eq!(text.matches("<line x1=\"530.0\"").count(), 2, "{text}");
    }
}

//! Debian's machine-readable `copyright` file (DEP 5) as an SPDX expression.
//!
//! The expression joins the licences of all `Files` paragraphs: it is that of the whole source package, of which a binary package may
//! hold less. Names that SPDX knows are translated, others become a `LicenseRef-` with the words that the file has for them.

use std::collections::{BTreeMap, BTreeSet};

use super::licence::{Licence, OwnText};
use super::licence_names::spdx_name;

/// One paragraph: the lines of its fields, by lower-case name.
type Paragraph = BTreeMap<String, String>;

/// The licence that a copyright file states.
pub(super) fn licence(file: &str) -> Licence {
    let paragraphs = paragraphs(file);
    let head = paragraphs.first().and_then(|head| head.get("format"));
    if !head.is_some_and(|format| format.contains("copyright-format/1")) {
        return Licence::Unknown("its copyright file is not machine-readable (DEP 5)");
    }
    let mut terms = Terms { paragraphs: &paragraphs, texts: BTreeMap::new() };
    let mut all = BTreeSet::new();
    for paragraph in paragraphs.iter().filter(|paragraph| paragraph.contains_key("files")) {
        let Some(licence) = paragraph.get("license") else {
            return Licence::Unknown("its copyright file has a `Files` paragraph without a licence");
        };
        let (synopsis, text) = licence.split_once('\n').unwrap_or((licence, ""));
        all.extend(terms.expressions(synopsis.trim(), text));
    }
    if all.is_empty() {
        return Licence::Unknown("its copyright file has no `Files` paragraph");
    }
    let several = all.len() > 1;
    let parts = all.iter().map(|part| if several && part.contains(' ') { format!("({part})") } else { part.clone() });
    Licence::Known(parts.collect::<Vec<_>>().join(" AND "), terms.texts)
}

/// Turns names into SPDX's, and keeps the texts of those that SPDX does not know.
struct Terms<'a> {
    paragraphs: &'a [Paragraph],
    texts: BTreeMap<String, OwnText>,
}

impl Terms<'_> {
    /// The expressions that hold together for one synopsis, such as `GPL-2+ or Artistic, and Expat`.
    fn expressions(&mut self, synopsis: &str, text: &str) -> Vec<String> {
        // Some write the words as SPDX does.
        let written = synopsis.replace(" OR ", " or ").replace(" AND ", " and ");
        match parse(&written) {
            Some(Parsed::All(clauses)) => clauses.iter().map(|clause| self.clause(clause, text)).collect(),
            Some(Parsed::Any(clauses)) => {
                let clauses: Vec<String> = clauses.iter().map(|clause| self.clause(clause, text)).collect();
                vec![clauses.join(" OR ")]
            }
            None => vec![self.name(synopsis, text)],
        }
    }

    /// In DEP 5 as in SPDX `and` binds more tightly than `or`.
    fn clause(&mut self, clause: &Clause<'_>, text: &str) -> String {
        let mut both = |names: &Vec<&str>| -> String {
            names.iter().map(|name| self.name(name, text)).collect::<Vec<_>>().join(" AND ")
        };
        clause.iter().map(&mut both).collect::<Vec<_>>().join(" OR ")
    }

    fn name(&mut self, name: &str, inline: &str) -> String {
        if let Some(known) = spdx_name(name) {
            return known;
        }
        let text = self.standalone(name).unwrap_or(inline);
        let text = if text.trim().is_empty() { "The copyright file has no text under this name." } else { text };
        let own = OwnText { name: name.to_owned(), text: unfolded(text) };
        let reference = own.reference();
        self.texts.insert(reference.clone(), own);
        reference
    }

    /// The text of a paragraph that stands for a licence alone.
    fn standalone(&self, name: &str) -> Option<&str> {
        let alone = self.paragraphs.iter().filter(|paragraph| !paragraph.contains_key("files"));
        let mut licences = alone.filter_map(|paragraph| paragraph.get("license")?.split_once('\n'));
        licences.find(|(synopsis, _)| synopsis.trim().eq_ignore_ascii_case(name)).map(|(_, text)| text)
    }
}

/// Any of these, each of which is all of some names.
type Clause<'a> = Vec<Vec<&'a str>>;

enum Parsed<'a> {
    All(Vec<Clause<'a>>),
    Any(Vec<Clause<'a>>),
}

/// Reads a synopsis; a comma binds more loosely than the words. `None` where it is not as DEP 5 wants it, so that it is taken as one
/// name: half of it understood would be a false statement.
fn parse(synopsis: &str) -> Option<Parsed<'_>> {
    let mut clauses = Vec::new();
    let mut joined_by = BTreeSet::new();
    for (at, part) in synopsis.split(',').map(str::trim).enumerate() {
        let part = match (at, split_word(part)) {
            (0, _) => part,
            (_, (word @ ("and" | "or"), rest)) => {
                joined_by.insert(word);
                rest
            }
            _ => return None,
        };
        let any = part.split(" or ").map(|all| all.split(" and ").map(single).collect::<Option<Vec<_>>>());
        clauses.push(any.collect::<Option<Clause<'_>>>()?);
    }
    if joined_by.len() > 1 {
        return None;
    }
    // `A and B` without a comma says the same as with one, and is kept as two.
    match (clauses.as_slice(), joined_by.contains("or")) {
        (_, true) => Some(Parsed::Any(clauses)),
        ([alone], false) if alone.len() == 1 => {
            Some(Parsed::All(alone[0].iter().map(|name| vec![vec![*name]]).collect()))
        }
        (_, false) => Some(Parsed::All(clauses)),
    }
}

/// One name: a word, or a word `with` an exception.
fn single(text: &str) -> Option<&str> {
    let text = text.trim();
    let (name, rest) = split_word(text);
    let complete = rest.is_empty() || split_word(rest).0 == "with";
    (!name.is_empty() && complete && name != "later").then_some(text)
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_once(' ').map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

fn paragraphs(file: &str) -> Vec<Paragraph> {
    let (mut all, mut current, mut field) = (Vec::new(), Paragraph::new(), String::new());
    for line in file.lines().filter(|line| !line.starts_with('#')).chain([""]) {
        if line.trim().is_empty() {
            if !current.is_empty() {
                all.push(std::mem::take(&mut current));
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some(value) = current.get_mut(&field) {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            field = name.trim().to_ascii_lowercase();
            current.insert(field.clone(), value.trim().to_owned());
        }
    }
    all
}

/// The text of a field without what folding added: a space before each line, a dot on empty ones.
fn unfolded(text: &str) -> String {
    let plain = |line: &str| -> String {
        let line = line.strip_prefix([' ', '\t']).unwrap_or(line).trim_end();
        if line == "." { String::new() } else { line.to_owned() }
    };
    text.lines().map(plain).collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n";

    fn expression(synopsis: &str) -> String {
        match licence(&format!("{FORMAT}\nFiles: *\nLicense: {synopsis}\n")) {
            Licence::Known(expression, _) => expression,
            Licence::Unknown(reason) => reason.to_owned(),
        }
    }

    #[test]
    fn names_and_words_become_those_of_spdx() {
        for (debian, spdx) in [
            ("Expat", "MIT"),
            ("GPL-2+ or Artistic-2.0", "GPL-2.0-or-later OR Artistic-2.0"),
            ("GPL-2+ and Expat", "GPL-2.0-or-later AND MIT"),
            ("ISC OR Expat", "ISC OR MIT"),
            ("GPL-2+ or Expat and ISC", "GPL-2.0-or-later OR MIT AND ISC"),
            ("GPL-2+ or Artistic-2.0, and ISC", "(GPL-2.0-or-later OR Artistic-2.0) AND ISC"),
            ("GPL-2 and ISC, or Expat", "GPL-2.0-only AND ISC OR MIT"),
        ] {
            assert_eq!(expression(debian), spdx, "{debian}");
        }
    }

    #[test]
    fn all_paragraphs_count_and_each_licence_once() {
        let file = format!(
            "{FORMAT}\nFiles: *\nLicense: LGPL-2.1+\n\nfiles: debian/*\nlicense: GPL-2+ or Expat\n text\n \t\n\
             Files: c\nLicense: LGPL-2.1+\n\nLicense: LGPL-2.1+\n text\n"
        );
        let expected = "(GPL-2.0-or-later OR MIT) AND LGPL-2.1-or-later";
        assert_eq!(licence(&file), Licence::Known(expected.to_owned(), BTreeMap::new()));
    }

    #[test]
    fn an_unknown_name_refers_to_its_own_text_and_to_no_other() {
        let of = |text: &str| {
            let file = format!("{FORMAT}\nFiles: *\nLicense: custom\n\nLicense: custom\n {text}\n .\n Second.\n");
            match licence(&file) {
                Licence::Known(expression, texts) => (expression, texts),
                Licence::Unknown(reason) => panic!("{reason}"),
            }
        };
        let (expression, texts) = of("First.");
        assert!(expression.starts_with("LicenseRef-custom-"), "{expression}");
        let own = OwnText { name: "custom".to_owned(), text: "First.\n\nSecond.".to_owned() };
        assert_eq!(texts, BTreeMap::from([(expression.clone(), own)]));
        assert_ne!(of("Other.").0, expression);
    }

    #[test]
    fn what_is_not_as_the_format_says_is_one_name_and_never_half_understood() {
        for synopsis in ["GPL v2 or later", "GPL-2, LGPL-2", "GPL-2, and ISC, or Expat", "GPL-2+ or later"] {
            let found = expression(synopsis);
            assert!(found.starts_with("LicenseRef-GPL") && !found.contains(' '), "{synopsis}: {found}");
        }
        assert!(expression("GPL-2+ with OpenSSL exception").starts_with("LicenseRef-GPL-2--with-OpenSSL-exception-"));
    }

    #[test]
    fn nothing_is_asserted_of_other_files_and_the_reason_is_given() {
        for (file, reason) in [
            ("This is free software.\n\nFiles: *\nLicense: Expat\n".to_owned(), "not machine-readable"),
            (String::new(), "not machine-readable"),
            (format!("{FORMAT}\nFiles: *\nCopyright: x\n"), "without a licence"),
            (FORMAT.to_owned(), "no `Files` paragraph"),
        ] {
            match licence(&file) {
                Licence::Unknown(found) => assert!(found.contains(reason), "{found}"),
                known @ Licence::Known(..) => panic!("{known:?}"),
            }
        }
    }
}

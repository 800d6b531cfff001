//! Debian control syntax (deb822): paragraphs of `Name: value` fields, Debian Policy 5.1.
//!
//! Release, Packages and apt's `.sources` files are written in it. A Packages file is some 55 MB and 70000 paragraphs, therefore
//! fields are slices of the text and one [`Paragraph`] can be filled again and again.

/// A cursor over the paragraphs of a text.
#[derive(Debug, Clone)]
pub struct Paragraphs<'a> {
    rest: &'a str,
    line: u32,
}

/// One paragraph: its fields in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paragraph<'a> {
    line: u32,
    fields: Vec<Field<'a>>,
}

/// One field of a paragraph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name as written; names compare without regard to case.
    pub name: &'a str,
    /// The value without the white space around it; continuation lines are in it with their line ends.
    pub value: &'a str,
    /// The line it begins at, from 1.
    pub line: u32,
    /// The line its value begins at: the next one for a list.
    value_line: u32,
}

/// The text is not control syntax.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ControlError {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub problem: ControlProblem,
}

/// What is wrong with a line of control syntax.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlProblem {
    /// A line that is neither a field nor a continuation.
    #[error("`{0}` is neither `Field: value` nor a continuation that begins with a space")]
    NotAField(String),
    /// A continuation line with no field before it.
    #[error("a continuation line stands where a field must begin")]
    Continuation,
    /// The same field twice.
    #[error("the field `{0}` occurs twice in one paragraph")]
    Duplicate(String),
    /// A field that must be there.
    #[error("the paragraph has no field `{0}`")]
    Missing(&'static str),
}

impl<'a> Paragraphs<'a> {
    /// Begins at the first line of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text, line: 1 }
    }

    /// Fills `paragraph` with the next one; false at the end of the text.
    pub fn next_into(&mut self, paragraph: &mut Paragraph<'a>) -> Result<bool, ControlError> {
        paragraph.fields.clear();
        while let Some((text, rest)) = self.peek_line() {
            let here = self.line;
            if is_blank(text) {
                self.advance(rest, 1);
                if paragraph.fields.is_empty() {
                    continue;
                }
                break;
            }
            if text.starts_with('#') {
                self.advance(rest, 1);
                continue;
            }
            if paragraph.fields.is_empty() {
                paragraph.line = here;
            }
            let field = self.take_field(text)?;
            if paragraph.get(field.name).is_some() {
                return Err(ControlError { line: here, problem: ControlProblem::Duplicate(field.name.to_owned()) });
            }
            paragraph.fields.push(field);
        }
        Ok(!paragraph.fields.is_empty())
    }

    fn take_field(&mut self, text: &'a str) -> Result<Field<'a>, ControlError> {
        let line = self.line;
        let fail = |problem| Err(ControlError { line, problem });
        if text.starts_with([' ', '\t']) {
            return fail(ControlProblem::Continuation);
        }
        let Some((name, _)) = text.split_once(':').filter(|(name, _)| is_field_name(name)) else {
            return fail(ControlProblem::NotAField(text.chars().take(60).collect()));
        };
        let begin = self.rest;
        let mut length = 0;
        while let Some((text, rest)) = self.peek_line() {
            let continues = text.starts_with([' ', '\t']) && !is_blank(text);
            // A comment inside a value belongs to it until the value ends; `Field::lines` passes over it.
            if length > 0 && !continues && !(text.starts_with('#') && continues_after_comments(rest)) {
                break;
            }
            length += self.rest.len() - rest.len();
            self.advance(rest, 1);
        }
        let raw = begin.get(name.len() + 1..length).unwrap_or_default();
        let value = raw.trim_ascii();
        let lead = raw.len() - raw.trim_ascii_start().len();
        let skipped = raw.bytes().take(lead).filter(|b| *b == b'\n').count();
        let value_line = line.saturating_add(u32::try_from(skipped).unwrap_or(u32::MAX));
        Ok(Field { name, value, line, value_line })
    }

    fn peek_line(&self) -> Option<(&'a str, &'a str)> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.rest.split_once('\n').unwrap_or((self.rest, "")))
    }

    fn advance(&mut self, rest: &'a str, lines: u32) {
        self.rest = rest;
        self.line = self.line.saturating_add(lines);
    }
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = Result<Paragraph<'a>, ControlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut paragraph = Paragraph::default();
        match self.next_into(&mut paragraph) {
            Ok(true) => Some(Ok(paragraph)),
            Ok(false) => None,
            Err(error) => {
                self.rest = ""; // what follows a malformed line has no meaning
                Some(Err(error))
            }
        }
    }
}

impl<'a> Paragraph<'a> {
    /// The line of its first field, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// All fields in order.
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.field(name).map(|field| field.value)
    }

    /// A field with its line.
    pub fn field(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// A field that must be there.
    pub fn require(&self, name: &'static str) -> Result<Field<'a>, ControlError> {
        self.field(name).copied().ok_or(ControlError { line: self.line, problem: ControlProblem::Missing(name) })
    }
}

impl<'a> Field<'a> {
    /// The lines of the value without the white space around them and without comments, each with its number.
    pub fn lines(&self) -> impl Iterator<Item = (u32, &'a str)> + use<'a> {
        let lines = (self.value_line..).zip(self.value.lines());
        let texts = lines.filter(|(_, text)| !text.starts_with('#')).map(|(line, text)| (line, text.trim_ascii()));
        texts.filter(|(_, text)| !text.is_empty())
    }
}

fn is_blank(line: &str) -> bool {
    line.bytes().all(|b| b == b' ' || b == b'\t' || b == b'\r')
}

fn is_field_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(|b| b.is_ascii_graphic())
}

fn continues_after_comments(rest: &str) -> bool {
    let next = rest.lines().find(|line| !line.starts_with('#'));
    next.is_some_and(|line| line.starts_with([' ', '\t']) && !is_blank(line))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Vec<Paragraph<'_>>, ControlError> {
        Paragraphs::new(text).collect()
    }

    #[test]
    fn reads_fields_continuations_and_lines() {
        let text = "\n\nPackage: a\nDescription: one\n two\n .\n\tthree\nEmpty:\n\n \nPackage: b\nlist:\n x 1\n y 2";
        let paragraphs = parse(text).unwrap();
        assert_eq!(paragraphs.len(), 2);
        assert_eq!(paragraphs[0].line(), 3);
        assert_eq!(paragraphs[0].get("description"), Some("one\n two\n .\n\tthree"));
        assert_eq!(paragraphs[0].get("EMPTY"), Some(""));
        assert_eq!(paragraphs[1].field("Package").unwrap().line, 11);
        let list: Vec<_> = paragraphs[1].field("List").unwrap().lines().collect();
        assert_eq!(list, [(13, "x 1"), (14, "y 2")]);
    }

    #[test]
    fn passes_over_comments_between_and_inside_fields() {
        let paragraphs = parse("# head\nA: 1\n# between\nB: 2\n# inside\n 3\n# end\n").unwrap();
        assert_eq!(paragraphs.len(), 1);
        let lines: Vec<_> = paragraphs[0].field("B").unwrap().lines().collect();
        assert_eq!(lines, [(4, "2"), (6, "3")]);
    }

    #[test]
    fn names_the_line_of_each_mistake() {
        let cases =
            [("A: 1\n\n x\n", 3), ("A: 1\nnonsense\n", 2), ("A: 1\nb: 2\na: 3\n", 3), (": x\n", 1), ("-A: x\n", 1)];
        for (text, line) in cases {
            assert_eq!(parse(text).unwrap_err().line, line, "{text}");
        }
        let paragraph = parse("\nA: 1\n").unwrap().remove(0);
        let missing = paragraph.require("B").unwrap_err();
        assert_eq!(missing.to_string(), "line 2: the paragraph has no field `B`");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_ends(text in "[ab:# \t\r\n\u{e9}-]{0,80}") {
            prop_assert!(Paragraphs::new(&text).count() <= text.len());
        }
    }
}

//! `docs/benchmarks.md`, whose sections are written by different programs: each leaves the others as they are.

use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;

const TITLE: &str = "# Benchmarks\n";

/// Writes one section, which begins with its heading (`## NAME`), and its picture into a folder of documents.
pub fn write(docs: &Path, section: &str, picture: (&str, &str)) -> Result<()> {
    let page = docs.join("benchmarks.md");
    let text = if page.exists() { fs::read_to_string(&page)? } else { TITLE.to_owned() };
    let changed = replace(&text, section).context("a section without a heading")?;
    fs::create_dir_all(docs.join("pictures"))?;
    fs::write(docs.join("pictures").join(picture.0), picture.1)?;
    Ok(fs::write(&page, changed)?)
}

/// The page with this section in place of the one with its heading, or at its end; `None` where the section has no heading.
fn replace(page: &str, section: &str) -> Option<String> {
    let heading = section.lines().next().filter(|line| line.starts_with("## "))?;
    let mut parts: Vec<String> = Vec::new();
    for line in page.lines() {
        match parts.last_mut() {
            Some(part) if !line.starts_with("## ") => part.push_str(line),
            _ => parts.push(line.to_owned()),
        }
        parts.last_mut()?.push('\n');
    }
    let section = format!("{}\n", section.trim_end());
    match parts.iter_mut().find(|part| part.lines().next() == Some(heading)) {
        Some(part) => *part = section,
        None => parts.push(section),
    }
    Some(parts.iter().map(|part| part.trim_end()).collect::<Vec<_>>().join("\n\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_its_namesake_and_leaves_the_others() {
        let page = "# Benchmarks\n\nintro\n\n## A\n\nold\n\n## B\n\nstays\n";
        let changed = replace(page, "## A\n\nnew\n\n\n").unwrap();
        assert_eq!(changed, "# Benchmarks\n\nintro\n\n## A\n\nnew\n\n## B\n\nstays\n");
        let more = replace(&changed, "## C\nlast").unwrap();
        assert_eq!(more, format!("{changed}\n## C\nlast\n"));
        assert_eq!(replace(page, "no heading"), None);
    }

    #[test]
    fn a_page_and_its_picture_are_made_where_there_are_none() {
        let docs = tempfile::tempdir().unwrap();
        write(docs.path(), "## A\n\n1", ("a.svg", "<svg/>")).unwrap();
        write(docs.path(), "## B\n\n2", ("b.svg", "<svg/>")).unwrap();
        let read = |name: &str| std::fs::read_to_string(docs.path().join(name)).unwrap();
        assert_eq!(read("benchmarks.md"), "# Benchmarks\n\n## A\n\n1\n\n## B\n\n2\n");
        assert_eq!(read("pictures/a.svg"), "<svg/>");
    }
}

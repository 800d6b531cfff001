//! What differs between two listings. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;

use crate::listing::{Kind, Listing, Node};

/// In what respect two trees differ at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Respect {
    /// The path is in our tree only.
    OnlyOurs,
    /// The path is in the other tree only.
    OnlyTheirs,
    /// File, directory, link or special file.
    Type,
    /// Permission bits.
    Mode,
    /// User or group.
    Owner,
    /// What a file holds or a link points to.
    Content,
    /// The order of the lines of a text that is otherwise equal.
    Order,
    /// Extended attributes.
    Attributes,
    /// Which other names the file has.
    HardLink,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: String,
    /// In what respect.
    pub respect: Respect,
    /// Both sides, for whoever reads the message.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.respect, self.path, self.detail)
    }
}

/// Everything in which the two differ, by path.
pub fn compare(ours: &Listing, theirs: &Listing) -> Vec<Difference> {
    let paths: BTreeSet<&String> = ours.0.keys().chain(theirs.0.keys()).collect();
    let mut found = Vec::new();
    for path in paths {
        let mut add = |respect, detail| found.push(Difference { path: path.clone(), respect, detail });
        match (ours.0.get(path), theirs.0.get(path)) {
            (Some(ours), Some(theirs)) => compare_nodes(ours, theirs, &mut add),
            (Some(ours), None) => add(Respect::OnlyOurs, show(ours)),
            (None, Some(theirs)) => add(Respect::OnlyTheirs, show(theirs)),
            (None, None) => {}
        }
    }
    found
}

fn compare_nodes(ours: &Node, theirs: &Node, add: &mut dyn FnMut(Respect, String)) {
    if std::mem::discriminant(&ours.kind) != std::mem::discriminant(&theirs.kind) {
        add(Respect::Type, format!("{} and {}", show(ours), show(theirs)));
        return;
    }
    if ours.kind != theirs.kind {
        let respect = if is_reordered(&ours.kind, &theirs.kind) { Respect::Order } else { Respect::Content };
        add(respect, show_contents(&ours.kind, &theirs.kind));
    }
    if ours.mode != theirs.mode {
        add(Respect::Mode, format!("{:o} and {:o}", ours.mode, theirs.mode));
    }
    if ours.owner != theirs.owner {
        add(Respect::Owner, format!("{:?} and {:?}", ours.owner, theirs.owner));
    }
    if ours.attributes != theirs.attributes {
        add(Respect::Attributes, format!("{:?} and {:?}", ours.attributes, theirs.attributes));
    }
    if ours.same_as != theirs.same_as {
        add(Respect::HardLink, format!("the same as {:?} and as {:?}", ours.same_as, theirs.same_as));
    }
}

fn show(node: &Node) -> String {
    let kind = match &node.kind {
        Kind::File { .. } => "a file".to_owned(),
        Kind::Directory => "a directory".to_owned(),
        Kind::Link(target) => format!("a link to `{target}`"),
        Kind::Special(kind, _) => format!("a {kind}"),
    };
    format!("{kind} {:o} {}:{}", node.mode, node.owner.0, node.owner.1)
}

/// Whether two texts have the same lines, each as often, in another order.
fn is_reordered(ours: &Kind, theirs: &Kind) -> bool {
    let (Kind::File { text: Some(ours), .. }, Kind::File { text: Some(theirs), .. }) = (ours, theirs) else {
        return false;
    };
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    ours.len() == theirs.len() && sorted(ours) == sorted(theirs)
}

/// Lines that only one of the texts has, a few of each; other content is told by its digest.
fn show_contents(ours: &Kind, theirs: &Kind) -> String {
    const SHOWN: usize = 6;
    match (ours, theirs) {
        (Kind::File { text: Some(ours), .. }, Kind::File { text: Some(theirs), .. }) => {
            let only = |these: &str, those: &str| {
                let others: BTreeSet<&str> = those.lines().collect();
                let lines = these.lines().filter(|line| !others.contains(line));
                lines.take(SHOWN).map(|line| line.chars().take(160).collect()).collect::<Vec<String>>()
            };
            let (left, right) = (only(ours, theirs), only(theirs, ours));
            if left.is_empty() && right.is_empty() {
                return "the same lines, in other order or number".to_owned();
            }
            format!("only ours {left:?}, only theirs {right:?}")
        }
        (Kind::File { digest: ours, .. }, Kind::File { digest: theirs, .. }) => {
            format!("content {ours} and {theirs}")
        }
        (ours, theirs) => format!("{ours:?} and {theirs:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::digest::Sha256Digest;
    use std::collections::BTreeMap;

    fn file(content: &str) -> Node {
        let kind = Kind::File { digest: Sha256Digest::of(content.as_bytes()), text: Some(content.to_owned()) };
        Node { kind, mode: 0o644, owner: (0, 0), attributes: BTreeMap::new(), same_as: None }
    }

    fn listing(nodes: &[(&str, Node)]) -> Listing {
        Listing(nodes.iter().map(|(name, node)| ((*name).to_owned(), node.clone())).collect())
    }

    fn respects(ours: Node, theirs: Node) -> Vec<Respect> {
        let found = compare(&listing(&[("/a", ours)]), &listing(&[("/a", theirs)]));
        found.into_iter().map(|difference| difference.respect).collect()
    }

    #[test]
    fn equal_trees_do_not_differ() {
        assert!(respects(file("x"), file("x")).is_empty());
    }

    #[test]
    fn each_respect_is_seen_alone() {
        let capable = BTreeMap::from([("security.capability".to_owned(), vec![1, 0, 0, 2])]);
        let cases = [
            (Node { mode: 0o4755, ..file("x") }, Respect::Mode),
            (Node { owner: (0, 42), ..file("x") }, Respect::Owner),
            (file("y"), Respect::Content),
            (Node { kind: Kind::Directory, ..file("x") }, Respect::Type),
            (Node { attributes: capable, ..file("x") }, Respect::Attributes),
            (Node { same_as: Some("/b".into()), ..file("x") }, Respect::HardLink),
        ];
        for (other, respect) in cases {
            assert_eq!(respects(file("x"), other.clone()), [respect]);
            assert_eq!(respects(other, file("x")), [respect]);
        }
    }

    #[test]
    fn a_missing_and_a_further_file_are_seen() {
        let (less, more) = (listing(&[("/a", file("x"))]), listing(&[("/a", file("x")), ("/b", file("x"))]));
        assert_eq!(compare(&less, &more)[0].respect, Respect::OnlyTheirs);
        assert_eq!(compare(&more, &less)[0].respect, Respect::OnlyOurs);
    }

    #[test]
    fn another_target_of_a_link_is_another_content() {
        let link = |target: &str| Node { kind: Kind::Link(target.into()), mode: 0, ..file("") };
        assert_eq!(respects(link("a"), link("b")), [Respect::Content]);
    }

    #[test]
    fn other_order_of_lines_is_told_from_other_lines() {
        assert_eq!(respects(file("1\n2\n"), file("2\n1\n")), [Respect::Order]);
        assert_eq!(respects(file("1\n2\n2\n"), file("1\n1\n2\n")), [Respect::Content]);
        assert_eq!(respects(file("1\n2\n"), file("1\n2")), [Respect::Content]);
    }
}

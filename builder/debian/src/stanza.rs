//! The fields of a `Packages` paragraph that matter, found once and then known by number.

use std::collections::HashMap;

use crate::control::{Field, Paragraph};

/// The fields that are read, by number. The first [`KEPT`] are kept as text.
pub(crate) const WANTED: [&str; 22] = [
    "Package",
    "Version",
    "Architecture",
    "Filename",
    "Depends",
    "Pre-Depends",
    "Provides",
    "Conflicts",
    "Breaks",
    "Replaces",
    "Source",
    "Section",
    "Multi-Arch",
    "Priority",
    "Essential",
    "Protected",
    "Size",
    "SHA256",
    "Installed-Size",
    "Recommends",
    "Suggests",
    "Enhances",
];
pub(crate) const KEPT: usize = 12;
pub(crate) const PACKAGE: usize = 0;
pub(crate) const VERSION: usize = 1;
pub(crate) const ARCHITECTURE: usize = 2;
pub(crate) const FILENAME: usize = 3;
pub(crate) const DEPENDS: usize = 4;
pub(crate) const PRE_DEPENDS: usize = 5;
pub(crate) const PROVIDES: usize = 6;
pub(crate) const CONFLICTS: usize = 7;
pub(crate) const BREAKS: usize = 8;
pub(crate) const REPLACES: usize = 9;
pub(crate) const SOURCE: usize = 10;
pub(crate) const SECTION: usize = 11;
pub(crate) const MULTI_ARCH: usize = 12;
pub(crate) const PRIORITY: usize = 13;
pub(crate) const ESSENTIAL: usize = 14;
pub(crate) const PROTECTED: usize = 15;
pub(crate) const SIZE: usize = 16;
pub(crate) const SHA256: usize = 17;
pub(crate) const INSTALLED_SIZE: usize = 18;
pub(crate) const RECOMMENDS: usize = 19;
pub(crate) const SUGGESTS: usize = 20;
pub(crate) const ENHANCES: usize = 21;
/// The order in which apt numbers the names in a paragraph, after the package's own.
pub(crate) const MENTIONS: [usize; 9] =
    [PRE_DEPENDS, DEPENDS, CONFLICTS, BREAKS, RECOMMENDS, SUGGESTS, REPLACES, ENHANCES, PROVIDES];

pub(crate) type Slots<'a> = [Option<Field<'a>>; WANTED.len()];

pub(crate) fn sort_fields<'a>(paragraph: &Paragraph<'a>) -> Slots<'a> {
    let mut slots: Slots<'a> = [None; WANTED.len()];
    for field in paragraph.fields() {
        if let Some(which) = WANTED.iter().position(|name| name.eq_ignore_ascii_case(field.name)) {
            slots[which] = Some(*field);
        }
    }
    slots
}

/// Names in the order of their first occurrence.
#[derive(Default)]
pub(crate) struct Mentions<'a> {
    order: HashMap<&'a str, u32>,
}

impl<'a> Mentions<'a> {
    /// Takes the names of one paragraph.
    pub(crate) fn add(&mut self, slots: &Slots<'a>) {
        self.add_name(slots[PACKAGE].map_or("", |field| field.value));
        for field in MENTIONS.iter().filter_map(|which| slots[*which]) {
            for relation in field.value.split([',', '|']) {
                let relation = relation.trim_ascii_start();
                let end = relation.find([' ', '(', '\n']).unwrap_or(relation.len());
                let name = relation.get(..end).unwrap_or_default();
                // `python3:any` is another thing than `python3` to apt.
                if !name.contains(':') {
                    self.add_name(name);
                }
            }
        }
    }

    /// How many names occur before this one.
    pub(crate) fn order(&self, name: &str) -> u32 {
        self.order.get(name).copied().unwrap_or(u32::MAX)
    }

    fn add_name(&mut self, name: &'a str) {
        let next = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        self.order.entry(name).or_insert(next);
    }
}

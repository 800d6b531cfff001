//! The licence of a package as its machine-readable `debian/copyright` has it (DEP 5).
//!
//! Names that SPDX has under another spelling are translated; with any other name, or without the machine-readable form, nothing is
//! asserted. Images that trim `/usr/share/doc` have no such file to read.

use std::collections::BTreeSet;

use crate::root_tree::RootTree;

/// Debian's short names and those of SPDX.
const NAMES: [(&str, &str); 30] = [
    ("apache-2.0", "Apache-2.0"),
    ("artistic-2.0", "Artistic-2.0"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsl-1.0", "BSL-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("expat", "MIT"),
    ("mit", "MIT"),
    ("isc", "ISC"),
    ("zlib", "Zlib"),
    ("curl", "curl"),
    ("gpl-1+", "GPL-1.0-or-later"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("lgpl-2", "LGPL-2.0-only"),
    ("lgpl-2+", "LGPL-2.0-or-later"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-2.1+", "LGPL-2.1-or-later"),
    ("lgpl-3", "LGPL-3.0-only"),
    ("lgpl-3+", "LGPL-3.0-or-later"),
    ("agpl-3", "AGPL-3.0-only"),
    ("agpl-3+", "AGPL-3.0-or-later"),
    ("mpl-2.0", "MPL-2.0"),
    ("openssl", "OpenSSL"),
    ("python-2.0", "Python-2.0"),
];

/// The licence of a package in the tree, if the tree says it.
pub(super) fn of_package(tree: &RootTree, package: &str) -> Option<String> {
    // The directory may be a link to that of a sister package, which is resolved inside the tree.
    let (name, _) = tree.resolve(&format!("/usr/share/doc/{package}/copyright")).ok()?;
    of_copyright(&tree.read_text(&name).ok()?)
}

/// All licences of the `Files` paragraphs, joined by AND.
pub(super) fn of_copyright(text: &str) -> Option<String> {
    if !text.lines().next()?.contains("copyright-format/1") {
        return None;
    }
    let mut all = BTreeSet::new();
    for paragraph in text.split("\n\n").filter(|paragraph| paragraph.lines().any(|line| line.starts_with("Files:"))) {
        let name = paragraph.lines().find_map(|line| line.strip_prefix("License:"))?.trim();
        all.insert(expression(name)?);
    }
    let parts: Vec<String> = all.into_iter().collect();
    (!parts.is_empty()).then(|| parts.join(" AND "))
}

/// `A or B` and `A and B` of single names; nothing that mixes them, for DEP 5 binds them in its own way.
fn expression(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    for (word, operator) in [(" or ", " OR "), (" and ", " AND ")] {
        if text.contains(word) {
            let names = text.split(word).map(single).collect::<Option<Vec<_>>>()?;
            return Some(format!("({})", names.join(operator)));
        }
    }
    single(&text).map(str::to_owned)
}

fn single(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|(debian, _)| *debian == name.trim()).map(|(_, spdx)| *spdx)
}

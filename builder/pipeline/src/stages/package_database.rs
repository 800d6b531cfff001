//! Keeps the package database true: what the finished tree no longer has, dpkg does not claim.
//!
//! Paths are left out on purpose (state below /var, cron jobs, kernel hooks). Without this `dpkg -V` would call them missing on every
//! host, and a real loss would not stand out.

use std::collections::BTreeMap;

use anyhow::Result;
use debian::control::{Paragraph, Paragraphs};

use crate::root_tree::RootTree;

const INFO: &str = "/usr/lib/sysimage/dpkg/info";
pub(super) const STATUS: &str = "/usr/lib/sysimage/dpkg/status";

/// Takes missing paths out of the file lists, the checksums and the lists of configuration files.
pub fn forget_missing(tree: &RootTree) -> Result<()> {
    for name in tree.children(INFO)? {
        let file = format!("{INFO}/{name}");
        let kept = match name.rsplit_once('.') {
            Some((_, "list")) => keep(&tree.read_text(&file)?, |line| line == "/." || exists(tree, line)),
            Some((_, "md5sums")) => keep(&tree.read_text(&file)?, |line| {
                // md5sum(1): digest, two spaces, path without its first slash.
                line.split_once("  ").is_some_and(|(_, path)| exists(tree, path))
            }),
            Some((_, "conffiles")) => keep(&tree.read_text(&file)?, |line| exists(tree, line)),
            _ => None,
        };
        if let Some(text) = kept {
            tree.write(&file, text.as_bytes(), 0o644)?;
        }
    }
    let status = tree.read_text(STATUS)?;
    let kept = without_missing_conffiles(&status, |path| exists(tree, path));
    if kept == status { Ok(()) } else { tree.write(STATUS, kept.as_bytes(), 0o644) }
}

/// The version of each package, by name.
pub(super) fn versions(status: &str) -> Result<BTreeMap<&str, &str>> {
    let mut versions = BTreeMap::new();
    let (mut paragraphs, mut paragraph) = (Paragraphs::new(status), Paragraph::default());
    while paragraphs.next_into(&mut paragraph)? {
        versions.insert(paragraph.require("Package")?.value, paragraph.require("Version")?.value);
    }
    Ok(versions)
}

/// In the status a configuration file is a line ` PATH DIGEST` below `Conffiles:`; all other lines stay.
fn without_missing_conffiles(status: &str, exists: impl Fn(&str) -> bool) -> String {
    let mut in_list = false;
    let mut kept = String::new();
    for line in status.lines() {
        let path = line.strip_prefix(' ').filter(|_| in_list).and_then(|rest| rest.split(' ').next());
        if !line.starts_with(' ') {
            in_list = line == "Conffiles:";
        }
        if path.is_none_or(&exists) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The text without the lines that are not wanted; `None` if all are.
fn keep(text: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
    if text.lines().all(&wanted) {
        return None;
    }
    Some(text.lines().filter(|line| wanted(line)).flat_map(|line| [line, "\n"]).collect())
}

/// Whether the host will have the path. `/var` is made by tmpfiles and belongs to no package here.
fn exists(tree: &RootTree, name: &str) -> bool {
    let name = name.trim_start_matches('/');
    let below_var = name.strip_prefix("var").is_some_and(|rest| rest.starts_with('/'));
    !below_var && tree.has(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_tree_has_stays_in_the_database() {
        let dir = tempfile::tempdir().unwrap();
        let tree = RootTree::new(dir.path().to_owned());
        tree.write("/usr/bin/a", b"x", 0o755).unwrap();
        tree.write("/etc/a.conf", b"x", 0o644).unwrap();
        let write = |name: &str, text: &str| tree.write(&format!("{INFO}/{name}"), text.as_bytes(), 0o644).unwrap();
        write("a.list", "/.\n/usr\n/usr/bin\n/usr/bin/a\n/var/lib\n/var/lib/a\n/etc/cron.d\n/etc/a.conf\n");
        write("a.md5sums", "00  usr/bin/a\n11  usr/share/gone\n");
        write("a.postinst", "/gone\n");
        let status = "Package: a\nConffiles:\n /etc/a.conf 00\n /etc/cron.d/a 11\nDescription: short\n long\n /not/a/path but text\n";
        tree.write(STATUS, status.as_bytes(), 0o644).unwrap();
        forget_missing(&tree).unwrap();
        let read = |name: &str| tree.read_text(&format!("{INFO}/{name}")).unwrap();
        assert_eq!(read("a.list"), "/.\n/usr\n/usr/bin\n/usr/bin/a\n/etc/a.conf\n");
        assert_eq!(read("a.md5sums"), "00  usr/bin/a\n");
        assert_eq!(read("a.postinst"), "/gone\n");
        let status = tree.read_text(STATUS).unwrap();
        assert!(status.contains(" /etc/a.conf 00\n") && !status.contains("cron.d"), "{status}");
        assert!(status.ends_with(" /not/a/path but text\n"), "{status}");
    }
}

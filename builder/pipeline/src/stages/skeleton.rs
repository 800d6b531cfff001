//! Roots for jailed services: Jailkit's `jk_init` links the named files of the configured root, and the libraries that they need, into
//! a tree of their own.
//!
//! Jailkit runs in the root itself, with the tools tree below it for what the root does not have (Python, Jailkit). It links instead of
//! copying, so a file of a skeleton is the same file of the sealed root and takes no room of its own.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result, ensure};
use hostconf::SkeletonRow;
use tools::{ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

use crate::root_tree::{Entry, RootTree};

/// Jailkit's description of what is copied, while it works. Not in `/tmp`: a sandbox has one of its own.
const DESCRIPTION: &str = "/usr/lib/casemate/skeleton.ini";

/// Makes each skeleton in `merged`: the configured root `base` over the tools tree. Nothing of the tools gets into it.
pub fn make(rows: &[&SkeletonRow], base: &RootTree, merged: &RootTree) -> Result<()> {
    let runner = SandboxRunner::new(Sandbox::new(merged.path()).writable());
    for row in rows {
        let missing: Vec<String> = row.copy.iter().map(ToString::to_string).filter(|path| !base.has(path)).collect();
        ensure!(
            missing.is_empty(),
            "skeleton `{}`: no package brings {}; add one to `packages` of the overlay",
            row.path,
            missing.join(", ")
        );
        merged.write(DESCRIPTION, describe(row).as_bytes(), 0o644)?;
        // It refuses a place whose parents are not there.
        merged.make_dir(row.path.as_str(), 0o755)?;
        let tool = Tool::new("/usr/sbin/jk_init")
            // Its long form of `-j` takes no value (2.23).
            .args(["-k", "-c", DESCRIPTION, "-j", row.path.as_str(), "skeleton"])
            // Python would leave its compiled modules in the tree.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .cwd("/");
        runner.run(&tool).remedied().with_context(|| format!("Jailkit cannot make `{}`", row.path))?;
        // It goes on after a path that it cannot copy.
        let mut wanted: Vec<String> = row.copy.iter().map(ToString::to_string).collect();
        for path in &row.copy {
            wanted.extend(
                base.walk_below(path.as_str())?.into_iter().filter(|entry| !leads_away(entry)).map(|entry| entry.name),
            );
        }
        wanted.retain(|path| !merged.has(&format!("{}{path}", row.path)));
        ensure!(wanted.is_empty(), "Jailkit did not copy {} to `{}`", wanted.join(", "), row.path);
        for path in &row.mount_points {
            merged.make_dir(&format!("{}{path}", row.path), 0o755)?;
        }
    }
    merged.remove(DESCRIPTION)
}

/// Whether it is a link to something that the root does not hold: Jailkit leaves those out.
fn leads_away(entry: &Entry) -> bool {
    entry.metadata.is_symlink() && entry.path.metadata().is_err()
}

/// `jk_init(8)`: one section. No users: names are of no use where nobody is looked up.
fn describe(row: &SkeletonRow) -> String {
    let paths = row.copy.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("[skeleton]\ncomment = derived from [[skeleton]]\npaths = {paths}\n")
}

/// Removes from `layer`, what overlayfs kept of the making, all but the skeletons and the other names of their files.
pub fn settle(rows: &[&SkeletonRow], layer: &RootTree) -> Result<()> {
    let of_skeleton = |name: &str| {
        rows.iter().any(|row| {
            let root = row.path.as_str();
            name == root || row.path.is_below(name) || name.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
        })
    };
    let entries = layer.walk()?;
    let is_file = |entry: &&Entry| entry.metadata.is_file() && entry.metadata.nlink() > 1;
    let linked: BTreeSet<u64> = entries
        .iter()
        .filter(|entry| of_skeleton(&entry.name))
        .filter(is_file)
        .map(|entry| entry.metadata.ino())
        .collect();
    // From the leaves up: a directory stays while something in it is kept.
    for entry in entries.iter().rev().filter(|entry| !of_skeleton(&entry.name)) {
        let kept = if entry.metadata.is_dir() {
            std::fs::read_dir(&entry.path)?.next().is_some()
        } else {
            linked.contains(&entry.metadata.ino())
        };
        if !kept {
            layer.remove(&entry.name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn row() -> SkeletonRow {
        let paths = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        SkeletonRow {
            path: "/usr/lib/casemate/jail/php".parse().unwrap(),
            copy: paths(&["/usr/sbin/php-fpm8.4", "/usr/lib/php/20240924"]),
            mount_points: paths(&["/proc"]),
        }
    }

    #[test]
    fn jailkit_is_told_every_path() {
        assert_eq!(
            describe(&row()),
            "[skeleton]\ncomment = derived from [[skeleton]]\npaths = /usr/sbin/php-fpm8.4, /usr/lib/php/20240924\n"
        );
    }

    #[test]
    fn what_no_package_brings_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let tree = RootTree::new(dir.path().to_owned());
        let error = make(&[&row()], &tree, &tree).unwrap_err().to_string();
        assert!(error.contains("/usr/sbin/php-fpm8.4, /usr/lib/php/20240924"), "{error}");
    }

    #[test]
    fn a_layer_keeps_the_skeleton_and_the_other_names_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let layer = RootTree::new(dir.path().to_owned());
        layer.write("/usr/sbin/php-fpm8.4", b"fpm", 0o755).unwrap();
        layer.write("/usr/lib/casemate/jail/php/etc/ld.so.cache", b"cache", 0o644).unwrap();
        layer.make_dir("/usr/lib/casemate/jail/php/usr/sbin", 0o755).unwrap();
        let inside = layer.at("/usr/lib/casemate/jail/php/usr/sbin/php-fpm8.4");
        std::fs::hard_link(layer.at("/usr/sbin/php-fpm8.4"), inside).unwrap();
        layer.write("/etc/jailkit/jk_socketd.ini", b"", 0o644).unwrap();
        layer.write("/usr/lib/casemate/jail/phpx/file", b"", 0o644).unwrap();
        layer.write("/tmp/x", b"", 0o644).unwrap();
        symlink("x", layer.at("/tmp/link")).unwrap();
        settle(&[&row()], &layer).unwrap();
        let names: Vec<String> = layer
            .walk()
            .unwrap()
            .into_iter()
            .filter(|entry| !entry.metadata.is_dir())
            .map(|entry| entry.name)
            .collect();
        assert_eq!(
            names,
            [
                "/usr/lib/casemate/jail/php/etc/ld.so.cache",
                "/usr/lib/casemate/jail/php/usr/sbin/php-fpm8.4",
                "/usr/sbin/php-fpm8.4"
            ]
        );
        assert!(!layer.has("/tmp") && !layer.has("/etc") && !layer.has("/usr/lib/casemate/jail/phpx"));
    }
}

//! Brings both roots into one shape: the dpkg database in one place, and what an image leaves out left out of both.

use anyhow::Result;
use debian::trim::TrimRules;

use crate::listing::{Kind, Listing, is_trimmed};

/// Where the database is on a Debian machine, and where in an image.
const DATABASE: (&str, &str) = ("/var/lib/dpkg", "/usr/lib/sysimage/dpkg");

/// What the other tree would be if nothing of it matched the trim rules of the image.
pub fn as_trimmed(theirs: Listing, trim: &[String]) -> Result<Listing> {
    let rules = TrimRules::parse(trim.iter().map(String::as_str))?;
    let mut theirs = theirs.moved(DATABASE.0, DATABASE.1);
    theirs.trim(&rules)?;
    drop_links_to_trimmed(&mut theirs, &rules)?;
    theirs.edit(&format!("{}/status", DATABASE.1), |text| trim_status(text, &rules))?;
    let info = format!("{}/info/", DATABASE.1);
    let names: Vec<String> = theirs.0.range(info.clone()..).map(|(name, _)| name.clone()).collect();
    for name in names.iter().take_while(|name| name.starts_with(&info)) {
        match name.rsplit_once('.') {
            Some((_, "list")) => theirs.edit(name, |text| keep_lines(text, &rules, |line| Some(line)))?,
            // md5sum(1): digest, two spaces, path without its first slash.
            Some((_, "md5sums")) => {
                theirs
                    .edit(name, |text| keep_lines(text, &rules, |line| line.split_once("  ").map(|(_, path)| path)))?;
            }
            // deb-conffiles(5): a flag may stand before the path.
            Some((_, "conffiles")) => {
                theirs.edit(name, |text| keep_lines(text, &rules, |line| line.rsplit(' ').next()))?;
            }
            _ => {}
        }
    }
    Ok(theirs)
}

/// update-alternatives(1) makes no further link to what is not there, such as the manual of a program.
fn drop_links_to_trimmed(theirs: &mut Listing, rules: &TrimRules) -> Result<()> {
    let mut gone = Vec::new();
    for (name, node) in &theirs.0 {
        match &node.kind {
            Kind::Link(target) if name.starts_with("/etc/alternatives/") && is_trimmed(rules, target)? => {
                gone.push(name.clone());
            }
            _ => {}
        }
    }
    theirs.0.retain(|name, _| !gone.contains(name));
    Ok(())
}

/// In the status a configuration file is a line ` PATH DIGEST`; text of descriptions begins with a space too.
fn conffile_of_status(line: &str) -> Option<&str> {
    let (path, digest) = line.strip_prefix(" /")?.split_once(' ')?;
    let digest = digest.split(' ').next()?;
    let is_digest = digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_digest || digest == "newconffile").then_some(path)
}

/// The status without the configuration files that are left out, and without their heading where none is left.
fn trim_status(text: &str, rules: &TrimRules) -> Result<String> {
    let kept = keep_lines(text, rules, conffile_of_status)?;
    let mut lines = kept.lines().peekable();
    let mut status = String::new();
    while let Some(line) = lines.next() {
        let is_empty_list = line == "Conffiles:" && lines.peek().is_none_or(|next| !next.starts_with(' '));
        if !is_empty_list {
            status.push_str(line);
            status.push('\n');
        }
    }
    Ok(status)
}

/// The lines that name no path, or one that stays.
fn keep_lines(text: &str, rules: &TrimRules, path_of: fn(&str) -> Option<&str>) -> Result<String> {
    let mut kept = String::new();
    for line in text.lines() {
        let path = path_of(line).filter(|path| *path != "/.");
        if path.map_or(Ok(false), |path| is_trimmed(rules, path))? {
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::compare;
    use std::path::Path;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Listing) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name.trim_start_matches('/'));
            fs_err::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let listing = Listing::of(dir.path()).unwrap();
        (dir, listing)
    }

    const TRIM: &str = "/usr/share/doc/**";

    #[test]
    fn trimmed_paths_go_from_tree_and_database() {
        let (_ours, ours) = tree(&[
            ("/usr/bin/a", "x"),
            ("/usr/share/keep", "x"),
            ("/usr/lib/sysimage/dpkg/info/a.list", "/.\n/usr/bin/a\n"),
            ("/usr/lib/sysimage/dpkg/info/a.md5sums", "00  usr/bin/a\n"),
        ]);
        let (dir, _) = tree(&[
            ("/usr/bin/a", "x"),
            ("/usr/share/keep", "x"),
            ("/usr/share/doc/a/b", "x"),
            ("/var/lib/dpkg/info/a.list", "/.\n/usr/bin/a\n/usr/share/doc/a\n/usr/share/doc/a/b\n"),
            ("/var/lib/dpkg/info/a.md5sums", "00  usr/bin/a\n11  usr/share/doc/a/b\n"),
        ]);
        let theirs = as_trimmed(Listing::of(dir.path()).unwrap(), &[TRIM.to_owned()]).unwrap();
        let found: Vec<String> = compare(&ours, &theirs).into_iter().map(|found| found.path).collect();
        // Only what the test itself does not lay out alike.
        assert_eq!(found, ["/usr/lib", "/usr/lib/sysimage", "/usr/share/doc", "/var", "/var/lib"]);
    }

    #[test]
    fn real_trees_show_a_changed_mode_and_a_missing_file() {
        use std::os::unix::fs::PermissionsExt;
        let (_ours, ours) = tree(&[("/usr/bin/a", "x"), ("/usr/bin/b", "x")]);
        let (dir, same) = tree(&[("/usr/bin/a", "x"), ("/usr/bin/b", "x")]);
        assert!(compare(&ours, &same).is_empty());
        fs_err::set_permissions(dir.path().join("usr/bin/a"), PermissionsExt::from_mode(0o4755)).unwrap();
        fs_err::remove_file(dir.path().join("usr/bin/b")).unwrap();
        let found = compare(&ours, &Listing::of(dir.path()).unwrap());
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("Mode /usr/bin/a") && found[1].starts_with("OnlyOurs /usr/bin/b"), "{found:?}");
    }

    #[test]
    fn a_trimmed_conffile_leaves_the_status_and_other_lines_stay() {
        let rules = TrimRules::parse(["/etc/cron.*/**"]).unwrap();
        let digest = "94bb6c1363245e46256908a5d52ba4fb";
        let status = format!(
            "Package: a\nConffiles:\n /etc/cron.daily/a {digest}\n\n\
             Package: b\nConffiles:\n /etc/cron.daily/b {digest}\n /etc/b {digest} obsolete\nDescription: b\n /etc/cron.daily/c is text\n"
        );
        let wanted = format!(
            "Package: a\n\nPackage: b\nConffiles:\n /etc/b {digest} obsolete\nDescription: b\n /etc/cron.daily/c is text\n"
        );
        assert_eq!(trim_status(&status, &rules).unwrap(), wanted);
    }

    #[test]
    fn names_of_one_file_are_told_from_copies() {
        let (dir, copies) = tree(&[("/a", "x"), ("/b", "x")]);
        fs_err::remove_file(dir.path().join("b")).unwrap();
        fs_err::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        let found = compare(&copies, &Listing::of(dir.path()).unwrap());
        assert_eq!(found.len(), 2, "{found:?}");
    }
}

//! Writes the dpkg database of a tree in which everything is unpacked and nothing is configured.
//!
//! Afterwards `dpkg --configure -a` of the tree itself does the rest, and `dpkg -l`, `-V` and `-S` answer as if dpkg had unpacked
//! the packages. Of triggers only the interests are written: dpkg drops the activation of a trigger whose package is not
//! configured yet, since its `postinst configure` does the same work. Formats: dpkg's `doc/spec/triggers.rst` and deb-triggers(5).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::conffiles::{Conffile, parse_conffiles};
use crate::control::{ControlError, Paragraphs};
use crate::deb::{ControlMembers, DebError};
use crate::package_facts::PackageFacts;
use crate::placeholder::{self, PLACEHOLDER, Provided};
use crate::root_dir::{RootDir, TreeError};
use crate::tree_path::{TreePath, TreePathError};
use crate::trigger::parse_interest;

/// Where dpkg keeps its database, beneath the root.
const ADMIN_DIRECTORY: &str = "var/lib/dpkg";

/// Why the database cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A control member is not text.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// A control file is malformed.
    #[error("the control file of `{package}` is malformed, do not install it")]
    Control {
        /// The package.
        package: String,
        /// What is wrong.
        #[source]
        source: ControlError,
    },
    /// A path or trigger name is not allowed.
    #[error(transparent)]
    Path(#[from] TreePathError),
    /// A line of the `triggers` member is malformed.
    #[error("bad line `{line}` in the triggers of `{package}`; the package is malformed, do not install it")]
    Trigger {
        /// The package.
        package: String,
        /// The line.
        line: String,
    },
    /// The tree cannot be changed.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// A package as it stands in the tree.
#[derive(Debug, Clone)]
pub struct UnpackedPackage {
    /// What the control file says.
    pub facts: PackageFacts,
    /// All control members.
    pub control: ControlMembers,
    /// The paths that belong to it, in the order of the archive.
    pub paths: Vec<TreePath>,
    /// True if some of its paths were left out.
    pub trimmed: bool,
}

/// Writes all files of the database.
pub fn write_database(
    root: &RootDir,
    architecture: &str,
    packages: &[UnpackedPackage],
    provided: &[Provided],
) -> Result<(), DatabaseError> {
    let mut status = BTreeMap::new();
    for package in packages {
        status.insert(package.facts.info_name(), status_paragraph(package)?);
        write_info(root, package)?;
    }
    if !provided.is_empty() {
        status.insert(PLACEHOLDER.to_owned(), placeholder::status_paragraph(provided));
        write(root, &format!("info/{PLACEHOLDER}.list"), 0o644, b"/.\n")?;
        // `dpkg --audit` complains of packages without this file.
        write(root, &format!("info/{PLACEHOLDER}.md5sums"), 0o644, b"")?;
    }
    let status: String = status.into_values().collect();
    write(root, "status", 0o644, status.as_bytes())?;
    write(root, "available", 0o644, b"")?;
    write(root, "arch", 0o644, format!("{architecture}\n").as_bytes())?;
    write(root, "info/format", 0o644, b"1\n")?;
    for name in ["diversions", "statoverride"] {
        let path: TreePath = format!("{ADMIN_DIRECTORY}/{name}").parse()?;
        if root.stat(&path)?.is_none() {
            root.write(&path, 0o644, b"")?;
        }
    }
    root.make_directories(&format!("{ADMIN_DIRECTORY}/updates"))?;
    root.make_directories(&format!("{ADMIN_DIRECTORY}/parts"))?;
    write_triggers(root, packages)
}

/// Writes `.list` and `.md5sums` of one package, which change when files go from one package to another.
pub fn write_file_lists(root: &RootDir, package: &UnpackedPackage) -> Result<(), DatabaseError> {
    let name = package.facts.info_name();
    let mut list = String::new();
    for path in &package.paths {
        // dpkg writes the root as `/.`.
        let _ = writeln!(list, "/{}", if path.is_root() { "." } else { path.as_str() });
    }
    write(root, &format!("info/{name}.list"), 0o644, list.as_bytes())?;
    if package.control.has("md5sums") {
        let kept: BTreeSet<&str> = package.paths.iter().map(TreePath::as_str).collect();
        let stays =
            |line: &&str| line.split_once("  ").is_some_and(|(_, path)| kept.contains(path.trim_start_matches("./")));
        let sums: String =
            package.control.text("md5sums")?.lines().filter(stays).flat_map(|line| [line, "\n"]).collect();
        write(root, &format!("info/{name}.md5sums"), 0o644, sums.as_bytes())?;
    }
    Ok(())
}

fn write_info(root: &RootDir, package: &UnpackedPackage) -> Result<(), DatabaseError> {
    write_file_lists(root, package)?;
    let name = package.facts.info_name();
    for (member, file) in &package.control.0 {
        if !matches!(member.as_str(), "control" | "md5sums") {
            // Scripts keep their execute bit; dpkg sets the modes the same way.
            let mode = if file.mode & 0o111 == 0 { 0o644 } else { 0o755 };
            let bytes = if member == "conffiles" { list_conffiles(package)?.into_bytes() } else { file.bytes.clone() };
            write(root, &format!("info/{name}.{member}"), mode, &bytes)?;
        }
    }
    Ok(())
}

/// The control file with state and configuration files added; `newconffile` stands where dpkg will put a digest.
fn status_paragraph(package: &UnpackedPackage) -> Result<String, DatabaseError> {
    let text = package.control.text("control")?;
    let malformed = |source| DatabaseError::Control { package: package.facts.info_name(), source };
    let mut out = String::new();
    for paragraph in Paragraphs::new(text) {
        for field in paragraph.map_err(malformed)?.fields() {
            if matches!(field.name, "Status" | "Conffiles" | "Config-Version") {
                continue;
            }
            let _ = writeln!(out, "{}: {}", field.name, field.value);
            if field.name == "Package" {
                out.push_str("Status: install ok unpacked\n");
            }
        }
    }
    let conffiles = kept_conffiles(package)?;
    if !conffiles.is_empty() {
        out.push_str("Conffiles:\n");
    }
    for Conffile { path, remove_on_upgrade } in &conffiles {
        let flag = if *remove_on_upgrade { " remove-on-upgrade" } else { "" };
        let _ = writeln!(out, " {path} newconffile{flag}");
    }
    out.push('\n');
    Ok(out)
}

/// The configuration files that were not left out: of the others dpkg would wait for a digest for ever.
fn kept_conffiles(package: &UnpackedPackage) -> Result<Vec<Conffile>, DatabaseError> {
    let mut conffiles = parse_conffiles(package.control.text("conffiles")?)?;
    if package.trimmed {
        conffiles.retain(|conffile| conffile.remove_on_upgrade || package.paths.contains(&conffile.path));
    }
    Ok(conffiles)
}

/// The member of that name, as `conffiles(5)` has it.
fn list_conffiles(package: &UnpackedPackage) -> Result<String, DatabaseError> {
    let mut text = String::new();
    for Conffile { path, remove_on_upgrade } in kept_conffiles(package)? {
        let flag = if remove_on_upgrade { "remove-on-upgrade " } else { "" };
        let _ = writeln!(text, "{flag}{path}");
    }
    Ok(text)
}

/// Interests: paths in `triggers/File`, other names in a file of their own, each line with the package and how it is awaited.
fn write_triggers(root: &RootDir, packages: &[UnpackedPackage]) -> Result<(), DatabaseError> {
    let mut paths = String::new();
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for package in packages {
        let owner = package.facts.info_name();
        for line in package.control.text("triggers")?.lines() {
            let Some((trigger, suffix)) = parse_interest(line)
                .map_err(|()| DatabaseError::Trigger { package: owner.clone(), line: line.to_owned() })?
            else {
                continue;
            };
            if trigger.starts_with('/') {
                let _ = writeln!(paths, "{trigger} {owner}{suffix}");
            } else {
                let _ = writeln!(named.entry(trigger.to_owned()).or_default(), "{owner}{suffix}");
            }
        }
    }
    write(root, "triggers/File", 0o644, paths.as_bytes())?;
    write(root, "triggers/Unincorp", 0o644, b"")?;
    for (trigger, owners) in named {
        write(root, &format!("triggers/{trigger}"), 0o644, owners.as_bytes())?;
    }
    Ok(())
}

fn write(root: &RootDir, name: &str, mode: u32, bytes: &[u8]) -> Result<(), DatabaseError> {
    let path: TreePath = format!("{ADMIN_DIRECTORY}/{name}").parse()?;
    Ok(root.write(&path, mode, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deb::ControlFile;
    use crate::root_dir::Ownership;

    fn package(control: &str, members: &[(&str, &str)], paths: &[&str]) -> UnpackedPackage {
        let member = |(name, text): (&str, &str)| (name.to_owned(), ControlFile { bytes: text.into(), mode: 0o644 });
        let control_members =
            ControlMembers(members.iter().copied().chain([("control", control)]).map(member).collect());
        let paths = paths.iter().map(|path| path.parse().unwrap()).collect();
        UnpackedPackage { facts: control.parse().unwrap(), control: control_members, paths, trimmed: false }
    }

    fn written(packages: &[UnpackedPackage], name: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let root = RootDir::open(directory.path(), Ownership::Keep).unwrap();
        write_database(&root, "amd64", packages, &[]).unwrap();
        std::fs::read_to_string(directory.path().join(ADMIN_DIRECTORY).join(name)).unwrap()
    }

    const CONTROL: &str =
        "Package: libx\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\nDescription: short\n long\n .\n more\n";

    #[test]
    fn status_says_unpacked_and_lists_new_conffiles() {
        let members = [("conffiles", "/etc/a b\nremove-on-upgrade /etc/old\n")];
        let status = written(&[package(CONTROL, &members, &[])], "status");
        let wanted = "Package: libx\nStatus: install ok unpacked\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\nDescription: short\n long\n .\n more\nConffiles:\n /etc/a b newconffile\n /etc/old newconffile remove-on-upgrade\n\n";
        assert_eq!(status, wanted);
    }

    #[test]
    fn a_trimmed_conffile_is_in_neither_status_nor_list() {
        let members = [("conffiles", "/etc/kept\n/etc/trimmed\nremove-on-upgrade /etc/old\n")];
        let package = UnpackedPackage { trimmed: true, ..package(CONTROL, &members, &["etc", "etc/kept"]) };
        let status = written(std::slice::from_ref(&package), "status");
        assert!(
            status.ends_with("Conffiles:\n /etc/kept newconffile\n /etc/old newconffile remove-on-upgrade\n\n"),
            "{status}"
        );
        assert_eq!(written(&[package], "info/libx:amd64.conffiles"), "/etc/kept\nremove-on-upgrade /etc/old\n");
    }

    #[test]
    fn lists_and_sums_hold_only_what_is_in_the_tree() {
        let members = [("md5sums", "aa  usr/bin/x\nbb  usr/share/man/x.1\n")];
        let package = package(CONTROL, &members, &["./", "usr", "usr/bin/x"]);
        assert_eq!(written(std::slice::from_ref(&package), "info/libx:amd64.list"), "/.\n/usr\n/usr/bin/x\n");
        assert_eq!(written(&[package], "info/libx:amd64.md5sums"), "aa  usr/bin/x\n");
    }

    #[test]
    fn triggers_keep_their_interests_and_how_they_are_awaited() {
        let members = [(
            "triggers",
            "# c\ninterest /usr/lib\ninterest-noawait /etc/x\ninterest-await named\nactivate-noawait ldconfig\n",
        )];
        let packages = [package(CONTROL, &members, &[])];
        assert_eq!(written(&packages, "triggers/File"), "/usr/lib libx:amd64\n/etc/x libx:amd64/noawait\n");
        assert_eq!(written(&packages, "triggers/named"), "libx:amd64\n");
    }
}

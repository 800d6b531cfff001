//! The lint of the finished tree: what must never be in an image that many hosts share.
//!
//! It only reads. All findings are reported at once, so that one build shows everything there is to mend.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Result;
use debian::parallel::for_each_largest_first;
use fs_err as fs;

use super::bytecode;
use super::generated;
use crate::root_tree::{Entry, RootTree};

/// What the lint compares the tree with.
#[derive(Debug, Default)]
pub struct Expectations {
    /// Set-id files that overlays declare, with their reasons.
    pub set_id: BTreeMap<String, String>,
    /// Every path that belongs to a package or an overlay.
    pub owned: BTreeSet<String>,
    /// Every path that came with an asset, and the asset as `asset:NAME`.
    pub assets: BTreeMap<String, String>,
    /// Patterns of paths that a documented step makes ([`generated`]).
    pub generated: Vec<String>,
    /// Names of the build machine that must not appear: its host name.
    pub build_names: Vec<String>,
}

/// One thing that must not be in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The path on the host.
    pub path: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A private key or a file that must be made on the host.
    Secret,
    /// A machine id, random seed, host name or other identity.
    Identity,
    /// A log.
    Log,
    /// A database file.
    Database,
    /// The name of the build machine.
    BuildName,
    /// A set-user-id or set-group-id file that no overlay declares.
    SetId,
    /// A declared set-id file that is not there (or not set-id).
    MissingSetId,
    /// A path that no package, overlay, asset or documented step accounts for.
    Unowned,
    /// Anything in `/var`, which is state.
    InVar,
    /// A file or directory that anyone may write and that is not sticky.
    WorldWritable,
    /// A device, socket or pipe.
    Special,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::Secret => "holds a private key: keys are made on the host",
            Fault::Identity => "gives every host the same identity",
            Fault::Log => "is a log of the build",
            Fault::Database => "is a database file: databases are made on the host",
            Fault::BuildName => "holds the build machine's name",
            Fault::SetId => "is set-id but no overlay has a `[[setuid]]` entry with a reason for it",
            Fault::MissingSetId => "is declared in `[[setuid]]` but is not a set-id file: remove the entry",
            Fault::Unowned => "belongs to no package, overlay, asset or documented step",
            Fault::InVar => "is in /var: declare it as `[[state]]` or `[[dropped]]`",
            Fault::WorldWritable => "can be written by everybody",
            Fault::Special => "is a device, socket or pipe",
        };
        write!(f, "`{}` {what}", self.path)
    }
}

/// Looks through the whole tree and returns all findings, sorted by path.
pub fn lint(tree: &RootTree, expected: &Expectations) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut set_id_seen = BTreeSet::new();
    let entries = tree.walk()?;
    // Every file is read: that is most of the work, and for all processors.
    let sizes: Vec<u64> = entries.iter().map(|entry| entry.metadata.len()).collect();
    let jobs = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let contents = for_each_largest_first(&sizes, jobs, |at| match entries.get(at) {
        Some(entry) if entry.metadata.is_file() => by_content(&entry.path, &expected.build_names),
        _ => Ok(Vec::new()),
    })?;
    for (entry, content) in entries.iter().zip(contents) {
        let mut report = |fault| findings.push(Finding { path: entry.name.clone(), fault });
        by_name(entry).into_iter().for_each(&mut report);
        if is_set_id(entry) {
            set_id_seen.insert(entry.name.clone());
            if !expected.set_id.contains_key(&entry.name) {
                report(Fault::SetId);
            }
        }
        if !is_owned(entry, expected) {
            report(Fault::Unowned);
        }
        content.into_iter().for_each(&mut report);
    }
    for path in expected.set_id.keys().filter(|path| !set_id_seen.contains(*path)) {
        findings.push(Finding { path: path.clone(), fault: Fault::MissingSetId });
    }
    findings.sort_by(|a, b| (&a.path, a.fault).cmp(&(&b.path, b.fault)));
    Ok(findings)
}

fn by_name(entry: &Entry) -> Vec<Fault> {
    let mut faults = Vec::new();
    let name = entry.name.as_str();
    let kind = entry.metadata.file_type();
    if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
        faults.push(Fault::Special);
    }
    if !kind.is_symlink() && entry.metadata.mode() & 0o1002 == 0o002 {
        faults.push(Fault::WorldWritable);
    }
    if name.starts_with("/var/") {
        faults.push(Fault::InVar);
    }
    if !kind.is_file() {
        return faults;
    }
    let file = name.rsplit('/').next().unwrap_or(name);
    if (name == "/etc/machine-id" && entry.metadata.len() != 0) || ["random-seed", "credential.secret"].contains(&file)
    {
        faults.push(Fault::Identity);
    }
    if name.starts_with("/etc/ssh/ssh_host_") || name.contains("snakeoil") {
        faults.push(Fault::Secret);
    }
    let extension = Path::new(file).extension().and_then(|e| e.to_str()).unwrap_or("");
    if extension == "log" || name.starts_with("/usr/log/") {
        faults.push(Fault::Log);
    }
    if ["ibd", "frm", "MYD", "MYI", "sqlite", "sqlite3"].contains(&extension) || file.starts_with("ibdata") {
        faults.push(Fault::Database);
    }
    faults
}

fn is_set_id(entry: &Entry) -> bool {
    entry.metadata.is_file() && entry.metadata.mode() & 0o6000 != 0
}

fn is_owned(entry: &Entry, expected: &Expectations) -> bool {
    let stood_for = bytecode::stands_for(&entry.name);
    let name = stood_for.as_deref().unwrap_or(&entry.name);
    expected.owned.contains(name)
        || expected.assets.contains_key(name)
        || is_alternative(entry)
        || expected.generated.iter().any(|pattern| generated::covers(pattern, name))
}

/// update-alternatives(1) makes links into its own directory.
fn is_alternative(entry: &Entry) -> bool {
    entry.metadata.is_symlink()
        && fs::read_link(&entry.path).is_ok_and(|target| target.starts_with("/etc/alternatives"))
}

/// Searches the start of a file: keys and host names stand in text files, which are small.
fn by_content(path: &Path, build_names: &[String]) -> Result<Vec<Fault>> {
    const LIMIT: u64 = 256 * 1024;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    let mut faults = Vec::new();
    if is_private_key(&bytes) {
        faults.push(Fault::Secret);
    }
    let is_text = !bytes.contains(&0);
    if is_text && build_names.iter().any(|name| holds(&bytes, name.as_bytes())) {
        faults.push(Fault::BuildName);
    }
    Ok(faults)
}

/// A PEM private key has its own line and base64 after it; a program that merely knows the words does not.
fn is_private_key(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----") {
            return lines.next().is_some_and(|next| {
                let next = next.trim();
                next.starts_with("Proc-Type:")
                    || (next.len() >= 40 && next.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)))
            });
        }
    }
    false
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn faults_of(prepare: impl Fn(&RootTree), expected: &Expectations) -> Vec<(String, Fault)> {
        let dir = tempfile::tempdir().unwrap();
        let tree = RootTree::new(dir.path().to_owned());
        prepare(&tree);
        lint(&tree, expected).unwrap().into_iter().map(|finding| (finding.path, finding.fault)).collect()
    }

    fn all_owned() -> Expectations {
        Expectations { generated: vec!["/".into()], ..Expectations::default() }
    }

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n";

    #[test]
    fn finds_keys_ids_logs_databases_and_names() {
        let mut expected = all_owned();
        expected.build_names = vec!["forge-7".into()];
        let found = faults_of(
            |tree| {
                tree.write("/etc/ssl/own.pem", KEY.as_bytes(), 0o600).unwrap();
                tree.write("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n", 0o444).unwrap();
                tree.write("/usr/share/x/build.log", b"x", 0o644).unwrap();
                tree.write("/usr/share/x/a.ibd", b"x", 0o644).unwrap();
                tree.write("/etc/mailname", b"forge-7\n", 0o644).unwrap();
                tree.write("/var/lib/x", b"x", 0o644).unwrap();
            },
            &expected,
        );
        let expected: Vec<(String, Fault)> = [
            ("/etc/machine-id", Fault::Identity),
            ("/etc/mailname", Fault::BuildName),
            ("/etc/ssl/own.pem", Fault::Secret),
            ("/usr/share/x/a.ibd", Fault::Database),
            ("/usr/share/x/build.log", Fault::Log),
            ("/var/lib", Fault::InVar),
            ("/var/lib/x", Fault::InVar),
        ]
        .map(|(path, fault)| (path.to_owned(), fault))
        .into();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_empty_machine_id_and_a_program_that_knows_keys_are_fine() {
        let found = faults_of(
            |tree| {
                tree.write("/etc/machine-id", b"", 0o444).unwrap();
                tree.write("/usr/share/doc/x", b"-----BEGIN PRIVATE KEY-----\n... your key ...\n", 0o644).unwrap();
            },
            &all_owned(),
        );
        assert_eq!(found, []);
    }

    #[test]
    fn set_id_files_must_be_declared_and_declarations_must_be_true() {
        let mut expected = all_owned();
        expected.set_id.insert("/usr/bin/sudo".into(), "administrators".into());
        expected.set_id.insert("/usr/bin/gone".into(), "nothing".into());
        let found = faults_of(
            |tree| {
                for name in ["/usr/bin/sudo", "/usr/bin/mount"] {
                    tree.write(name, b"x", 0o755).unwrap();
                    fs::set_permissions(tree.at(name), std::fs::Permissions::from_mode(0o4755)).unwrap();
                }
            },
            &expected,
        );
        assert_eq!(found, [("/usr/bin/gone".into(), Fault::MissingSetId), ("/usr/bin/mount".into(), Fault::SetId)]);
    }

    #[test]
    fn every_path_needs_an_owner() {
        let expected = Expectations {
            owned: ["/usr", "/usr/bin", "/usr/bin/a"].map(String::from).into(),
            generated: vec!["/etc/".into()],
            assets: ["/usr/share/theme", "/usr/share/theme/style.css"]
                .map(|path| (path.to_owned(), "asset:theme".to_owned()))
                .into(),
            ..Expectations::default()
        };
        let found = faults_of(
            |tree| {
                tree.write("/usr/bin/a", b"x", 0o755).unwrap();
                tree.write("/usr/bin/b", b"x", 0o755).unwrap();
                tree.write("/etc/c", b"x", 0o644).unwrap();
                tree.link("/usr/bin/editor", "/etc/alternatives/editor").unwrap();
                tree.link("/usr/bin/vi", "/etc/other/editor").unwrap();
                tree.write("/usr/share/theme/style.css", b"x", 0o644).unwrap();
                tree.write("/usr/share/theme/planted.css", b"x", 0o644).unwrap();
            },
            &expected,
        );
        let unowned = ["/usr/bin/b", "/usr/bin/vi", "/usr/share", "/usr/share/theme/planted.css"];
        assert_eq!(found, unowned.map(|path| (path.to_owned(), Fault::Unowned)));
    }
}

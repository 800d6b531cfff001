//! A root tree on the build machine, addressed by the names its files will have on the host.
//!
//! Nothing here follows an absolute link of the tree, which would lead to the build machine's own files.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use walkdir::WalkDir;

/// A directory that holds a root file system.
#[derive(Debug, Clone)]
pub struct RootTree {
    path: PathBuf,
}

/// One path of a tree, as seen by [`RootTree::walk`].
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name on the host, with a leading `/`.
    pub name: String,
    /// The place on the build machine.
    pub path: PathBuf,
    /// The metadata of the path itself, links not followed.
    pub metadata: std::fs::Metadata,
}

impl RootTree {
    /// The tree at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The directory on the build machine.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the host's `name` is on the build machine.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name.trim_start_matches('/'))
    }

    /// Whether anything, a dangling link included, has this name.
    pub fn has(&self, name: &str) -> bool {
        self.at(name).symlink_metadata().is_ok()
    }

    /// Reads a regular file as text.
    pub fn read_text(&self, name: &str) -> Result<String> {
        Ok(fs::read_to_string(self.at(name))?)
    }

    /// Writes a file of root with `mode`, replacing what had the name and making its directories.
    pub fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.prepare(name)?;
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
        Ok(())
    }

    /// Makes a link called `name` that points to `target`, replacing what had the name.
    pub fn link(&self, name: &str, target: &str) -> Result<()> {
        let path = self.prepare(name)?;
        symlink(target, &path).with_context(|| format!("cannot link `{}`", path.display()))
    }

    /// Makes a directory with `mode` unless something has the name.
    pub fn make_dir(&self, name: &str, mode: u32) -> Result<()> {
        let path = self.at(name);
        if path.symlink_metadata().is_ok() {
            return Ok(());
        }
        fs::create_dir_all(&path)?;
        Ok(fs::set_permissions(&path, PermissionsExt::from_mode(mode))?)
    }

    /// Removes a file, link or whole directory; a missing one is fine.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.at(name);
        match path.symlink_metadata() {
            Err(_) => Ok(()),
            Ok(found) if found.is_dir() => Ok(fs::remove_dir_all(&path)?),
            Ok(_) => Ok(fs::remove_file(&path)?),
        }
    }

    /// Removes what a directory holds and keeps the directory; a missing one is fine.
    pub fn empty_dir(&self, name: &str) -> Result<()> {
        for child in self.children(name)? {
            self.remove(&format!("{}/{child}", name.trim_end_matches('/')))?;
        }
        Ok(())
    }

    /// The sorted names in a directory; none if there is no such directory.
    pub fn children(&self, name: &str) -> Result<Vec<String>> {
        let path = self.at(name);
        if !path.is_dir() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for child in fs::read_dir(path)? {
            match child?.file_name().into_string() {
                Ok(name) => names.push(name),
                Err(raw) => bail!("`{name}` holds a name that is not UTF-8: {}", raw.display()),
            }
        }
        names.sort();
        Ok(names)
    }

    /// Every path of the tree but the root itself, sorted, links not followed.
    pub fn walk(&self) -> Result<Vec<Entry>> {
        self.walk_below("/")
    }

    /// Every path below `name`, sorted, links not followed; none if there is no such directory.
    pub fn walk_below(&self, name: &str) -> Result<Vec<Entry>> {
        let start = self.at(name);
        if !start.is_dir() {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        for entry in WalkDir::new(&start).min_depth(1).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot walk `{}`", start.display()))?;
            let relative = entry.path().strip_prefix(&self.path)?;
            let Some(relative) = relative.to_str() else { bail!("a name is not UTF-8: `{}`", entry.path().display()) };
            let metadata = entry.metadata().with_context(|| format!("cannot read `{}`", entry.path().display()))?;
            entries.push(Entry { name: format!("/{relative}"), path: entry.path().to_owned(), metadata });
        }
        Ok(entries)
    }

    /// Copies `source` (files, directories, links) over the tree at `name`: owner root, directories 0755,
    /// files 0755 if they are executable and 0644 if not, because a checkout keeps no other mode.
    pub fn lay_over(&self, source: &Path, name: &str) -> Result<Vec<String>> {
        let mut laid = Vec::new();
        for entry in WalkDir::new(source).min_depth(1).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot walk `{}`", source.display()))?;
            let relative = entry.path().strip_prefix(source)?;
            let Some(relative) = relative.to_str() else { bail!("a name is not UTF-8: `{}`", entry.path().display()) };
            let target = format!("{}/{relative}", name.trim_end_matches('/'));
            let kind = entry.file_type();
            if kind.is_dir() {
                self.make_dir(&target, 0o755)?;
                continue;
            }
            if kind.is_symlink() {
                let link = fs::read_link(entry.path())?;
                self.link(&target, link.to_str().context("a link's target is not UTF-8")?)?;
            } else {
                let executable = entry.metadata()?.mode() & 0o100 != 0;
                self.write(&target, &fs::read(entry.path())?, if executable { 0o755 } else { 0o644 })?;
            }
            laid.push(target);
        }
        Ok(laid)
    }

    /// Follows every link on the way to `name` inside the tree, as the host would.
    ///
    /// Returns the final name and the links that were passed, as (name, target) pairs; the final name need not exist.
    pub fn resolve(&self, name: &str) -> Result<(String, Vec<(String, String)>)> {
        let mut links = Vec::new();
        let mut done = String::new();
        let mut todo: Vec<String> = parts(name);
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            let here = format!("{done}/{part}");
            let Ok(target) = std::fs::read_link(self.at(&here)) else {
                done = here;
                continue;
            };
            let target = target.to_str().with_context(|| format!("the target of `{here}` is not UTF-8"))?.to_owned();
            if target.starts_with('/') {
                done.clear();
            }
            todo.extend(parts(&target));
            links.push((here, target));
            if links.len() > 40 {
                bail!("`{name}` goes through too many links");
            }
        }
        Ok((done, links))
    }

    fn prepare(&self, name: &str) -> Result<PathBuf> {
        let path = self.at(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        if path.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            fs::remove_file(&path)?;
        }
        Ok(path)
    }
}

/// The parts of a path, last one first.
fn parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").rev().map(str::to_owned).collect()
}

/// Extended attributes of a path itself, by name (xattr(7)).
pub fn attributes(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0_u8; 64 << 10];
    let count = rustix::fs::llistxattr(path, &mut names[..])?;
    let mut attributes = BTreeMap::new();
    for name in names[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        value.truncate(length);
        attributes.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_a_link_instead_of_following_it() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "host").unwrap();
        let tree = RootTree::new(dir.path().join("root"));
        tree.link("/etc/hostname", outside.to_str().unwrap()).unwrap();
        tree.write("/etc/hostname", b"image", 0o644).unwrap();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "host");
        assert_eq!(tree.read_text("/etc/hostname").unwrap(), "image");
    }

    #[test]
    fn laying_over_keeps_links_and_the_executable_bit() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("overlay");
        fs::create_dir_all(source.join("usr/bin")).unwrap();
        fs::write(source.join("usr/bin/tool"), "x").unwrap();
        fs::set_permissions(source.join("usr/bin/tool"), PermissionsExt::from_mode(0o775)).unwrap();
        symlink("tool", source.join("usr/bin/alias")).unwrap();
        let tree = RootTree::new(dir.path().join("root"));
        let laid = tree.lay_over(&source, "/").unwrap();
        assert_eq!(laid, ["/usr/bin/alias", "/usr/bin/tool"]);
        assert_eq!(tree.at("/usr/bin/tool").metadata().unwrap().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_link(tree.at("/usr/bin/alias")).unwrap(), Path::new("tool"));
    }

    #[test]
    fn links_are_followed_inside_the_tree_and_reported() {
        let dir = tempfile::tempdir().unwrap();
        let tree = RootTree::new(dir.path().to_owned());
        tree.write("/usr/lib/x86/libc.so.6", b"1", 0o644).unwrap();
        tree.link("/lib", "usr/lib").unwrap();
        tree.link("/lib64", "/lib/../lib/x86").unwrap();
        let (name, links) = tree.resolve("/lib64/libc.so.6").unwrap();
        assert_eq!(name, "/usr/lib/x86/libc.so.6");
        assert_eq!(links.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["/lib64", "/lib"]);
        tree.link("/loop", "loop").unwrap();
        assert!(tree.resolve("/loop").is_err());
    }

    #[test]
    fn removing_a_link_to_a_directory_leaves_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let tree = RootTree::new(dir.path().to_owned());
        tree.write("/usr/lib/x", b"1", 0o644).unwrap();
        tree.link("/lib", "usr/lib").unwrap();
        tree.remove("/lib").unwrap();
        assert!(tree.has("/usr/lib/x") && !tree.has("/lib"));
    }
}

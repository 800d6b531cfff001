//! Which files of the root tree an initrd needs: the named ones, what their links lead to, and every library they load.
//!
//! Libraries come from three places: `DT_NEEDED`, the interpreter, and systemd's `.note.dlopen` entries, which `ldd` does not see.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use formats::elf;
use fs_err as fs;

use crate::root_tree::RootTree;

/// Where the loader and systemd look for libraries.
pub(super) const LIBRARY_DIRS: [&str; 3] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/systemd", "/usr/lib"];

/// What one name of the initrd is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A directory, mode 0755.
    Directory,
    /// A regular file with its mode.
    File {
        /// The content.
        bytes: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link(String),
}

/// The growing set of names, with parents, sorted.
#[derive(Debug)]
pub struct Closure<'a> {
    tree: &'a RootTree,
    /// Libraries that a program may load at run time and that are wanted here, by soname.
    wanted_dlopen: BTreeSet<String>,
    items: BTreeMap<String, Item>,
}

impl<'a> Closure<'a> {
    /// An empty closure over `tree`; of the libraries that programs load at run time only `wanted_dlopen` come along.
    pub fn new(tree: &'a RootTree, wanted_dlopen: &[String]) -> Self {
        Self { tree, wanted_dlopen: wanted_dlopen.iter().cloned().collect(), items: BTreeMap::new() }
    }

    /// All names so far.
    pub fn into_items(self) -> BTreeMap<String, Item> {
        self.items
    }

    /// Adds a name of the tree: the links on the way, the file, its libraries.
    pub fn add(&mut self, name: &str) -> Result<()> {
        let (target, links) = self.tree.resolve(name)?;
        for (link, to) in links {
            self.put(&link, Item::Link(to));
        }
        if self.items.contains_key(&target) {
            return Ok(());
        }
        let path = self.tree.at(&target);
        let metadata = path
            .symlink_metadata()
            .with_context(|| format!("the initrd needs `{name}`, which the root does not have"))?;
        if metadata.is_dir() {
            bail!("the initrd names `{name}`, which is a directory: name its files");
        }
        let bytes = fs::read(&path)?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        let libraries = self.libraries_of(&target, &bytes)?;
        self.put(&target, Item::File { bytes, mode });
        for library in libraries {
            self.add(&library).with_context(|| format!("needed by `{target}`"))?;
        }
        Ok(())
    }

    /// Adds a file that is not in the tree.
    pub fn add_file(&mut self, name: &str, bytes: Vec<u8>, mode: u32) {
        self.put(name, Item::File { bytes, mode });
    }

    /// Adds a link that is not in the tree.
    pub fn add_link(&mut self, name: &str, target: &str) {
        self.put(name, Item::Link(target.to_owned()));
    }

    /// Adds an empty directory.
    pub fn add_dir(&mut self, name: &str) {
        self.put(name, Item::Directory);
    }

    /// Whether a name is there already.
    pub fn has(&self, name: &str) -> bool {
        self.items.contains_key(name)
    }

    fn put(&mut self, name: &str, item: Item) {
        for (at, _) in name.match_indices('/').skip(1) {
            self.items.entry(name[..at].to_owned()).or_insert(Item::Directory);
        }
        self.items.insert(name.to_owned(), item);
    }

    fn libraries_of(&self, name: &str, bytes: &[u8]) -> Result<Vec<String>> {
        if !elf::is_elf(bytes) {
            return Ok(Vec::new());
        }
        let object = elf::Elf::parse(bytes).with_context(|| format!("cannot read `{name}`"))?;
        let mut found: Vec<String> = object.interpreter.iter().cloned().collect();
        let mut missing = Vec::new();
        for soname in &object.needed {
            match self.find_library(soname, &object.runpath) {
                Some(path) => found.push(path),
                None => missing.push(soname.as_str()),
            }
        }
        if !missing.is_empty() {
            bail!("`{name}` needs libraries that the root does not have: {}", missing.join(", "));
        }
        let optional =
            object.dlopen.iter().flat_map(|entry| &entry.sonames).filter(|soname| self.wanted_dlopen.contains(*soname));
        found.extend(optional.filter_map(|soname| self.find_library(soname, &object.runpath)));
        Ok(found)
    }

    fn find_library(&self, soname: &str, run_path: &[String]) -> Option<String> {
        let dirs = run_path.iter().map(String::as_str).chain(LIBRARY_DIRS);
        dirs.map(|dir| format!("{dir}/{soname}"))
            .find(|path| self.tree.resolve(path).is_ok_and(|(target, _)| self.tree.has(&target)))
    }
}

//! Puts the data archive of one package into a root tree, as dpkg does.
//!
//! A directory entry over a link to a directory keeps the link, other things are replaced by unlink and create, configuration files
//! wait as `.dpkg-new` for `dpkg --configure`, and diverted paths go aside. Names cannot leave the tree ([`crate::tree_path`]),
//! links cannot lead out of it ([`crate::root_dir`]). Owners are the numbers of the archive. Directory metadata is set when
//! all packages are done, see [`crate::claims`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, XattrFlags};
use rustix::io::Errno;

use crate::claims::{Claims, KindConflict, LeafVerdict, Rank};
use crate::diversions::Diversions;
use crate::root_dir::{Metadata, RootDir, TreeError, create_file, file_type, replacing};
use crate::tar::{Entry, Kind, TarError, TarReader};
use crate::tree_path::TreePath;
use crate::trim::TrimRules;

/// What dpkg adds to the name of a configuration file that is unpacked but not yet configured.
pub const NEW_CONFFILE_SUFFIX: &str = ".dpkg-new";

/// Why a package cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The archive is malformed.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The tree cannot be changed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Another package has something of another kind there.
    #[error(transparent)]
    Kind(#[from] KindConflict),
    /// An entry is well-formed but not allowed.
    #[error("refused `{path}`: {reason}")]
    Refused {
        /// The entry.
        path: TreePath,
        /// What is wrong and what to do.
        reason: &'static str,
    },
}

/// Whether device nodes and pipes may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpecialFiles {
    /// Refuse the package: no package of Debian holds any.
    #[default]
    Refuse,
    /// Make them; needs root.
    Create,
}

/// Which entries are written.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// All that no other package has claimed.
    Unclaimed(&'a Claims, Rank),
    /// These only, whoever has them; directories are left alone.
    Only(&'a BTreeSet<TreePath>),
}

/// One package on its way into a tree.
#[derive(Debug, Clone, Copy)]
pub struct Extraction<'a> {
    /// The tree.
    pub root: &'a RootDir,
    /// Name of the package, for diversions.
    pub package: &'a str,
    /// Which entries are written.
    pub selection: Selection<'a>,
    /// Configuration files that get [`NEW_CONFFILE_SUFFIX`].
    pub conffiles: &'a BTreeSet<TreePath>,
    /// The table of diversions in force.
    pub diversions: &'a Diversions,
    /// What is left out.
    pub trim: &'a TrimRules,
    /// Device nodes and pipes.
    pub special_files: SpecialFiles,
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// All paths that belong to the package now, in the order of the archive, undiverted, as they stand in `.list`.
    pub paths: Vec<TreePath>,
    /// Number of entries that were left out by trim rules.
    pub trimmed: u64,
    /// Bytes of file content written.
    pub bytes: u64,
}

impl Extraction<'_> {
    /// Unpacks all selected entries.
    pub fn run<R: Read>(&self, tar: &mut TarReader<R>) -> Result<Extracted, ExtractError> {
        let mut pass = Pass {
            job: self,
            written: HashMap::new(),
            links: HashSet::new(),
            done: Extracted::default(),
            buffer: vec![0; 128 * 1024],
        };
        while let Some(entry) = tar.next_entry()? {
            pass.take(&entry, tar)?;
        }
        Ok(pass.done)
    }
}

/// State while the entries of one package go by.
struct Pass<'a> {
    job: &'a Extraction<'a>,
    /// Regular files of this package: path in the archive to path on the disk.
    written: HashMap<TreePath, TreePath>,
    links: HashSet<String>,
    done: Extracted,
    buffer: Vec<u8>,
}

impl Pass<'_> {
    fn take<R: Read>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<(), ExtractError> {
        let refuse = |reason| Err(ExtractError::Refused { path: entry.path.clone(), reason });
        if entry.path.ancestors().any(|above| self.links.contains(above)) {
            return refuse("it lies behind a symlink of the same package; the package is malformed, do not install it");
        }
        if matches!(entry.kind, Kind::Symlink(_)) {
            self.links.insert(entry.path.as_str().to_owned());
        }
        if self.job.trim.excludes(&entry.path) {
            self.done.trimmed += 1;
            return Ok(());
        }
        let target = self.job.diversions.target(self.job.package, &entry.path);
        match self.verdict(entry, target)? {
            LeafVerdict::Write => {}
            LeafVerdict::Contested => {
                self.done.paths.push(entry.path.clone());
                return Ok(());
            }
            LeafVerdict::Twice => {
                return refuse("it is in the package twice; the package is malformed, do not install it");
            }
        }
        self.done.paths.push(entry.path.clone());
        if entry.kind == Kind::Directory {
            return Ok(());
        }
        let target = if self.job.conffiles.contains(&entry.path) {
            target.with_suffix(NEW_CONFFILE_SUFFIX)
        } else {
            target.clone()
        };
        self.put(entry, &target, tar)
    }

    /// Claims the path; directories are made here.
    fn verdict(&self, entry: &Entry, target: &TreePath) -> Result<LeafVerdict, ExtractError> {
        match (self.job.selection, &entry.kind) {
            (Selection::Unclaimed(claims, package), Kind::Directory) => {
                claims.claim_directory(target, package, metadata(entry))?;
                self.job.root.make_directories(target.as_str())?;
                Ok(LeafVerdict::Write)
            }
            (Selection::Unclaimed(claims, package), _) => Ok(claims.claim_leaf(target, package)?),
            (Selection::Only(paths), kind) if *kind != Kind::Directory && paths.contains(&entry.path) => {
                Ok(LeafVerdict::Write)
            }
            (Selection::Only(_), _) => Ok(LeafVerdict::Contested),
        }
    }

    fn put<R: Read>(&mut self, entry: &Entry, target: &TreePath, tar: &mut TarReader<R>) -> Result<(), ExtractError> {
        let root = self.job.root;
        let directory = root.open_parent(target)?;
        let name = target.split().map_or(".", |(_, name)| name);
        let made = match &entry.kind {
            Kind::File => {
                self.written.insert(entry.path.clone(), target.clone());
                return self.put_file(entry, target, &directory, tar);
            }
            Kind::HardLink(to) => return self.put_hard_link(entry, to, target, &directory),
            Kind::Symlink(to) => put_symlink(&directory, name, to),
            Kind::CharDevice(major, minor) => {
                self.put_node(entry, &directory, name, FileType::CharacterDevice, (*major, *minor))?
            }
            Kind::BlockDevice(major, minor) => {
                self.put_node(entry, &directory, name, FileType::BlockDevice, (*major, *minor))?
            }
            Kind::Fifo => self.put_node(entry, &directory, name, FileType::Fifo, (0, 0))?,
            Kind::Directory => Ok(()),
        };
        made.and_then(|()| root.set_link_metadata(&directory, name, metadata(entry)))
            .map_err(|error| root.error("make", target, error).into())
    }

    fn put_file<R: Read>(
        &mut self,
        entry: &Entry,
        target: &TreePath,
        directory: &OwnedFd,
        tar: &mut TarReader<R>,
    ) -> Result<(), ExtractError> {
        let root = self.job.root;
        let name = target.split().map_or(".", |(_, name)| name);
        let mut file = create_file(directory, name).map_err(|error| root.error("create", target, error))?;
        let mut content = tar.content();
        loop {
            let count = content
                .read(&mut self.buffer)
                .map_err(|error| TarError::Io { after: entry.path.to_string(), source: error })?;
            if count == 0 {
                break;
            }
            file.write_all(self.buffer.get(..count).unwrap_or_default())
                .map_err(|error| root.error("write", target, error))?;
        }
        self.done.bytes = self.done.bytes.saturating_add(entry.size);
        root.set_metadata(&file, metadata(entry))
            .map_err(|error| root.error("set owner, mode and time of", target, error))?;
        for (key, value) in &entry.xattrs {
            if key != "security.capability" && !key.starts_with("user.") {
                return Err(ExtractError::Refused {
                    path: entry.path.clone(),
                    reason: "an extended attribute that a package may not set; leave the package out",
                });
            }
            // After the owner: a change of owner removes capabilities.
            rustix::fs::fsetxattr(&file, key.as_str(), value, XattrFlags::empty())
                .map_err(|error| root.error("set an extended attribute of", target, error))?;
        }
        Ok(())
    }

    fn put_hard_link(
        &self,
        entry: &Entry,
        to: &TreePath,
        target: &TreePath,
        directory: &OwnedFd,
    ) -> Result<(), ExtractError> {
        let root = self.job.root;
        let earlier = match self.job.selection {
            Selection::Unclaimed(..) => self.written.get(to),
            // The other name was written when the package was unpacked first.
            Selection::Only(_) => self.written.get(to).or(Some(to)),
        };
        let Some(earlier) = earlier else {
            let reason = "a hard link to something that is not an earlier file of the same package, or that was trimmed; keep its target or leave the package out";
            return Err(ExtractError::Refused { path: entry.path.clone(), reason });
        };
        let from = root.open_parent(earlier)?;
        let (from_name, name) =
            (earlier.split().map_or(".", |(_, name)| name), target.split().map_or(".", |(_, name)| name));
        replacing(directory, name, || rustix::fs::linkat(&from, from_name, directory, name, AtFlags::empty()))
            .map_err(|error| root.error("link", target, error).into())
    }

    fn put_node(
        &self,
        entry: &Entry,
        directory: &OwnedFd,
        name: &str,
        kind: FileType,
        device: (u32, u32),
    ) -> Result<rustix::io::Result<()>, ExtractError> {
        if self.job.special_files == SpecialFiles::Refuse {
            return Err(ExtractError::Refused {
                path: entry.path.clone(),
                reason: "a device node or pipe, which no package needs; leave the package out",
            });
        }
        let device = rustix::fs::makedev(device.0, device.1);
        let mode = Mode::from_raw_mode(entry.mode);
        let outcome = replacing(directory, name, || rustix::fs::mknodat(directory, name, kind, mode, device));
        // Once more, because the mask of the process took bits away.
        Ok(outcome.and_then(|()| rustix::fs::chmodat(directory, name, mode, AtFlags::empty())))
    }
}

/// A link that is there already with the same target is left in place: other threads may be resolving paths through it.
fn put_symlink(directory: &OwnedFd, name: &str, to: &str) -> rustix::io::Result<()> {
    match rustix::fs::symlinkat(to, directory, name) {
        Err(Errno::EXIST) => {}
        other => return other,
    }
    if rustix::fs::readlinkat(directory, name, Vec::new()).is_ok_and(|found| found.as_bytes() == to.as_bytes()) {
        return Ok(());
    }
    replacing(directory, name, || rustix::fs::symlinkat(to, directory, name))
}

fn metadata(entry: &Entry) -> Metadata {
    Metadata { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime }
}

/// Sets the metadata of directories when everything is in them; links to directories are left alone.
pub fn set_directory_metadata(root: &RootDir, directories: &[(TreePath, Metadata)]) -> Result<(), TreeError> {
    for (path, metadata) in directories {
        let is_directory =
            path.is_root() || root.stat(path)?.is_some_and(|stat| file_type(&stat) == FileType::Directory);
        if is_directory {
            root.open_directory(path.as_str())
                .and_then(|directory| root.set_metadata(&directory, *metadata))
                .map_err(|error| root.error("set owner, mode and time of", path, error))?;
        }
    }
    Ok(())
}

//! Who may do what with a file: its mode and owner, and whether it has them already.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::accounts::Owner;

/// Mode and owner of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Numbers of the owner and the group.
    pub owner: Owner,
}

impl Access {
    /// A file that everybody may read.
    pub const PUBLIC: Self = Self { mode: 0o644, owner: Owner::ROOT };
    /// A file that only root may read.
    pub const SECRET: Self = Self { mode: 0o600, owner: Owner::ROOT };
    /// A directory that everybody may enter.
    pub const PUBLIC_DIRECTORY: Self = Self { mode: 0o755, owner: Owner::ROOT };
    /// A directory that everybody may pass through and only root may list.
    pub const PASSAGE: Self = Self { mode: 0o711, owner: Owner::ROOT };
    /// A directory that only root may enter.
    pub const SECRET_DIRECTORY: Self = Self { mode: 0o700, owner: Owner::ROOT };
}

/// Whether owners are set. A test that does not run as root cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Set the owner that is asked for.
    Set,
    /// Leave files to whoever makes them.
    Leave,
}

impl Access {
    /// Whether a file or directory has this mode, and this owner where owners are set.
    pub(super) fn is_at(self, path: &Path, ownership: Ownership) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| {
            let owner = Owner { uid: found.uid(), gid: found.gid() };
            found.mode() & 0o7777 == self.mode && (ownership == Ownership::Leave || owner == self.owner)
        })
    }
}

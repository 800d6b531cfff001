//! Our own root, made as a build makes it, without its cache.

use std::path::Path;

use anyhow::Result;
use debian::lock::Lock;
use debian::rootfs::UnpackInput;
use fs_err as fs;
use hostconf::AccountTables;
use pipeline::definition::Definition;
use pipeline::stages::rootfs::{self, RootfsInput};

/// Accounts with fixed numbers of an image.
pub fn accounts(definition: &Definition) -> AccountTables {
    hostconf::account_tables(&definition.overlays, definition.image.size.sites)
}

/// Makes the configured root in `root`, which is not there yet.
pub fn make_root(definition: &Definition, lock: &Lock, packages: &[UnpackInput], root: &Path) -> Result<()> {
    fs::create_dir(root)?;
    let input = RootfsInput {
        packages: packages.to_vec(),
        provided: lock.provided.clone(),
        accounts: &accounts(definition),
        debconf_answers: definition.debconf_answers(),
        trim: definition.trim(),
        epoch: lock.source_date_epoch,
        helper: None,
    };
    rootfs::make(&input, root, &|_| {}).map(drop)
}

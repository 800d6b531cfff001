//! What can go wrong while packages are unpacked into a tree, each error with the package or the path it is about.

use std::path::PathBuf;

use crate::accounts::AccountError;
use crate::deb::DebError;
use crate::dpkg_db::DatabaseError;
use crate::extract::ExtractError;
use crate::package_facts::FactsError;
use crate::root_dir::TreeError;
use crate::settle::SettleError;
use crate::tree_path::TreePathError;

/// Why unpacking stops.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Something is wrong with one package.
    #[error("cannot unpack `{package}` from `{}`", path.display())]
    Package {
        /// Its name.
        package: String,
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<PackageError>,
    },
    /// The same package is given twice.
    #[error("package `{0}` is in the list twice; make the lock anew")]
    Twice(String),
    /// The tree cannot be changed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The dpkg database cannot be written.
    #[error("cannot write the dpkg database")]
    Database(#[from] DatabaseError),
    /// The accounts cannot be written.
    #[error("cannot write the fixed accounts")]
    Account(#[from] AccountError),
    /// Files cannot be given to their packages.
    #[error("cannot settle the files of packages")]
    Settle(#[from] SettleError),
}

/// What can be wrong with one package.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The file cannot be opened.
    #[error("cannot open the package file; fetch it again")]
    Open(#[source] std::io::Error),
    /// The file is malformed or not the one of the lock.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// The control file is malformed.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The control file names another package.
    #[error("the file holds package `{0}`; make the lock anew")]
    Name(String),
    /// A configuration file has a bad name.
    #[error(transparent)]
    Path(#[from] TreePathError),
    /// The data cannot be unpacked.
    #[error(transparent)]
    Extract(#[from] ExtractError),
}

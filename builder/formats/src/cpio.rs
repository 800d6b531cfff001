//! The `newc` archive that the kernel unpacks as its first root file system.
//!
//! Format: "070701" headers of eight-digit hexadecimal fields, names and contents padded to four bytes, closed by an entry named
//! `TRAILER!!!` (kernel documentation, "initramfs buffer format"). Entries have one fixed time, sequential inode numbers and no
//! hard links. The writer insists on sorted names and on parents before children, because the kernel makes no missing
//! directories and says nothing about it. Nothing here opens a file; the reader never unpacks, it only lists.

mod entry;
mod reading;
mod writing;

pub use entry::{Content, Entry, EntryPath};
pub use reading::parse;
pub use writing::Writer;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CpioError {
    /// A name that could leave the target directory or that the kernel would not understand.
    #[error(
        "`{path}` is not an archive path: expected a relative path without empty, `.` or `..` parts and without control characters"
    )]
    Path {
        /// The name.
        path: String,
    },
    /// Entries out of order.
    #[error("`{path}` comes after `{previous}`: sort the entries by name, each name once")]
    Order {
        /// The entry before.
        previous: EntryPath,
        /// The entry.
        path: EntryPath,
    },
    /// A directory that is not in the archive.
    #[error("`{path}` is in a directory that is not in the archive: add `{parent}` before it")]
    Parent {
        /// The entry.
        path: EntryPath,
        /// The missing directory.
        parent: String,
    },
    /// A number that does not fit its field.
    #[error("`{path}`: {field} is {got}, expected at most {most}")]
    Field {
        /// The entry.
        path: EntryPath,
        /// Name of the field.
        field: &'static str,
        /// Largest value.
        most: u64,
        /// The value.
        got: u64,
    },
    /// The output refused bytes.
    #[error("cannot write the archive: check free space at its target")]
    Write(#[from] std::io::Error),
    /// The archive is not well formed.
    #[error(
        "archive byte {offset}: {field} is {got}, expected {expected}: the archive is damaged or of another format than `newc`"
    )]
    Malformed {
        /// Where the entry starts.
        offset: usize,
        /// Name of the field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
}

#[cfg(test)]
mod tests;

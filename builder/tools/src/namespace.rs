//! A private view of the machine's mounts for the builder itself.
//!
//! Called first thing in `main`, while there is one thread: afterwards overlays can be mounted freely, the
//! host never sees them, and the kernel takes them away when the last process of the builder is gone.

use nix::sched::CloneFlags;
use rustix::mount::MountPropagationFlags;

use crate::fs::{AtPath, PathError};

/// Moves the process into a mount namespace of its own, from which nothing spreads to the host.
///
/// Must run before any thread is started: the kernel moves only the calling thread and its later children.
pub fn enter_private_mounts() -> Result<(), PathError> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).at("make a mount namespace for", "/")?;
    make_private()
}

/// Stops mounts from spreading between this namespace and the one it was copied from.
pub(crate) fn make_private() -> Result<(), PathError> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).at("make private the mounts below", "/")
}

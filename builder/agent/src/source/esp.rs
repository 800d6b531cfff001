//! Documents on the EFI system partition: `/casemate/host.toml`, written by `casemate personalise` and `flash --host`.

use super::Gathered;
use super::Origin;
use super::read_folder;
use crate::disk::Disk;
use crate::disk::DiskError;
use crate::disk::Wanted;
use crate::host::Host;
use crate::mount::Mounted;

/// Mounts the ESP of the disk we were started from and reads it. A container has none, which is no fault.
pub fn read(host: Host<'_>, gathered: &mut Gathered) {
    let found = Disk::below(host.paths, host.paths.root()).and_then(|disk| disk.partition(Wanted::Esp));
    let device = match found {
        Ok(device) => device,
        Err(DiskError::NoDisk(_)) => return,
        Err(error) => return gathered.refuse(Origin::Esp, error),
    };
    match Mounted::foreign(host.files, &device, &host.paths.mounts().join("esp")) {
        Ok(mounted) => read_folder(gathered, Origin::Esp, &mounted.place().join("casemate")),
        Err(error) => gathered.refuse(Origin::Esp, error),
    }
}

//! Documents on a seed volume: a file system with the label `CASEMATE`, the names at its top.

use std::path::PathBuf;
use std::time::Duration;

use tools::Tool;

use super::Gathered;
use super::Origin;
use super::read_folder;
use crate::host::Host;
use crate::mount::Mounted;
use crate::paths::Paths;

/// Time for slow devices to be announced; a later one is seen when the agent looks again.
const SETTLE: Duration = Duration::from_secs(15);

/// Reads the volume if there is one.
pub fn read(host: Host<'_>, gathered: &mut Gathered) {
    // A failure only means that we look earlier than is best; a container has no udev at all.
    let _ = host.runner.run(&Tool::new("udevadm").args(["settle", "--timeout=10"]).timeout(SETTLE));
    let Some(device) = device(host.paths) else {
        return;
    };
    match Mounted::foreign(host.files, &device, &host.paths.mounts().join("seed")) {
        Ok(mounted) => read_folder(gathered, Origin::Seed, mounted.place()),
        Err(error) => gathered.refuse(Origin::Seed, error),
    }
}

/// udev's link; mkfs.vfat writes labels in capitals, other tools as they are given.
fn device(paths: &Paths) -> Option<PathBuf> {
    let labels = paths.devices().join("disk/by-label");
    ["CASEMATE", "casemate"].iter().map(|name| labels.join(name)).find(|path| path.exists())
}

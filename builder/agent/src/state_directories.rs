//! Directories of the sites that outlive a slot. Those of the host are made by `systemd-tmpfiles` before the agent runs.

use tools::Tool;

use crate::host::Host;
use crate::work::Directory;

/// Makes what is missing and sets mode and owner. Nothing below a directory is touched: it belongs to the site.
pub fn make(host: Host<'_>, directories: &[Directory]) -> Result<(), String> {
    for directory in directories {
        let is_new = !directory.path.is_dir();
        host.files.make_directory(&directory.path, directory.access).map_err(|error| error.to_string())?;
        if is_new && directory.nocow {
            // Only files that are made later are concerned; a file system without the flag works as well, only slower.
            let _ = host.runner.run(&Tool::new("chattr").arg("+C").arg(&directory.path));
        }
    }
    Ok(())
}

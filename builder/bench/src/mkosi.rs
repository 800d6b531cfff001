//! mkosi on the packages of a lock: a disk image with an erofs root, its hash tree and a unified kernel image.
//!
//! It makes its own initrd, from packages, as it does for everyone. It signs nothing and writes no bundle, which ours does.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use pipeline::programs::{ToolsTree, Workplace};
use tools::Tool;

use crate::mirror::{INSIDE, Mirror, SUITE};

/// What mkosi installs besides the packages of the lock: the stub, and into its initrd.
pub const FURTHER: [&str; 19] = [
    "systemd-boot-efi",
    "systemd",
    "udev",
    "bash",
    "less",
    "p11-kit",
    "lvm2",
    "systemd-cryptsetup",
    "systemd-repart",
    "libtss2-esys-3.0.2-0t64",
    "libtss2-mu-4.0.1-0t64",
    "libtss2-rc0t64",
    "libtss2-tcti-device0t64",
    "libcryptsetup12",
    "e2fsprogs",
    "btrfs-progs",
    "erofs-utils",
    "dosfstools",
    "libfido2-1",
];

/// A folder with mkosi's definition, its caches and its output.
#[derive(Debug)]
pub struct Work<'a> {
    /// The folder.
    pub dir: &'a Path,
    /// Where the packages are.
    pub mirror: &'a Path,
    /// The tree that mkosi is in.
    pub tools: &'a ToolsTree,
}

/// Writes the definition for all packages of the mirror.
pub fn write_definition(dir: &Path, mirror: &Mirror) -> Result<()> {
    for name in ["mkosi.repart", "mkosi.extra/usr/share/bench", "cache", "packages", "workspace", "temporary", "out"] {
        fs::create_dir_all(dir.join(name))?;
    }
    fs::write(
        dir.join("mkosi.conf"),
        format!(
            "[Distribution]\nDistribution=debian\nRelease={SUITE}\nLocalMirror=file://{INSIDE}\nRepositoryKeyCheck=no\n\
             [Output]\nFormat=disk\nImageId=bench\nOutputDirectory=/run/work/out\nManifestFormat=\n\
             [Content]\nPackages={},systemd-boot-efi\nBootable=yes\nBootloader=uki\nWithDocs=no\n\
             [Build]\nCacheDirectory=/run/work/cache\nPackageCacheDirectory=/run/work/packages\n\
             WorkspaceDirectory=/run/work/workspace\nBuildSources=\nHistory=no\n",
            mirror.packages.join(",")
        ),
    )?;
    let esp = "[Partition]\nType=esp\nFormat=vfat\nCopyFiles=/boot:/\nCopyFiles=/efi:/\nSizeMinBytes=512M\nSizeMaxBytes=512M\n";
    let root = "[Partition]\nType=root\nFormat=erofs\nCompression=lz4\nCopyFiles=/\nVerity=data\n\
                VerityMatchKey=root\nMinimize=best\n";
    let verity = "[Partition]\nType=root-verity\nVerity=hash\nVerityMatchKey=root\nMinimize=best\n";
    for (name, text) in [("00-esp.conf", esp), ("10-root.conf", root), ("20-root-verity.conf", verity)] {
        fs::write(dir.join("mkosi.repart").join(name), text)?;
    }
    change_file(dir, "first")
}

/// Writes the one file of the image that is not of a package.
pub fn change_file(dir: &Path, text: &str) -> Result<()> {
    Ok(fs::write(dir.join("mkosi.extra/usr/share/bench/file"), text)?)
}

impl Work<'_> {
    /// Builds the image; an incremental build keeps the installed packages and takes them from the last one.
    pub fn build(&self, incremental: bool) -> Result<()> {
        let tool = Tool::new("mkosi")
            .args(["--directory=/run/work", "--force"])
            .arg(if incremental { "--incremental=yes" } else { "--incremental=no" })
            .arg("build")
            .cwd("/run/work")
            .env("HOME", "/root")
            .env("SYSTEMD_REPART_MKFS_OPTIONS_EROFS", "-C65536");
        let temporary = self.dir.join("temporary");
        let places = [
            Workplace::Input(self.mirror, INSIDE),
            Workplace::Output(self.dir, "/run/work"),
            Workplace::Output(&temporary, "/var/tmp"),
        ];
        self.tools.run(&tool, &places).map(drop)
    }

    /// Forgets everything but what incremental builds keep: others do not look at it, and it costs a build to make it again.
    pub fn forget(&self) -> Result<()> {
        for name in ["out", "workspace"] {
            fs::remove_dir_all(self.dir.join(name))?;
            fs::create_dir(self.dir.join(name))?;
        }
        Ok(())
    }
}

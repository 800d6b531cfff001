//! The initrd of a root: ours, and dracut's.

use std::path::Path;

use anyhow::{Context as _, Result};
use formats::fixedtime::SourceDateEpoch;
use fs_err as fs;
use pipeline::build::Compression;
use pipeline::definition::Definition;
use pipeline::root_tree::RootTree;
use pipeline::stages::initrd::{self, InitrdInput};
use pipeline::stages::uki::find_kernel;
use tools::{ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

use crate::measure::size;

/// Makes our initrd of the root and returns its size.
pub fn make_ours(definition: &Definition, root: &Path, epoch: u64, out: &Path) -> Result<u64> {
    let tree = RootTree::new(root.to_owned());
    let spec = fs::read_to_string(definition.units_dir().join("initrd.toml"))?;
    let made = initrd::make(&InitrdInput {
        tree: &tree,
        spec: &toml::from_str(&spec).context("cannot read `units/initrd.toml`")?,
        own: &definition.units_dir().join("initrd"),
        release: &find_kernel(&tree)?.release,
        compression: Compression::Quick,
        epoch: SourceDateEpoch::from_seconds(u32::try_from(epoch)?),
        scratch: out.parent().context("the initrd needs a directory")?,
        helper: None,
    })?;
    fs::write(out, &made.bytes)?;
    size(out)
}

/// Lets dracut make a generic initrd with systemd and verity in `out`, and returns its size.
///
/// It runs in the root itself, as on a machine: it and its programs are bound into it from the tools tree.
pub fn make_dracut(root: &Path, tools: &Path, out: &Path) -> Result<u64> {
    let release = find_kernel(&RootTree::new(root.to_owned()))?.release;
    let directory = out.parent().context("the initrd needs a directory")?;
    let name = out.file_name().context("the initrd needs a name")?.to_string_lossy().into_owned();
    let mut sandbox = Sandbox::new(root).writable().bind(directory, "/run/out");
    for path in ["/usr/lib/dracut", "/usr/bin/dracut", "/usr/bin/cpio", "/usr/bin/zstd"] {
        sandbox = sandbox.bind_read_only(tools.join(path.trim_start_matches('/')), path);
    }
    let tool = Tool::new("/usr/bin/bash")
        .args(["/usr/bin/dracut", "--force", "--no-hostonly", "--no-hostonly-cmdline", "--zstd"])
        .args(["--add", "systemd systemd-veritysetup dm", "--filesystems", "erofs btrfs"])
        .args(["--kver", release.as_str()])
        .arg(format!("/run/out/{name}"));
    SandboxRunner::new(sandbox).run(&tool).remedied()?;
    size(out)
}

//! The signed kernel image: kernel, initrd and a command line that holds the root hash, under one signature.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use formats::bzimage;
use formats::cmdline::{Argument, CommandLine};
use formats::loader;
use formats::os_release::OsRelease;
use formats::uki::{self, UkiParts};
use formats::verity::RootHash;
use fs_err as fs;
use tools::Failure;

use crate::programs::ToolsTree;
use crate::programs::sbsign::{self, KeyPair};
use crate::root_tree::RootTree;

/// Where the tools tree holds systemd's stub and boot loader.
const EFI_DIR: &str = "/usr/lib/systemd/boot/efi";

/// The kernel command line behind `roothash=`; docs/formats/first-boot.md gives the reason for each word.
const COMMAND_LINE: [(&str, Option<&str>); 17] = [
    ("systemd.verity_root_options", Some("panic-on-corruption")),
    ("ro", None),
    ("rootfstype", Some("erofs")),
    ("gpt", None),
    ("panic", Some("10")),
    ("systemd.crash_action", Some("reboot")),
    ("systemd.gpt_auto", Some("no")),
    ("systemd.ssh_auto", Some("no")),
    ("lockdown", Some("integrity")),
    ("module.sig_enforce", Some("1")),
    ("printk.devkmsg", Some("on")),
    ("systemd.show_status", Some("error")),
    ("quiet", None),
    ("systemd.tty.term.console", Some("dumb")),
    ("systemd.tty.term.ttyS0", Some("dumb")),
    ("console", Some("tty0")),
    ("console", Some("ttyS0,115200")),
];

/// The kernel of a root tree.
#[derive(Debug)]
pub struct Kernel {
    /// The compressed image.
    pub image: Vec<u8>,
    /// Its release, e.g. `6.12.107+deb13-amd64`.
    pub release: String,
}

/// Reads the one kernel of the tree.
pub fn find_kernel(tree: &RootTree) -> Result<Kernel> {
    let names: Vec<String> = tree.children("/boot")?.into_iter().filter(|name| name.starts_with("vmlinuz-")).collect();
    let [name] = names.as_slice() else {
        return Err(Failure::refused(format!(
            "the root has {} kernels, expected one: {}",
            names.len(),
            names.join(", ")
        ))
        .hint("name one kernel package in image.toml")
        .into());
    };
    let image = fs::read(tree.at(&format!("/boot/{name}")))?;
    let release = bzimage::kernel_release(&image)?;
    Ok(Kernel { image, release })
}

/// The command line for a root hash.
pub fn command_line(root_hash: &RootHash) -> Result<CommandLine> {
    let mut arguments = vec![Argument::with_value("roothash", &root_hash.to_string())?];
    for (name, value) in COMMAND_LINE {
        arguments.push(match value {
            Some(value) => Argument::with_value(name, value)?,
            None => Argument::flag(name)?,
        });
    }
    Ok(CommandLine::new(arguments)?)
}

/// What a UKI is made from.
#[derive(Debug)]
pub struct UkiInput<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The compressed initrd.
    pub initrd: &'a [u8],
    /// The command line.
    pub command_line: &'a CommandLine,
    /// The image's os-release: the boot loader sorts and names by it.
    pub os_release: &'a OsRelease,
    /// The time of signing, seconds since 1970.
    pub epoch: u64,
}

/// Builds and signs the UKI as `output`.
pub fn make(tools: &ToolsTree, input: &UkiInput<'_>, pair: KeyPair<'_>, output: &Path) -> Result<()> {
    let stub = fs::read(tools.file(&format!("{EFI_DIR}/linuxx64.efi.stub")))?;
    let image = input.os_release.get("IMAGE_ID").unwrap_or("image");
    let sbat = format!(
        "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\ncasemate.{image},1,casemate,{image},{},-\n",
        input.os_release.get("IMAGE_VERSION").unwrap_or("0")
    );
    let unsigned = uki::build(&UkiParts {
        stub: &stub,
        os_release: input.os_release,
        command_line: input.command_line,
        sbat: &sbat,
        pcr_public_key: None,
        linux: &input.kernel.image,
        initrd: input.initrd,
    })?;
    let scratch = scratch_beside(output)?;
    fs::write(scratch.path(), &unsigned)?;
    sbsign::sign(tools, pair, scratch.path(), output, input.epoch).context("cannot sign the kernel image")
}

/// What goes on the EFI system partition beside systemd-boot.
#[derive(Debug)]
pub struct EspContent<'a> {
    /// `<image>_<version>`, the stem of the kernel image's name.
    pub label: &'a str,
    /// The signed kernel image.
    pub uki: &'a Path,
    /// Firmware variables with the signed lists to enrol.
    pub enrolment: &'a [(&'a str, PathBuf)],
    /// The time of signing, seconds since 1970.
    pub epoch: u64,
}

/// Signs systemd-boot and lays out the content of the EFI system partition in `dir`.
pub fn lay_out_esp(tools: &ToolsTree, pair: KeyPair<'_>, content: &EspContent<'_>, dir: &Path) -> Result<()> {
    let put = |name: &str, bytes: &[u8]| -> Result<()> {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        Ok(fs::write(path, bytes)?)
    };
    let scratch = scratch_beside(content.uki)?;
    let boot = tools.file(&format!("{EFI_DIR}/systemd-bootx64.efi"));
    sbsign::sign(tools, pair, &boot, scratch.path(), content.epoch)?;
    let signed = fs::read(scratch.path())?;
    for place in loader::PLACES {
        put(place, &signed)?;
    }
    put(&format!("EFI/Linux/{}.efi", content.label), &fs::read(content.uki)?)?;
    put("loader/loader.conf", LOADER_CONF.as_bytes())?;
    for (variable, list) in content.enrolment {
        put(&format!("loader/keys/auto/{variable}.auth"), &fs::read(list)?)?;
    }
    Ok(())
}

/// On the disk of the cache and not in `/tmp`: there it goes with the stage, whatever ends the build.
fn scratch_beside(file: &Path) -> Result<tempfile::NamedTempFile> {
    let dir = file.parent().unwrap_or(Path::new("."));
    tempfile::NamedTempFile::new_in(dir).with_context(|| format!("cannot make a file in `{}`", dir.display()))
}

/// loader.conf(5): nothing to choose, nothing to edit; keys are enrolled by themselves only in a virtual machine in setup mode.
const LOADER_CONF: &str = "timeout 0\neditor no\nauto-entries no\nauto-firmware no\nsecure-boot-enroll if-safe\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_starts_with_the_root_hash_and_never_waits_for_a_person() {
        let hash: RootHash = "ab".repeat(32).parse().unwrap();
        let line = command_line(&hash).unwrap();
        assert!(
            line.to_string().starts_with(&format!("roothash={hash} systemd.verity_root_options=panic-on-corruption "))
        );
        assert_eq!((line.value("panic"), line.value("systemd.crash_action")), (Some("10"), Some("reboot")));
        assert!(line.contains("gpt") && !line.contains("systemd.machine_id"));
    }
}

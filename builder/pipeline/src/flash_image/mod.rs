//! `casemate flash`: what must hold before a disk is overwritten, and the writing itself.
//!
//! [`check`] finds every reason against it at once and gives a [`CheckedFlash`], which only it can make; [`flash`] takes nothing else.
//! A disk is opened exclusively, so the kernel refuses one that is mounted or otherwise held.

mod block_device;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bundle::{Manifest, TrustedKeys};
use fs_err as fs;
use tools::{Failure, HostRunner, Runner as _, Tool};

pub use block_device::BlockDevice;

use crate::flash::{BlockTarget, DeviceFacts, Written, inspect_device, refusals, write_and_compare};
use crate::proof::Proof;
use crate::verify_output::{check_part, signed_manifest};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct FlashRequest<'a> {
    /// The image's output directory.
    pub output: &'a Path,
    /// The disk.
    pub device: &'a Path,
    /// The public release key; the development key where it is absent.
    pub release_key: Option<&'a Path>,
    /// What must vouch for the image.
    pub proof: Proof,
}

/// An image that may be written to a device.
#[derive(Debug)]
pub struct CheckedFlash {
    image: fs::File,
    manifest: Manifest,
    device: DeviceFacts,
}

impl CheckedFlash {
    /// The manifest of the image.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The device.
    pub fn device(&self) -> &Path {
        &self.device.path
    }

    /// Size of the device in bytes.
    pub fn device_size(&self) -> u64 {
        self.device.size
    }

    /// Size of the image in bytes; it is read twice while flashing.
    pub fn image_size(&self) -> u64 {
        self.manifest.disk.as_ref().map_or(0, |disk| disk.size)
    }
}

/// Checks image, proof and device; the error names everything that speaks against flashing.
pub fn check(request: &FlashRequest<'_>, trusted: &TrustedKeys) -> Result<CheckedFlash> {
    let mut reasons = Vec::new();
    let image = check_image(request, trusted, &mut reasons);
    let size = image.as_ref().and_then(|(manifest, _)| manifest.disk.as_ref()).map_or(0, |disk| disk.size);
    let device = inspect_device(request.device).map_err(|error| reasons.push(format!("device: {error:#}"))).ok();
    if let Some(facts) = &device {
        reasons.extend(device_reasons(facts, size));
    }
    match (image, device) {
        (Some((manifest, image)), Some(device)) if reasons.is_empty() => Ok(CheckedFlash { image, manifest, device }),
        _ => Err(refused(request, &reasons)),
    }
}

fn refused(request: &FlashRequest<'_>, reasons: &[String]) -> anyhow::Error {
    let message = format!(
        "`{}` must not be written to `{}`:\n  {}",
        request.output.display(),
        request.device.display(),
        reasons.join("\n  ")
    );
    Failure::refused(message).hint(hint(reasons)).into()
}

/// The first reason decides: image before proof before device, which is the order in which they are repaired.
fn hint(reasons: &[String]) -> &'static str {
    let first = |start: &str| reasons.iter().any(|reason| reason.starts_with(start));
    if first("image") {
        "build the image again, or name the key that signed it with `--release-key FILE`"
    } else if first("proof") {
        "run `casemate test` on this output, or take the risk with `--untested`"
    } else {
        "name a whole disk that nothing uses, e.g. `/dev/sdb`; `lsblk` shows them"
    }
}

fn check_image(
    request: &FlashRequest<'_>,
    trusted: &TrustedKeys,
    reasons: &mut Vec<String>,
) -> Option<(Manifest, fs::File)> {
    let signed = signed_manifest(request.output, trusted);
    let (manifest, digest) = signed.map_err(|error| reasons.push(format!("image: {error:#}"))).ok()?;
    if let Err(error) = request.proof.check(request.output, trusted, digest) {
        reasons.push(format!("proof: {error:#}"));
    }
    let image = open_image(request.output, &manifest);
    let image = image.map_err(|error| reasons.push(format!("image: {error:#}"))).ok()?;
    Some((manifest, image))
}

/// The open file is kept from here on, so that another file of the same name cannot take its place.
fn open_image(output: &Path, manifest: &Manifest) -> Result<fs::File> {
    let Some(part) = &manifest.disk else {
        bail!("the manifest names no disk");
    };
    let path = output.join(part.file.as_str());
    let image = fs::File::open(&path)?;
    check_part(output, part).with_context(|| format!("`{}` is not what was signed", path.display()))?;
    Ok(image)
}

fn device_reasons(facts: &DeviceFacts, image_size: u64) -> Vec<String> {
    let mut reasons: Vec<String> =
        refusals(facts, image_size).iter().map(|refusal| format!("device: {refusal}")).collect();
    if !facts.is_block_device {
        return reasons;
    }
    // The image's table counts sectors of 512 bytes; on a disk with larger ones no firmware would find it.
    match BlockDevice::sector_size(&facts.path) {
        Ok(512) => {}
        Ok(other) => reasons.push(format!("device: its sectors have {other} bytes, images are made for 512")),
        Err(error) => reasons.push(format!("device: {error:#}")),
    }
    if reasons.is_empty()
        && let Err(error) = BlockDevice::probe(&facts.path)
    {
        reasons.push(format!("device: {error:#}"));
    }
    reasons
}

/// Writes the image, reads everything back from the medium and compares. `progress` gets bytes: the image's size twice over.
pub fn flash(checked: &CheckedFlash, progress: impl FnMut(u64)) -> Result<Written> {
    let mut device = BlockDevice::open(&checked.device.path)?;
    if device.size()? != checked.device.size {
        bail!(
            "`{}` is another device than the one that was checked: it has another size",
            checked.device.path.display()
        );
    }
    let written = write(checked, &mut device, progress)?;
    drop(device);
    reread_partitions(&checked.device.path);
    Ok(written)
}

fn write(checked: &CheckedFlash, target: &mut impl BlockTarget, progress: impl FnMut(u64)) -> Result<Written> {
    let mut image = checked.image.try_clone().context("cannot read the image")?;
    write_and_compare(&mut image, target, checked.device.size, progress)
        .with_context(|| format!("cannot flash `{}`", checked.device.path.display()))
}

/// Asks the kernel for the new partitions. udev does so itself when the device is closed; without both the device
/// must be plugged in again, but what was written is right, so a failure is no error.
fn reread_partitions(device: &Path) {
    let tool = Tool::new("blockdev").arg("--rereadpt").arg(PathBuf::from(device));
    let _ = HostRunner::new().run(&tool);
}

#[cfg(test)]
mod tests;

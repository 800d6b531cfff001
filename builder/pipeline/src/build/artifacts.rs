//! The last steps: what the stages made becomes one output directory, read back and renamed into place.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::Manifest;
use formats::loader;
use fs_err as fs;
use tools::{Failure, ResultExt as _, Scratch, full_disk, scratch};

use super::inputs::Inputs;
use super::steps::Layers;
use crate::assets::StoredAsset;
use crate::provenance::{self, Facts, Materials};
use crate::sbom;
use crate::stages::bundle::{self as bundle_stage, ManifestFacts};
use crate::stages::disk::{self, DiskParts, DiskSizes};
use crate::stages::seal::{self, SealedRoot};
use crate::stages::uki::Kernel;
use crate::summary::Summary;

const MIB: u64 = 1 << 20;
/// Start of the names of outputs that are not finished.
const WORKSPACE: &str = ".casemate-build-";
const NO_ROOM: &str =
    "make room there, or name another place with `--output DIR`; what was built so far is in the cache";
/// One part in 64 of a slot is for the hash tree, which needs one in 127 of the data and a little for the levels above.
const VERITY_SHARE: u64 = 64;

/// What the stages made, in the cache.
pub(super) struct Finished<'a> {
    pub(super) layers: &'a Layers,
    pub(super) kernel: &'a Kernel,
    pub(super) sealed: &'a SealedRoot,
    pub(super) initrd: &'a Path,
    /// The directory with the signed kernel image, its command line and the ESP's content.
    pub(super) uki: &'a Path,
}

/// A directory beside `output` for what is not finished yet.
pub(super) fn workspace(output: &Path) -> Result<Scratch> {
    let parent = parent(output);
    fs::create_dir_all(parent)?;
    Scratch::new(parent, WORKSPACE).remedied()
}

/// Removes what killed builds left beside `output`; returns how many.
pub(super) fn remove_abandoned(output: &Path) -> Result<usize> {
    Ok(scratch::remove_abandoned(parent(output), WORKSPACE).remedied()?.len())
}

fn parent(output: &Path) -> &Path {
    output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses to begin an output that its disk has no room for.
pub(super) fn check_room(finished: &Finished<'_>, work: &Path) -> Result<()> {
    let mut parts = finished.kernel.image.len() as u64;
    let sealed = [&finished.sealed.root, &finished.sealed.verity].map(PathBuf::as_path);
    for file in sealed.into_iter().chain([finished.initrd, &finished.uki.join("uki.efi"), &esp_loader(finished)]) {
        parts += fs::metadata(file)?.len();
    }
    // The parts themselves, those in the disk image, those in the bundle; copies may share their blocks with the cache.
    let times = if full_disk::shares_blocks(work).remedied()? { 2 } else { 3 };
    full_disk::check_room(work, parts * times, "the output", NO_ROOM)
}

/// Copies the parts out of the cache: people write to what they were given, and the cache must not change with it.
pub(super) fn copy_parts(finished: &Finished<'_>, work: &Path) -> Result<()> {
    let parts: [(PathBuf, &str); 7] = [
        (finished.sealed.root.clone(), "root.erofs"),
        (finished.sealed.verity.clone(), "root.verity"),
        (finished.initrd.to_owned(), "initrd.cpio.zst"),
        (finished.uki.join("uki.efi"), "uki.efi"),
        (esp_loader(finished), bundle_stage::LOADER),
        (finished.uki.join("cmdline"), "cmdline"),
        (finished.layers.masked.clone(), "masked-units.txt"),
    ];
    for (source, name) in parts {
        fs::copy(source, work.join(name))?;
    }
    for (source, name) in finished.layers.bills.iter().zip(sbom::FILES) {
        fs::copy(source, work.join(name))?;
    }
    Ok(fs::write(work.join("linux"), &finished.kernel.image)?)
}

/// The boot loader as the disk has it: what a host takes with an update is what it would have been flashed with.
fn esp_loader(finished: &Finished<'_>) -> PathBuf {
    let [_, started] = loader::PLACES;
    finished.uki.join("esp").join(started)
}

pub(super) fn make_disk(inputs: &Inputs, finished: &Finished<'_>, work: &Path) -> Result<()> {
    let size = &inputs.definition.image.size;
    let slot = size.slot.bytes();
    refuse_other_sizes(size.esp.bytes(), slot)?;
    let verity = (slot / VERITY_SHARE).next_multiple_of(MIB);
    let parts = DiskParts {
        label: &inputs.label(),
        root: &finished.sealed.root,
        verity: &finished.sealed.verity,
        root_hash: &finished.sealed.root_hash,
        esp: &finished.uki.join("esp"),
        sizes: DiskSizes { esp: size.esp.bytes(), root: slot - verity, verity },
    };
    disk::make(&inputs.tools.result, &parts, &work.join("disk.raw"), inputs.packages.epoch())?;
    Ok(())
}

/// Slot B and state are made on the host by `units/initrd/usr/lib/repart.d`, which knows these sizes and no others.
fn refuse_other_sizes(esp: u64, slot: u64) -> Result<()> {
    if (esp, slot) == (512 * MIB, 2048 * MIB) {
        return Ok(());
    }
    let found = format!("image.toml asks for an ESP of {} MiB and slots of {} MiB", esp / MIB, slot / MIB);
    Err(Failure::refused(found).hint("set `esp = \"512M\"` and `slot = \"2G\"`: hosts have no other layout yet").into())
}

pub(super) fn make_bundle(inputs: &Inputs, finished: &Finished<'_>, work: &Path) -> Result<Manifest> {
    let loader = loader::version(&fs::read(work.join(bundle_stage::LOADER))?).context("systemd-boot has no version")?;
    let facts = ManifestFacts {
        image: inputs.image.name.as_str(),
        version: inputs.image.version.as_str(),
        development: inputs.keys.is_development(),
        epoch: inputs.packages.epoch(),
        root_hash: &finished.sealed.root_hash.to_string(),
        kernel: &finished.kernel.release,
        loader,
        update: &inputs.definition.image.update,
    };
    bundle_stage::make(work, &facts, &inputs.keys.release()?)
}

/// Says of what all this was made, over the files as they are now.
pub(super) fn make_provenance(
    inputs: &Inputs,
    manifest: &Manifest,
    assets: &[StoredAsset],
    compiler: &str,
    work: &Path,
) -> Result<()> {
    let materials =
        Materials { definition: &inputs.definition, packages: &inputs.packages, assets, keys: inputs.public_keys() };
    let facts = Facts { manifest, compression: inputs.compression.name(), compiler };
    provenance::make(work, &facts, materials.resources()?, &inputs.keys.release()?)
}

/// The builder's own last look: what is about to be published is read back.
pub(super) fn verify_own(inputs: &Inputs, finished: &Finished<'_>, work: &Path) -> Result<()> {
    seal::verify(&SealedRoot {
        root: work.join("root.erofs"),
        verity: work.join("root.verity"),
        root_hash: finished.sealed.root_hash,
    })?;
    let (json, signature) = (fs::read(work.join("manifest.json"))?, fs::read(work.join("manifest.json.sig"))?);
    let trusted = inputs.keys.release_public()?;
    bundle::verify(&json, &signature, bundle::Context::Manifest, &trusted, std::num::NonZeroUsize::MIN)?;
    let (json, signature) = (fs::read(work.join(provenance::FILE))?, fs::read(work.join(provenance::SIGNATURE))?);
    bundle::verify(&json, &signature, bundle::Context::Provenance, &trusted, std::num::NonZeroUsize::MIN)?;
    Ok(())
}

pub(super) fn publish(inputs: &Inputs, summary: &Summary, work: Scratch, output: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let ports = hostconf::PortTable::new(&inputs.definition.overlays).to_markdown();
    fs::write(work.path().join("lock.toml"), inputs.packages.to_toml()?)?;
    fs::write(work.path().join("ports.md"), ports)?;
    fs::write(work.path().join("build.json"), serde_json::to_string_pretty(summary)? + "\n")?;
    let example = inputs.definition.image_dir.join("host.example.toml");
    if example.is_file() {
        fs::copy(example, work.path().join("host.example.toml"))?;
    }
    fs::set_permissions(work.path(), std::fs::Permissions::from_mode(0o755))?;
    work.publish(output).remedied()
}

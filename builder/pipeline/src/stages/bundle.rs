//! What is signed and handed out: the manifest over all parts, and the bundle that carries them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::{Context, Manifest, Part, PartName, SchemaVersion, SigningKey, sign, write_bundle};
use fs_err as fs;
use sha2::{Digest as _, Sha256};

/// File names of the parts in the output directory (docs/formats/artifacts.md).
pub const PART_FILES: [(PartName, &str); 6] = [
    (PartName::Root, "root.erofs"),
    (PartName::Verity, "root.verity"),
    (PartName::Uki, "uki.efi"),
    (PartName::Linux, "linux"),
    (PartName::Initrd, "initrd.cpio.zst"),
    (PartName::Cmdline, "cmdline"),
];

/// What the manifest says beside the parts.
#[derive(Debug)]
pub struct ManifestFacts<'a> {
    /// Name of the image.
    pub image: &'a str,
    /// Version of the image.
    pub version: &'a str,
    /// Whether development keys were used.
    pub development: bool,
    /// The time that the whole image carries, seconds since 1970.
    pub epoch: u64,
    /// Root hash, hex.
    pub root_hash: &'a str,
    /// The kernel's release.
    pub kernel: &'a str,
}

/// Writes `manifest.json`, its signature and `bundle.tar` into `output`, over the parts that are there.
pub fn make(output: &Path, facts: &ManifestFacts<'_>, key: &SigningKey) -> Result<Manifest> {
    let (disk, parts) = describe_all(output)?;
    let manifest = Manifest {
        schema: SchemaVersion,
        image: facts.image.parse()?,
        version: facts.version.parse()?,
        architecture: "amd64".parse()?,
        development: facts.development,
        source_date_epoch: facts.epoch,
        root_hash: facts.root_hash.parse()?,
        kernel: facts.kernel.parse()?,
        min_from_version: None,
        disk: Some(disk),
        parts,
    };
    let json = manifest.to_json()?;
    let envelope = sign(json.as_bytes(), Context::Manifest, &[key]).to_json();
    fs::write(output.join("manifest.json"), &json)?;
    fs::write(output.join("manifest.json.sig"), &envelope)?;
    let mut file = std::io::BufWriter::with_capacity(1 << 20, fs::File::create(output.join("bundle.tar"))?);
    write_bundle(&mut file, json.as_bytes(), envelope.as_bytes(), |_, part| {
        std::fs::File::open(output.join(part.file.as_str()))
    })
    .context("cannot write the bundle")?;
    file.flush()?;
    Ok(manifest)
}

/// The disk image is by far the largest: it is read on a thread of its own, beside the parts.
fn describe_all(dir: &Path) -> Result<(Part, BTreeMap<PartName, Part>)> {
    std::thread::scope(|scope| {
        let disk = scope.spawn(|| describe(dir, "disk.raw"));
        let parts = PART_FILES.map(|(name, file)| Ok((name, describe(dir, file)?))).into_iter().collect::<Result<_>>();
        let disk = disk.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((disk?, parts?))
    })
}

fn describe(dir: &Path, file: &str) -> Result<Part> {
    let mut source = fs::File::open(dir.join(file))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
        size += count as u64;
    }
    Ok(Part { file: file.parse()?, size, sha256: hex::encode(digest.finalize()).parse()? })
}

//! What is signed and handed out: the manifest over all parts, and the bundle that carries them.

use std::collections::BTreeMap;
use std::io::{Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bundle::{
    Context, LoaderVersion, MANIFEST_FILE, Manifest, Part, PartName, SIGNATURE_FILE, SchemaVersion, Sha256Digest,
    SigningKey, sign, write_bundle, write_head,
};
use fs_err as fs;
use hostconf::UpdateRules;
use sha2::{Digest as _, Sha256};
use tools::ResultExt as _;

/// File names of the parts in the output directory (docs/formats/artifacts.md).
pub const PART_FILES: [(PartName, &str); 7] = [
    (PartName::Root, "root.erofs"),
    (PartName::Verity, "root.verity"),
    (PartName::Uki, "uki.efi"),
    (PartName::Loader, LOADER),
    (PartName::Linux, "linux"),
    (PartName::Initrd, "initrd.cpio.zst"),
    (PartName::Cmdline, "cmdline"),
];

/// File name of the boot loader.
pub const LOADER: &str = "loader.efi";

/// A day in seconds.
const DAY: u64 = 24 * 60 * 60;

/// File name of the disk image.
const DISK: &str = "disk.raw";

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
    /// The version of the boot loader.
    pub loader: LoaderVersion,
    /// What `image.toml` says of updates.
    pub update: &'a UpdateRules,
}

/// Writes `manifest.json`, its signature and `bundle.tar` into `output`, over the parts that are there.
///
/// The disk image is by far the largest: it is hashed on a thread of its own, and the bundle is written meanwhile with a head that
/// has the room of the real one. What was written so far goes to the disk at the same time, so that little is left for the end.
pub fn make(output: &Path, facts: &ManifestFacts<'_>, key: &SigningKey) -> Result<Manifest> {
    std::thread::scope(|scope| {
        let flushed = scope.spawn(|| tools::flush_file_system(output));
        let disk = scope.spawn(|| describe(output, DISK));
        let parts = PART_FILES.map(|(name, file)| Ok((name, describe(output, file)?)));
        let parts = parts.into_iter().collect::<Result<BTreeMap<PartName, Part>>>()?;
        let size = fs::metadata(output.join(DISK))?.len();
        let unknown = Part { file: DISK.parse()?, size, sha256: Sha256Digest::of(b"") };
        let draft = Head::new(facts, unknown, parts.clone(), key)?;
        let mut bundle = write_parts(output, &draft)?;
        let disk = disk.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let head = Head::new(facts, disk, parts, key)?;
        head.write_over(&draft, &mut bundle)?;
        fs::write(output.join(MANIFEST_FILE), &head.manifest)?;
        fs::write(output.join(SIGNATURE_FILE), &head.signature)?;
        flushed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).remedied()?;
        Ok(head.parsed)
    })
}

/// A manifest and its signature.
struct Head {
    parsed: Manifest,
    manifest: String,
    signature: String,
}

impl Head {
    fn new(facts: &ManifestFacts<'_>, disk: Part, parts: BTreeMap<PartName, Part>, key: &SigningKey) -> Result<Self> {
        let parsed = Manifest {
            schema: SchemaVersion,
            image: facts.image.parse()?,
            version: facts.version.parse()?,
            architecture: "amd64".parse()?,
            development: facts.development,
            source_date_epoch: facts.epoch,
            root_hash: facts.root_hash.parse()?,
            kernel: facts.kernel.parse()?,
            loader: Some(facts.loader.clone()),
            min_from_version: facts.update.min_from_version.clone(),
            floor: facts.update.floor.clone(),
            expires: facts.update.expires_after_days.map(|days| facts.epoch + u64::from(days) * DAY),
            disk: Some(disk),
            parts,
        };
        let manifest = parsed.to_json()?;
        let signature = sign(manifest.as_bytes(), Context::Manifest, &[key]).to_json();
        Ok(Self { parsed, manifest, signature })
    }

    /// Takes the place of `draft` in a bundle. All digests have one length, so nothing behind it moves.
    fn write_over(&self, draft: &Self, bundle: &mut fs::File) -> Result<()> {
        let lengths = |head: &Self| (head.manifest.len(), head.signature.len());
        ensure!(lengths(self) == lengths(draft), "the bundle's manifest has not the length that was left for it");
        bundle.rewind()?;
        Ok(write_head(bundle, self.manifest.as_bytes(), self.signature.as_bytes())?)
    }
}

fn write_parts(output: &Path, head: &Head) -> Result<fs::File> {
    let mut bundle = fs::File::create(output.join("bundle.tar"))?;
    write_bundle(&mut bundle, head.manifest.as_bytes(), head.signature.as_bytes(), |_, part| {
        std::fs::File::open(output.join(part.file.as_str()))
    })
    .context("cannot write the bundle")?;
    Ok(bundle)
}

fn describe(dir: &Path, file: &str) -> Result<Part> {
    let source = fs::File::open(dir.join(file))?;
    let size = source.metadata()?.len();
    let digest = digest_sparse(&source, size)?;
    Ok(Part { file: file.parse()?, size, sha256: hex::encode(digest).parse()? })
}

/// SHA-256 of a file of which large parts were never written: those are hashed without being read.
fn digest_sparse(source: &fs::File, size: u64) -> Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut done = 0;
    while done < size {
        let data = data_from(source, done)?.unwrap_or(size);
        feed(&mut digest, &mut std::io::repeat(0), data - done)?;
        // Where holes are not known, all that follows is data.
        let end = if data < size { hole_from(source, data)?.min(size) } else { size };
        let mut reader = source;
        reader.seek(SeekFrom::Start(data))?;
        feed(&mut digest, &mut reader, end - data)?;
        done = end;
    }
    Ok(digest.finalize().into())
}

fn feed(digest: &mut Sha256, source: &mut impl std::io::Read, count: u64) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut left = count;
    while left > 0 {
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        source.read_exact(&mut buffer[..wanted])?;
        digest.update(&buffer[..wanted]);
        left -= wanted as u64;
    }
    Ok(())
}

/// The next byte that was written, from `offset` on (lseek(2), `SEEK_DATA`).
fn data_from(file: &fs::File, offset: u64) -> Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(data) => Ok(Some(data)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn hole_from(file: &fs::File, offset: u64) -> Result<u64> {
    Ok(rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(offset))?)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Bytes and where they were written.
    type Pieces<'a> = &'a [(u64, &'a [u8])];

    fn digest_of(pieces: Pieces<'_>, size: u64) -> ([u8; 32], [u8; 32]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let mut file = fs::File::create(&path).unwrap();
        file.set_len(size).unwrap();
        for (offset, bytes) in pieces {
            file.seek(SeekFrom::Start(*offset)).unwrap();
            file.write_all(bytes).unwrap();
        }
        drop(file);
        let whole = Sha256::digest(fs::read(&path).unwrap()).into();
        (digest_sparse(&fs::File::open(&path).unwrap(), size).unwrap(), whole)
    }

    #[test]
    fn holes_count_as_the_zeros_that_they_are() {
        let block = [7; 5000];
        let files: [(Pieces<'_>, u64); 5] = [
            (&[], 0),
            (&[], 9 << 20),
            (&[(0, &block)], 5000),
            (&[(3 << 20, &block), (7 << 20, &block)], (9 << 20) + 13),
            (&[(0, &block), ((9 << 20) - 5000, &block)], 9 << 20),
        ];
        for (pieces, size) in files {
            let (found, expected) = digest_of(pieces, size);
            assert_eq!(found, expected, "{} pieces in {size} bytes", pieces.len());
        }
    }
}

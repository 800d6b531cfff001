//! The bundles of a repository: each written once, under a name that says image and version, and shared by all
//! channels.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bundle::{ArchiveError, BundleReader, FileName, Manifest, Part, Sha256Digest, TrustRoot, write_bundle};
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use tools::{AtomicFile, Failure, ResultExt as _, failure::HintExt as _, full_disk};

use super::{Repository, make_folder};

const NO_ROOM: &str = "make room there: `casemate repo prune` removes bundles that no channel names";

/// What a bundle is, after all of it was read as a host would.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) part: Part,
    pub(super) manifest: Manifest,
    pub(super) digest: Sha256Digest,
}

/// What is to be put into the repository: a signed manifest, and the directory with its parts.
#[derive(Debug)]
pub(super) struct Release<'a> {
    pub(super) output: &'a Path,
    pub(super) manifest: &'a Manifest,
    pub(super) document: &'a [u8],
    pub(super) envelope: &'a [u8],
}

impl Release<'_> {
    fn write(&self, out: &mut AtomicFile) -> Result<()> {
        let written = write_bundle(out, self.document, self.envelope, |_, part| {
            std::fs::File::open(self.output.join(part.file.as_str()))
        });
        if let Err(error @ ArchiveError::Io { action: "write", .. }) = written {
            return Err(error.into());
        }
        written
            .context("the parts of this image are not those of its manifest")
            .or_refuse("build the image again; `casemate verify` names each file that is wrong")
    }
}

/// `<image>_<version>.tar`.
pub(super) fn bundle_name(manifest: &Manifest) -> Result<FileName> {
    Ok(format!("{}_{}.tar", manifest.image, manifest.version).parse()?)
}

impl Repository {
    pub(super) fn bundle(&self, name: &FileName) -> PathBuf {
        self.bundles().join(name.as_str())
    }

    /// The manifest or its signature beside a bundle, for people and for who mirrors.
    pub(super) fn beside(&self, name: &FileName, ending: &str) -> PathBuf {
        let name = name.as_str();
        self.bundles().join(format!("{}.{ending}", name.strip_suffix(".tar").unwrap_or(name)))
    }

    /// Reads a bundle to its end, as a host with this trust root would.
    pub(super) fn measure(&self, name: &FileName, root: &TrustRoot) -> Result<Measured> {
        let path = self.bundle(name);
        measure(&path, name, root).with_context(|| format!("`{}` is not good", path.display()))
    }

    /// Reads and verifies no more of a bundle than its manifest.
    pub(super) fn read_head(&self, name: &FileName, root: &TrustRoot) -> Result<(Manifest, Sha256Digest)> {
        let path = self.bundle(name);
        let reader = BundleReader::open(fs::File::open(&path)?, &root.release.trusted(), root.release.threshold());
        let reader = reader.with_context(|| format!("`{}` is not good", path.display()))?;
        Ok(((**reader.manifest()).clone(), reader.manifest_digest()))
    }

    /// Puts a bundle into its place, or finds it there.
    pub(super) fn put_bundle(&self, release: &Release<'_>, root: &TrustRoot) -> Result<Measured> {
        let name = bundle_name(release.manifest)?;
        let path = self.bundle(&name);
        if path.exists() {
            return self.find_same(&name, release, root);
        }
        make_folder(&self.bundles())?;
        let size = release.manifest.parts.values().map(|part| part.size).sum();
        full_disk::check_room(&self.bundles(), size, "the bundle", NO_ROOM)?;
        let mut file = AtomicFile::create(&path, 0o644).remedied()?;
        release.write(&mut file)?;
        file.file().sync_all()?;
        let measured = measure(file.scratch_path(), &name, root).context("no host would take this bundle").or_refuse(
            "sign with as many release keys of the last trust root as it asks for: `--key FILE`, once for each",
        )?;
        for (ending, bytes) in [("manifest.json.sig", release.envelope), ("manifest.json", release.document)] {
            tools::write_atomic(&self.beside(&name, ending), bytes, 0o644).remedied()?;
        }
        file.commit().remedied()?;
        Ok(measured)
    }

    /// A name stands for the same bytes for ever: caches and hosts in the middle of fetching rely on it.
    fn find_same(&self, name: &FileName, release: &Release<'_>, root: &TrustRoot) -> Result<Measured> {
        let path = self.bundle(name);
        let measured = self.measure(name, root).or_refuse(format!(
            "`casemate repo check` says more: remove `{}` if no channel names it, or give the build a new version",
            path.display()
        ))?;
        if measured.digest == Sha256Digest::of(release.document) {
            return Ok(measured);
        }
        let message = format!("version {} was published already, from another build", release.manifest.version);
        Err(Failure::refused(message).hint("give the build a new version in image.toml").into())
    }
}

fn measure(path: &Path, name: &FileName, root: &TrustRoot) -> Result<Measured> {
    let mut source =
        Hashing { inner: io::BufReader::with_capacity(1 << 20, fs::File::open(path)?), hash: Sha256::new(), size: 0 };
    let mut reader = BundleReader::open(&mut source, &root.release.trusted(), root.release.threshold())?;
    let digest = reader.manifest_digest();
    while reader.next_part().is_some() {
        reader.read_part(&mut io::sink())?;
    }
    let manifest = reader.finish()?.into_inner();
    ensure!(bundle_name(&manifest)? == *name, "it holds {} {}", manifest.image, manifest.version);
    let sha256 = <[u8; 32]>::from(source.hash.finalize()).into();
    Ok(Measured { part: Part { file: name.clone(), size: source.size, sha256 }, manifest, digest })
}

/// Counts and digests what passes through.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    size: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }
}

//! Checks a built image from the release key down to every byte: signature, digests, hash tree, kernel image, disk, provenance and bundle.
//!
//! Every problem is found and named in one run. Nothing is repaired, and nothing of the manifest is believed before its signature was checked.

mod disk;
mod kernel;
mod loader;
mod problems;
mod provenance;
pub(crate) mod signed_file;

use std::io::{self, BufReader, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bundle::{
    BundleReader, Context, MANIFEST_FILE, Manifest, Part, PartName, SIGNATURE_FILE, Sha256Digest, TrustedKeys,
};
use formats::verity::{self, RootHash};
use fs_err as fs;
use sha2::{Digest as _, Sha256};

use crate::programs::ToolsTree;
use problems::Problems;

/// One signature is enough today (docs/formats/signature.md).
pub(crate) const THRESHOLD: NonZeroUsize = NonZeroUsize::MIN;

/// Largest hash tree that is read into memory: the one of 32 GiB of data.
const LARGEST_TREE: u64 = 300 << 20;

/// An output directory whose manifest is trusted.
struct Output<'a> {
    dir: &'a Path,
    manifest: &'a Manifest,
    root_hash: RootHash,
}

impl Output<'_> {
    fn part(&self, name: PartName) -> Option<PathBuf> {
        self.manifest.parts.get(&name).map(|part| self.dir.join(part.file.as_str()))
    }

    /// `<image>_<version>`: the label of the slot, and the name of the kernel image on the ESP.
    fn label(&self) -> String {
        format!("{}_{}", self.manifest.image, self.manifest.version)
    }
}

/// Checks the output directory and returns its manifest; the error names everything that is wrong.
///
/// With `tools`, the copy of the kernel image on the ESP is read as well, and with `certificate` its Secure Boot signature is checked.
pub fn verify(
    dir: &Path,
    trusted: &TrustedKeys,
    certificate: Option<&Path>,
    tools: Option<&ToolsTree>,
) -> Result<Manifest> {
    let mut problems = Problems::new(dir);
    let manifest = problems.note(MANIFEST_FILE, signed_manifest(dir, trusted));
    if let Some((manifest, _)) = &manifest {
        let output = Output { dir, manifest, root_hash: manifest.root_hash };
        check_parts(&output, &mut problems);
        problems.note("hash tree", check_tree(&output));
        kernel::check(&output, certificate, tools, &mut problems);
        loader::check(&output, certificate, tools, &mut problems);
        disk::check(&output, tools, &mut problems);
        provenance::check(&output, trusted, &mut problems);
    }
    problems.note("bundle.tar", check_bundle(dir, trusted, manifest.as_ref().map(|(manifest, _)| manifest)));
    problems.finish()?;
    manifest.map(|(manifest, _)| manifest).context("there is no manifest")
}

/// Reads the manifest of an output directory after its signature; returns it with the digest that test reports name.
pub(crate) fn signed_manifest(dir: &Path, trusted: &TrustedKeys) -> Result<(Manifest, Sha256Digest)> {
    let (document, signature) = (dir.join(MANIFEST_FILE), dir.join(SIGNATURE_FILE));
    let verified = signed_file::verified(&document, &signature, Context::Manifest, trusted)?;
    Ok((Manifest::parse(&verified)?.into_inner(), Sha256Digest::of(&verified)))
}

fn check_parts(output: &Output<'_>, problems: &mut Problems) {
    for part in output.manifest.parts.values().chain(&output.manifest.disk) {
        problems.note(part.file.as_str(), check_part(output.dir, part));
    }
    if output.manifest.disk.is_none() && output.dir.join("disk.raw").exists() {
        problems.add("disk.raw", "the manifest does not name it, so nobody vouches for it");
    }
}

/// Compares size and digest of a file with the manifest.
pub(crate) fn check_part(dir: &Path, part: &Part) -> Result<()> {
    let mut file = fs::File::open(dir.join(part.file.as_str()))?;
    let size = file.metadata()?.len();
    if size != part.size {
        bail!("it has {size} bytes, the manifest says {}", part.size);
    }
    let found = digest(&mut file)?;
    if found != part.sha256 {
        bail!("its SHA-256 is {found}, the manifest says {}", part.sha256);
    }
    Ok(())
}

fn digest(source: &mut impl Read) -> Result<Sha256Digest> {
    let mut sink = Digesting(Sha256::new());
    io::copy(&mut BufReader::with_capacity(1 << 20, source), &mut sink)?;
    Ok(<[u8; 32]>::from(sink.0.finalize()).into())
}

struct Digesting(Sha256);

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads all of the root against its hash tree and the root hash.
fn check_tree(output: &Output<'_>) -> Result<()> {
    let (Some(root), Some(tree)) = (output.part(PartName::Root), output.part(PartName::Verity)) else {
        bail!("the manifest names no root or no hash tree");
    };
    let tree_size = fs::metadata(&tree)?.len();
    if tree_size > LARGEST_TREE {
        bail!("`{}` has {} MiB, no hash tree of ours is so large", tree.display(), tree_size >> 20);
    }
    let size = fs::metadata(&root)?.len();
    let mut data = BufReader::with_capacity(1 << 20, fs::File::open(&root)?);
    Ok(verity::verify(&mut data, size, &fs::read(&tree)?, &output.root_hash)?)
}

/// Reads the bundle as a host would, and compares its manifest with the one beside it.
fn check_bundle(dir: &Path, trusted: &TrustedKeys, beside: Option<&Manifest>) -> Result<()> {
    let source = BufReader::with_capacity(1 << 20, fs::File::open(dir.join("bundle.tar"))?);
    let mut reader = BundleReader::open(source, trusted, THRESHOLD)?;
    while reader.next_part().is_some() {
        reader.read_part(&mut io::sink())?;
    }
    let inside = reader.finish()?;
    match beside {
        Some(beside) if *beside != *inside => {
            bail!("it is good, but of another build than the manifest beside it")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

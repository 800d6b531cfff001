//! Versions that `casemate build` does not make: built ones of which a part is exchanged, signed again by the release key.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bundle::{Manifest, PartName, Sha256Digest, SigningKey, sign, write_bundle};
use formats::guid::Guid;
use formats::pe::Pe;
use formats::verity::{self, Salt};
use fs_err as fs;
use tools::{ResultExt as _, Runner as _, Sandbox, SandboxRunner, Tool};

use crate::artifacts::Artifacts;

/// The root is a file system with nothing in it; hash tree, root hash and command line are those of it.
pub(crate) fn empty_root(artifacts: &Artifacts, output: &Path) -> Result<()> {
    let mut crafted = Crafted::open(output)?;
    let root = make_empty(artifacts, output)?;
    let tree =
        verity::build(&mut root.as_slice(), root.len() as u64, &Salt::new(b"empty")?, Guid::derived_from("empty"))?;
    let (old, new) = (crafted.manifest.root_hash, tree.root_hash);
    crafted.manifest.root_hash = new;
    for part in [PartName::Uki, PartName::Cmdline] {
        let mut bytes = crafted.read(part)?;
        let old = old.to_string();
        let at = bytes.windows(old.len()).position(|bytes| bytes == old.as_bytes());
        let at = at.with_context(|| format!("part `{part}` does not name the root hash"))?;
        bytes[at..at + old.len()].copy_from_slice(new.to_string().as_bytes());
        crafted.exchange(part, &bytes)?;
    }
    crafted.exchange(PartName::Root, &root)?;
    crafted.exchange(PartName::Verity, &tree.hash_image)?;
    crafted.sign(artifacts)
}

/// The kernel image has no signature for Secure Boot.
pub(crate) fn unsigned_kernel(artifacts: &Artifacts, output: &Path) -> Result<()> {
    let mut crafted = Crafted::open(output)?;
    let bytes = without_signature(crafted.read(PartName::Uki)?)?;
    crafted.exchange(PartName::Uki, &bytes)?;
    crafted.sign(artifacts)
}

/// The boot loader says that it is some hundred versions newer, and firmware will start it all the same. Returns what it was and what it says.
pub(crate) fn newer_loader(artifacts: &Artifacts, output: &Path) -> Result<[String; 2]> {
    let mut crafted = Crafted::open(output)?;
    let old = crafted.manifest.loader.as_ref().context("the version brings no boot loader")?.to_string();
    let new = format!("9{}", old.get(1..).context("the boot loader has no version")?);
    let mut bytes = without_signature(crafted.read(PartName::Loader)?)?;
    // For whoever reads the file, and in UTF-16 for the firmware's variable.
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for (old, new) in [(old.clone().into_bytes(), new.clone().into_bytes()), (wide(&old), wide(&new))] {
        let places: Vec<usize> =
            bytes.windows(old.len()).enumerate().filter(|(_, at)| *at == old).map(|(at, _)| at).collect();
        ensure!(!places.is_empty(), "the boot loader does not name its version");
        for at in places {
            bytes[at..at + new.len()].copy_from_slice(&new);
        }
    }
    crafted.manifest.loader = Some(new.parse()?);
    crafted.exchange(PartName::Loader, &signed(artifacts, output, &bytes)?)?;
    crafted.sign(artifacts)?;
    Ok([old, new])
}

/// An EFI program without its signature, which is the end of the file.
fn without_signature(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    let signature = usize::try_from(Pe::parse(&bytes)?.signature_size)?;
    ensure!(signature > 0, "there is no signature that could be taken off");
    bytes.truncate(bytes.len() - signature);
    let directory = security_directory(&bytes)?;
    bytes[directory..directory + 8].fill(0);
    Ok(bytes)
}

/// Signs an EFI program with the key that the firmware knows.
fn signed(artifacts: &Artifacts, output: &Path, program: &[u8]) -> Result<Vec<u8>> {
    let place = output.join("signing");
    fs::create_dir_all(&place)?;
    fs::write(place.join("unsigned"), program)?;
    let sandbox = Sandbox::new(artifacts.build_tree())
        .bind_read_only(artifacts.development_keys().join("secureboot"), "/run/keys")
        .bind(&place, "/run/signing");
    let keys = ["--key", "/run/keys/db.key", "--cert", "/run/keys/db.crt"];
    let tool = Tool::new("sbsign").args(keys).args(["--output", "/run/signing/signed", "/run/signing/unsigned"]);
    SandboxRunner::new(sandbox).run(&tool).remedied()?;
    Ok(fs::read(place.join("signed"))?)
}

/// Place of the row that says where the signature lies (PE/COFF, "Optional Header Data Directories", number 4 of PE32+).
fn security_directory(bytes: &[u8]) -> Result<usize> {
    let header = bytes.get(0x3c..0x40).context("no executable")?;
    let header = usize::try_from(u32::from_le_bytes(header.try_into()?))?;
    Ok(header + 4 + 20 + 144)
}

fn make_empty(artifacts: &Artifacts, output: &Path) -> Result<Vec<u8>> {
    let place = output.join("empty");
    fs::create_dir_all(place.join("tree"))?;
    let sandbox = Sandbox::new(artifacts.build_tree()).bind(&place, "/run/empty");
    let tool = Tool::new("mkfs.erofs").args(["/run/empty/root.erofs", "/run/empty/tree"]);
    SandboxRunner::new(sandbox).run(&tool).remedied()?;
    let mut bytes = fs::read(place.join("root.erofs"))?;
    bytes.resize(bytes.len().next_multiple_of(verity::BLOCK_SIZE), 0);
    Ok(bytes)
}

/// A built version under work.
struct Crafted<'a> {
    output: &'a Path,
    manifest: Manifest,
}

impl<'a> Crafted<'a> {
    fn open(output: &'a Path) -> Result<Self> {
        let manifest = Manifest::parse_unverified(&fs::read(output.join("manifest.json"))?)?;
        Ok(Self { output, manifest })
    }

    fn read(&self, part: PartName) -> Result<Vec<u8>> {
        let entry = self.manifest.parts.get(&part).with_context(|| format!("no part `{part}`"))?;
        Ok(fs::read(self.output.join(entry.file.as_str()))?)
    }

    fn exchange(&mut self, part: PartName, bytes: &[u8]) -> Result<()> {
        let entry = self.manifest.parts.get_mut(&part).with_context(|| format!("no part `{part}`"))?;
        let place = self.output.join(entry.file.as_str());
        // Others may share the file that is there.
        fs::remove_file(&place)?;
        fs::write(&place, bytes)?;
        (entry.size, entry.sha256) = (bytes.len() as u64, Sha256Digest::of(bytes));
        Ok(())
    }

    fn sign(self, artifacts: &Artifacts) -> Result<()> {
        let pem = fs::read_to_string(artifacts.development_keys().join("release.key"))?;
        let key = SigningKey::from_pem(&pem, "release")?;
        let manifest = self.manifest.to_json()?;
        let signature = sign(manifest.as_bytes(), bundle::Context::Manifest, &[&key]).to_json();
        let mut out = fs::File::create(self.output.join("crafted.tar"))?;
        write_bundle(&mut out, manifest.as_bytes(), signature.as_bytes(), |_, part| {
            std::fs::File::open(self.output.join(part.file.as_str()))
        })?;
        Ok(fs::rename(self.output.join("crafted.tar"), self.output.join("bundle.tar"))?)
    }
}

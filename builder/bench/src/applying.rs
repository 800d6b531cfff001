//! A new version is applied to a disk that is a file, by the agent's own code; beside it the same bytes are copied and hashed.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use agent::files::{Files, Ownership};
use agent::host::{Host, kernel_random};
use agent::paths::Paths;
use agent::update::{Esp, Medium, Outcome, PIECE, Target, Wishes, apply};
use anyhow::{Result, ensure};
use bundle::{
    Context, KeySet, Manifest, PartName, RootHash, SchemaVersion, Sha256Digest, SigningKey, TrustRoot, sign,
    write_bundle,
};
use formats::gpt::{Attributes, DiskSize, PlannedPartition, SectorSize, Table, plan_layout};
use formats::guid::Guid;
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use tools::HostRunner;

const SECTOR: SectorSize = SectorSize::Bytes512;
const MIB: u64 = 1 << 20;
/// Bytes of the ESP and of whatever nothing is written to.
const SMALL: u64 = MIB;

/// A host whose spare slot is empty, and a bundle for it.
pub struct Bed {
    dir: PathBuf,
    version: bundle::ImageVersion,
}

impl Bed {
    /// Lays everything into an empty directory: what was built, signed by a key of ours, and a disk with room for it.
    pub fn prepare(built: &Path, dir: &Path) -> Result<Self> {
        let key = SigningKey::from_random(&[7; 32], "the benchmark")?;
        let bed = Self { dir: dir.to_owned(), version: "0".parse()? };
        let json = fs::read(built.join("manifest.json"))?;
        let manifest = Manifest::parse_unverified(&json)?;
        let mut out = fs::File::create(bed.bundle())?;
        let signature = sign(&json, Context::Manifest, &[&key]).to_json();
        write_bundle(&mut out, &json, signature.as_bytes(), |_, part| {
            std::fs::File::open(built.join(part.file.as_str()))
        })?;
        let table = table(&manifest)?;
        let mut disk = fs::File::create(bed.disk())?;
        disk.set_len(table.disk_bytes())?;
        disk.write_all(&table.primary_bytes())?;
        fs_err::os::unix::fs::FileExt::write_all_at(&disk, &table.backup_bytes(), table.backup_offset())?;
        bed.lay_root(&manifest, &key)?;
        rustix::fs::sync();
        Ok(bed)
    }

    /// Copies the bundle and hashes it on the way, to the disk and not only into memory. Returns its size.
    pub fn copy(&self) -> Result<u64> {
        let (mut from, mut to) = (fs::File::open(self.bundle())?, fs::File::create(self.dir.join("copy"))?);
        let (mut hasher, mut buffer, mut size) = (Sha256::new(), vec![0; PIECE], 0);
        loop {
            let count = from.read(&mut buffer)?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
            to.write_all(bytes)?;
            size += count as u64;
        }
        to.sync_all()?;
        // Nobody asks what it is; it must be made all the same.
        std::hint::black_box(hasher.finalize());
        Ok(size)
    }

    /// Applies the bundle. Returns its size.
    pub fn apply(&self) -> Result<u64> {
        let (paths, files) = (Paths::new(&self.dir.join("root")), Files::new(Ownership::Leave));
        let runner = HostRunner::new();
        let host = Host { paths: &paths, files: &files, runner: &runner, random: kernel_random };
        let disk = self.disk();
        let medium = Medium::new(&disk, SECTOR, fs::metadata(&disk)?.len() / SECTOR.bytes());
        let target = Target { medium, esp: Esp::folder(&self.dir.join("esp"), |_| Ok(1 << 40)), piece: PIECE };
        let bundle = fs::File::open(self.bundle())?;
        let size = bundle.metadata()?.len();
        let outcome = apply(host, &target, bundle, Wishes::default(), &|_| ())?;
        ensure!(
            matches!(&outcome, Outcome::Applied(version) if *version != self.version),
            "it is not applied: {outcome:?}"
        );
        Ok(size)
    }

    fn bundle(&self) -> PathBuf {
        self.dir.join("bundle.tar")
    }

    fn disk(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// An older version of the same image runs, and believes this key.
    fn lay_root(&self, manifest: &Manifest, key: &SigningKey) -> Result<()> {
        let Manifest { image, development, .. } = manifest;
        let keys = KeySet::new(vec![key.public().clone()], 1)?;
        let root = TrustRoot {
            schema: SchemaVersion,
            image: image.clone(),
            version: 1.try_into()?,
            root: keys.clone(),
            release: keys,
        };
        let json = root.to_json();
        let signature = sign(json.as_bytes(), Context::TrustRoot, &[key]).to_json();
        let version = &self.version;
        let description = format!(
            "schema = 1\nname = \"{image}\"\nversion = \"{version}\"\noverlays = []\nsites = 0\ndevelopment = {development}\n"
        );
        for (name, text) in [
            ("root/usr/share/casemate/trust-root.json", &json),
            ("root/usr/share/casemate/trust-root.json.sig", &signature),
            ("root/usr/lib/casemate/image.toml", &description),
            ("root/proc/cmdline", &format!("roothash={}\n", running()?)),
            (&format!("esp/EFI/Linux/{image}_{version}.efi"), &String::new()),
        ] {
            let path = self.dir.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, text)?;
        }
        Ok(())
    }
}

/// The root hash of what runs.
fn running() -> Result<RootHash> {
    Ok(Sha256Digest::of(b"the running version").to_string().parse()?)
}

/// ESP, the slot that runs, one with room for the new version, and state.
fn table(manifest: &Manifest) -> Result<Table> {
    let (data, hash) = running()?.partition_guids();
    let own = |name: &str| Guid::derived_from(name);
    let room = |name| manifest.parts.get(&name).map_or(SMALL, |part| part.size.next_multiple_of(MIB));
    let planned = |type_guid, part_guid, size_bytes, name: &str| -> Result<PlannedPartition> {
        Ok(PlannedPartition {
            type_guid,
            part_guid,
            size_bytes,
            attributes: Attributes::READ_ONLY,
            name: name.parse()?,
        })
    };
    let partitions = [
        planned(Guid::ESP, own("esp"), SMALL, "esp")?,
        planned(Guid::ROOT_X86_64, data, SMALL, "running")?,
        planned(Guid::ROOT_VERITY_X86_64, hash, SMALL, "running_verity")?,
        planned(Guid::ROOT_X86_64, own("spare"), room(PartName::Root), "_empty")?,
        planned(Guid::ROOT_VERITY_X86_64, own("spare hash"), room(PartName::Verity), "_empty")?,
        planned(Guid::LINUX_GENERIC, own("state"), SMALL, "state")?,
    ];
    Ok(plan_layout(SECTOR, DiskSize::Smallest, own("disk"), &partitions)?)
}

//! A host with two slots on a disk that is a file, an ESP that is a folder, and versions small enough to be written
//! hundreds of times.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use bundle::Context;
use bundle::KeySet;
use bundle::Manifest;
use bundle::Part;
use bundle::PartName;
use bundle::SchemaVersion;
use bundle::Sha256Digest;
use bundle::SigningKey;
use bundle::TrustRoot;
use bundle::sign;
use bundle::write_bundle;
use formats::gpt::Attributes;
use formats::gpt::DiskSize;
use formats::gpt::PlannedPartition;
use formats::gpt::SectorSize;
use formats::gpt::Table;
use formats::gpt::plan_layout;
use formats::guid::Guid;
use formats::loader::PLACES;
use formats::loader::sample::loader;
use formats::pe::NX_COMPAT;
use formats::pe::sample::program;
use formats::verity;
use formats::verity::Salt;

use super::super::*;
use super::firmware;
use crate::testing::Tree;
use crate::testing::folder;

pub(super) const SECTOR: SectorSize = SectorSize::Bytes512;
/// Bytes of one write: a root is a few of them.
pub(super) const SMALL_PIECE: usize = 64 << 10;
const MIB: usize = 1 << 20;
/// All of the ESP that has files.
const FOLDERS: [&str; 4] = ["EFI/Linux", "EFI/BOOT", "EFI/systemd", "loader"];
/// The boot loader of the host.
pub(super) const LOADER: &str = "257.13-1~deb13u1";
/// Blocks of a root: no multiple of a piece.
const ROOT_BLOCKS: usize = 50;

/// A version with all of its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(super) manifest: Manifest,
    pub(super) parts: BTreeMap<PartName, Vec<u8>>,
}

impl Version {
    pub(super) fn new(version: &str) -> Self {
        Self::with_root(version, &noise(version, ROOT_BLOCKS * verity::BLOCK_SIZE))
    }

    pub(super) fn with_root(version: &str, root: &[u8]) -> Self {
        let salt = Salt::new(b"salt").unwrap();
        let size = root.len() as u64;
        let tree = verity::build(&mut &*root, size, &salt, Guid::derived_from("tree")).unwrap();
        let uki = kernel_image(version, &tree.root_hash.to_string());
        let parts = [(PartName::Root, root.to_vec()), (PartName::Verity, tree.hash_image), (PartName::Uki, uki)];
        let manifest = Manifest {
            schema: SchemaVersion,
            image: "web".parse().unwrap(),
            version: version.parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            development: false,
            source_date_epoch: 1_700_000_000,
            root_hash: tree.root_hash,
            kernel: "6.12.48+deb13-amd64".parse().unwrap(),
            loader: None,
            min_from_version: None,
            floor: None,
            expires: None,
            disk: None,
            parts: BTreeMap::new(),
        };
        Self { manifest, parts: parts.into() }.described()
    }

    /// With a boot loader of this version.
    pub(super) fn with_loader(self, version: &str) -> Self {
        self.with_loader_bytes(version, loader(version))
    }

    /// With a boot loader that should be of this version.
    pub(super) fn with_loader_bytes(mut self, version: &str, bytes: Vec<u8>) -> Self {
        self.manifest.loader = Some(version.parse().unwrap());
        self.parts.insert(PartName::Loader, bytes);
        self.described()
    }

    /// Puts size and digest of each part into the manifest.
    pub(super) fn described(mut self) -> Self {
        self.manifest.parts = self.parts.iter().map(|(&name, bytes)| (name, part(name, bytes))).collect();
        self
    }

    /// The bundle, signed by the release key.
    pub(super) fn bundle(&self) -> Vec<u8> {
        self.signed_by(&[&key(9)])
    }

    pub(super) fn signed_by(&self, keys: &[&SigningKey]) -> Vec<u8> {
        let json = self.manifest.to_json().unwrap();
        let envelope = sign(json.as_bytes(), Context::Manifest, keys).to_json();
        let mut out = Vec::new();
        let open = |name, _: &Part| Ok(io::Cursor::new(self.parts[&name].clone()));
        write_bundle(&mut out, json.as_bytes(), envelope.as_bytes(), open).unwrap();
        out
    }
}

/// Bytes that look like nothing, and the same for the same text.
pub(super) fn noise(text: &str, length: usize) -> Vec<u8> {
    let blocks = (0..length.div_ceil(32)).flat_map(|n| *Sha256Digest::of(format!("{text} {n}").as_bytes()).as_bytes());
    blocks.take(length).collect()
}

pub(super) fn kernel_image(version: &str, root_hash: &str) -> Vec<u8> {
    let release = format!("ID=debian\nIMAGE_ID=web\nIMAGE_VERSION={version}\n");
    let line = format!("roothash={root_hash} ro gpt panic=10");
    let kernel = noise("kernel", 2 * SMALL_PIECE + 700);
    let sections =
        [(".osrel", release.as_bytes()), (".cmdline", line.as_bytes()), (".linux", &kernel), (".initrd", b"initrd")];
    program(&sections, 1024, NX_COMPAT)
}

fn part(name: PartName, bytes: &[u8]) -> Part {
    Part { file: format!("{name}.bin").parse().unwrap(), size: bytes.len() as u64, sha256: Sha256Digest::of(bytes) }
}

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_random(&[seed; 32], "test").unwrap()
}

/// A trust root of this version: root keys 1 and 2, and this release key.
pub(super) fn trust_root(version: u32, release: u8) -> (String, String) {
    let set = |seeds: &[u8], threshold| {
        KeySet::new(seeds.iter().map(|seed| key(*seed).public().clone()).collect(), threshold).unwrap()
    };
    let root = TrustRoot {
        schema: SchemaVersion,
        image: "web".parse().unwrap(),
        version: version.try_into().unwrap(),
        root: set(&[1, 2], 2),
        release: set(&[release], 1),
    };
    let json = root.to_json();
    let envelope = sign(json.as_bytes(), Context::TrustRoot, &[&key(1), &key(2)]).to_json();
    (json, envelope)
}

/// Everything on disk and ESP.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) disk: Vec<u8>,
    pub(super) esp: BTreeMap<PathBuf, Vec<u8>>,
}

/// The host.
pub(crate) struct Bench {
    pub(crate) tree: Tree,
    place: tempfile::TempDir,
    pub(crate) target: Target,
}

impl Bench {
    /// Version 0.1.0 runs in the first slot and is good; the second holds nothing but what was once there.
    pub(super) fn new() -> Self {
        Self::running(&Version::new("0.1.0"))
    }

    pub(super) fn running(version: &Version) -> Self {
        let (tree, place) = (Tree::new(), folder());
        let (disk, esp) = (place.path().join("vda"), place.path().join("esp"));
        fs::write(&disk, first_disk(version)).unwrap();
        for (name, bytes) in [
            (format!("EFI/Linux/web_{}.efi", version.manifest.version), version.parts[&PartName::Uki].clone()),
            (PLACES[0].to_owned(), loader(LOADER)),
            (PLACES[1].to_owned(), loader(LOADER)),
            ("loader/loader.conf".to_owned(), b"timeout 0\n".to_vec()),
            ("EFI/Linux/readme.txt".to_owned(), b"not ours\n".to_vec()),
        ] {
            let path = esp.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let sectors = fs::metadata(&disk).unwrap().len() / SECTOR.bytes();
        let medium = Medium::new(&disk, SECTOR, sectors);
        let target = Target { medium, esp: Esp::folder(&esp, |_| Ok(1 << 30)), piece: SMALL_PIECE };
        let bench = Self { tree, place, target };
        let (json, envelope) = trust_root(1, 9);
        bench.tree.put("/usr/share/casemate/trust-root.json", &json);
        bench.tree.put("/usr/share/casemate/trust-root.json.sig", &envelope);
        bench.now_runs(version);
        bench
    }

    /// What the root and the kernel say once this version was started.
    pub(super) fn now_runs(&self, version: &Version) {
        let Manifest { version, development, root_hash, .. } = &version.manifest;
        let text = format!(
            "schema = 1\nname = \"web\"\nversion = \"{version}\"\n\
             overlays = []\nsites = 0\ndevelopment = {development}\n"
        );
        self.tree.put("/usr/lib/casemate/image.toml", &text);
        self.tree.put("/proc/cmdline", &format!("initrd=x roothash={root_hash} ro\n"));
    }

    pub(crate) fn host(&self) -> Host<'_> {
        Host { random: || Ok(*Sha256Digest::of(b"random").as_bytes()), ..self.tree.host() }
    }

    pub(super) fn disk(&self) -> PathBuf {
        self.place.path().join("vda")
    }

    pub(super) fn esp(&self) -> PathBuf {
        self.place.path().join("esp")
    }

    pub(super) fn apply(&self, bundle: &[u8]) -> Result<Outcome, UpdateError> {
        self.apply_with(bundle, Wishes::default())
    }

    pub(super) fn apply_with(&self, bundle: &[u8], wishes: Wishes) -> Result<Outcome, UpdateError> {
        apply(self.host(), &self.target, bundle, wishes, &|_| ())
    }

    /// Does something to disk or ESP at one of the steps.
    pub(super) fn apply_and_at(&self, step: &str, bundle: &[u8], act: &dyn Fn()) -> Result<Outcome, UpdateError> {
        let say = |line: &str| {
            if line == step {
                act();
            }
        };
        apply(self.host(), &self.target, bundle, Wishes::default(), &say)
    }

    pub(super) fn table(&self) -> Table {
        self.target.medium.table().unwrap().table
    }

    /// The partition at this place of the table.
    pub(super) fn partition(&self, place: usize) -> (String, Vec<u8>) {
        let table = self.table();
        let partition = &table.partitions()[place];
        let (offset, length) = table.extent(partition);
        let (start, end) = (usize::try_from(offset).unwrap(), usize::try_from(offset + length).unwrap());
        (partition.name.to_string(), fs::read(self.disk()).unwrap()[start..end].to_vec())
    }

    /// Names in the folder of kernel images.
    pub(super) fn images(&self) -> Vec<String> {
        let entries = fs::read_dir(self.esp().join("EFI/Linux")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// What the machine would start now.
    pub(crate) fn starts(&self) -> Result<String, String> {
        firmware::starts(&self.disk(), &self.esp())
    }

    pub(super) fn bytes(&self) -> Bytes {
        let mut esp = BTreeMap::new();
        for folder in FOLDERS {
            for entry in fs::read_dir(self.esp().join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                esp.insert(path, bytes);
            }
        }
        Bytes { disk: fs::read(self.disk()).unwrap(), esp }
    }

    /// Puts disk, ESP and memory back to what they were.
    pub(super) fn reset(&self, bytes: &Bytes) {
        fs::write(self.disk(), &bytes.disk).unwrap();
        for folder in FOLDERS {
            fs::remove_dir_all(self.esp().join(folder)).unwrap();
            fs::create_dir(self.esp().join(folder)).unwrap();
        }
        for (path, bytes) in &bytes.esp {
            fs::write(path, bytes).unwrap();
        }
        let _ = fs::remove_dir_all(self.tree.paths.update());
    }

    pub(super) fn change_disk(&self, offset: usize, bytes: &[u8]) {
        let mut disk = fs::read(self.disk()).unwrap();
        disk[offset..offset + bytes.len()].copy_from_slice(bytes);
        fs::write(self.disk(), disk).unwrap();
    }

    /// First byte of the partition at this place of the table.
    pub(super) fn offset(&self, place: usize) -> usize {
        let table = self.table();
        usize::try_from(table.extent(&table.partitions()[place]).0).unwrap()
    }

    pub(crate) fn state(&self) -> State {
        State::read(&self.tree.paths).unwrap()
    }

    pub(super) fn remember(&self, state: &State) {
        state.write(self.host()).unwrap();
    }
}

/// ESP, slot A with this version, slot B that is empty by name only, state.
fn first_disk(version: &Version) -> Vec<u8> {
    let (data, hash) = version.manifest.root_hash.partition_guids();
    let own = |name: &str| Guid::derived_from(name);
    let label = format!("web_{}", version.manifest.version);
    let planned = |type_guid, part_guid, name: &str| PlannedPartition {
        type_guid,
        part_guid,
        size_bytes: MIB as u64,
        attributes: Attributes::READ_ONLY,
        name: name.parse().unwrap(),
    };
    let partitions = [
        planned(Guid::ESP, own("esp"), "esp"),
        planned(Guid::ROOT_X86_64, data, &label),
        planned(Guid::ROOT_VERITY_X86_64, hash, &format!("{label}_verity")),
        planned(Guid::ROOT_X86_64, own("b"), "_empty"),
        planned(Guid::ROOT_VERITY_X86_64, own("b hash"), "_empty"),
        planned(Guid::LINUX_GENERIC, own("state"), "state"),
    ];
    let table = plan_layout(SECTOR, DiskSize::Smallest, own("disk"), &partitions).unwrap();
    let mut disk = vec![0xee; usize::try_from(table.disk_bytes()).unwrap()];
    let mut put = |offset: u64, bytes: &[u8]| {
        let start = usize::try_from(offset).unwrap();
        disk[start..start + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &table.primary_bytes());
    put(table.backup_offset(), &table.backup_bytes());
    put(table.extent(&table.partitions()[1]).0, &version.parts[&PartName::Root]);
    put(table.extent(&table.partitions()[2]).0, &version.parts[&PartName::Verity]);
    disk
}

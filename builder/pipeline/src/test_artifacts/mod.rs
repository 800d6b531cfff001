//! A whole output directory of a few megabytes, made in memory: for tests that read, damage and flash artifacts.

mod executable;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use bundle::{
    Context, Manifest, Part, PartName, ScenarioResult, SchemaVersion, Sha256Digest, SigningKey, TestReport,
    TrustedKeys, sign,
};
use formats::cmdline::CommandLine;
use formats::gpt::{Attributes, DiskSize, PlannedPartition, SectorSize, Table, plan_layout};
use formats::guid::Guid;
use formats::verity::{self, RootHash, Salt};
use fs_err as fs;
use tempfile::TempDir;

pub(crate) use executable::{KERNEL_RELEASE, LOADER_VERSION, kernel, loader, uki};
pub(crate) use formats::pe::sample::set_signature_size;

use crate::partition_table;
use crate::provenance::{self, Facts, Resource, Statement, Use};
use crate::sbom;

/// Version of the image.
pub(crate) const VERSION: &str = "0.1.0";
/// What stands in the initrd.
const INITRD: &[u8] = b"not a real initrd";

/// An output directory and the key that signed it.
pub(crate) struct Artifacts {
    dir: TempDir,
    pub(crate) release: SigningKey,
}

impl Artifacts {
    /// A good one.
    pub(crate) fn new() -> Self {
        let release = key(7);
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Self { dir, release };
        artifacts.fill();
        artifacts
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn trusted(&self) -> TrustedKeys {
        TrustedKeys::new([self.release.public().clone()])
    }

    /// Flips one bit of a file.
    pub(crate) fn flip(&self, name: &str, at: usize) {
        self.change(name, |bytes| bytes[at] ^= 1);
    }

    /// Changes the bytes of a file.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.file(name);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    /// Makes manifest, signature and bundle again from the files as they are: what a careless builder would sign.
    pub(crate) fn seal_again(&self, change: impl FnOnce(&mut Manifest)) {
        let mut manifest = self.manifest_now();
        for part in manifest.parts.values_mut().chain(&mut manifest.disk) {
            *part = self.part(part.file.as_str());
        }
        change(&mut manifest);
        self.write_manifest(&manifest);
    }

    /// Writes a signed test report with these results.
    pub(crate) fn report(&self, results: &[(&str, bool)], signer: &SigningKey) {
        let manifest = fs::read(self.file("manifest.json")).unwrap();
        let scenario = |(name, passed): &(&str, bool)| ScenarioResult {
            name: (*name).to_owned(),
            passed: *passed,
            milliseconds: 1,
        };
        let report = TestReport {
            schema: SchemaVersion,
            image: "tiny".parse().unwrap(),
            version: VERSION.parse().unwrap(),
            manifest: Sha256Digest::of(&manifest),
            accelerator: "kvm".to_owned(),
            scenarios: results.iter().map(scenario).collect(),
        }
        .to_json();
        let signature = sign(report.as_bytes(), Context::TestReport, &[signer]).to_json();
        fs::write(self.file("test-report.json"), report).unwrap();
        fs::write(self.file("test-report.json.sig"), signature).unwrap();
    }

    fn fill(&self) {
        let root: Vec<u8> = (0..5 * 4096_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let tree = verity::build(
            &mut root.as_slice(),
            root.len() as u64,
            &Salt::new(b"salt").unwrap(),
            Guid::derived_from("v"),
        )
        .unwrap();
        let command_line: CommandLine = format!("ro roothash={} quiet", tree.root_hash).parse().unwrap();
        let linux = kernel();
        let uki = uki(&command_line, VERSION, &linux, INITRD);
        let line = command_line.to_string();
        let loader = loader(LOADER_VERSION);
        let files: [(&str, &[u8]); 7] = [
            ("root.erofs", &root),
            ("root.verity", &tree.hash_image),
            ("uki.efi", &uki),
            ("loader.efi", &loader),
            ("linux", &linux),
            ("initrd.cpio.zst", INITRD),
            ("cmdline", line.as_bytes()),
        ];
        for (name, bytes) in files {
            fs::write(self.file(name), bytes).unwrap();
        }
        fs::write(self.file("disk.raw"), disk(&tree.root_hash, &root, &tree.hash_image)).unwrap();
        fs::write(self.file("lock.toml"), LOCK).unwrap();
        for name in sbom::FILES {
            fs::write(self.file(name), "{}\n").unwrap();
        }
        fs::write(self.file("build.json"), r#"{"stages":[{"name":"rootfs","seconds":1.5,"bytes":12}]}"#).unwrap();
        self.write_manifest(&self.manifest(&tree.root_hash));
    }

    fn manifest(&self, root_hash: &RootHash) -> Manifest {
        let names = ["root.erofs", "root.verity", "uki.efi", "loader.efi", "linux", "initrd.cpio.zst", "cmdline"];
        Manifest {
            schema: SchemaVersion,
            image: "tiny".parse().unwrap(),
            version: VERSION.parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            development: true,
            source_date_epoch: 1_700_000_000,
            root_hash: *root_hash,
            kernel: KERNEL_RELEASE.parse().unwrap(),
            loader: Some(LOADER_VERSION.parse().unwrap()),
            min_from_version: None,
            floor: None,
            expires: None,
            disk: Some(self.part("disk.raw")),
            parts: PartName::ALL.into_iter().zip(names).map(|(part, name)| (part, self.part(name))).collect(),
        }
    }

    fn part(&self, name: &str) -> Part {
        let bytes = fs::read(self.file(name)).unwrap();
        Part { file: name.parse().unwrap(), size: bytes.len() as u64, sha256: Sha256Digest::of(&bytes) }
    }

    fn write_manifest(&self, manifest: &Manifest) {
        let text = manifest.to_json().unwrap();
        let signature = sign(text.as_bytes(), Context::Manifest, &[&self.release]).to_json();
        let mut tar = Vec::new();
        bundle::write_bundle(&mut tar, text.as_bytes(), signature.as_bytes(), |_, part| {
            std::fs::File::open(self.file(part.file.as_str()))
        })
        .unwrap();
        fs::write(self.file("bundle.tar"), tar).unwrap();
        fs::write(self.file("manifest.json"), text).unwrap();
        fs::write(self.file("manifest.json.sig"), signature).unwrap();
        self.write_provenance(manifest, |_| {});
    }

    /// Makes a statement over the files as they are, changes and signs it.
    pub(crate) fn write_provenance(&self, manifest: &Manifest, change: impl FnOnce(&mut Statement)) {
        let facts = Facts { manifest, compression: "quick", compiler: "cargo 1.0.0" };
        let lock = Sha256Digest::of(&fs::read(self.file("lock.toml")).unwrap());
        let package = Resource::used(Use::Root, "a", Sha256Digest::of(b"a")).with_version("1".to_owned());
        let dependencies = vec![package, Resource::used(Use::Definition, provenance::LOCK, lock)];
        provenance::make(self.path(), &facts, dependencies, &self.release).unwrap();
        let mut statement = provenance::parse_unverified(&fs::read(self.file(provenance::FILE)).unwrap()).unwrap();
        change(&mut statement);
        let json = statement.to_json().unwrap();
        let signature = sign(json.as_bytes(), Context::Provenance, &[&self.release]).to_json();
        fs::write(self.file(provenance::FILE), json).unwrap();
        fs::write(self.file(provenance::SIGNATURE), signature).unwrap();
    }

    /// The manifest as it stands.
    pub(crate) fn manifest_now(&self) -> Manifest {
        Manifest::parse_unverified(&fs::read(self.file("manifest.json")).unwrap()).unwrap()
    }
}

const LOCK: &str = "schema = 1\n\n[[suite]]\nname = \"trixie\"\n\n[[package]]\nname = \"a\"\nsize = 10\n\n[[package]]\nname = \"b\"\nsize = 5\n";

/// A key that is always the same.
pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_random(&[seed; 32], "test").unwrap()
}

/// The table of a flashed image with this root hash.
pub(crate) fn table(root_hash: &RootHash) -> Table {
    let (root, verity) = root_hash.partition_guids();
    let rows = [
        (Guid::ESP, Guid::derived_from("esp"), "esp", Attributes::NONE),
        (Guid::ROOT_X86_64, root, "tiny_0.1.0", Attributes::READ_ONLY),
        (Guid::ROOT_VERITY_X86_64, verity, "tiny_0.1.0_verity", Attributes::READ_ONLY),
    ];
    let planned = rows.map(|(type_guid, part_guid, name, attributes)| PlannedPartition {
        type_guid,
        part_guid,
        size_bytes: 1 << 20,
        attributes,
        name: name.parse().unwrap(),
    });
    plan_layout(SectorSize::Bytes512, DiskSize::Smallest, Guid::derived_from("disk"), &planned).unwrap()
}

/// The bytes of a disk with this table; the slot holds `root` and `tree`.
fn disk(root_hash: &RootHash, root: &[u8], tree: &[u8]) -> Vec<u8> {
    let table = table(root_hash);
    let mut disk = Cursor::new(vec![0; usize::try_from(table.disk_bytes()).unwrap()]);
    let mut put = |offset: u64, bytes: &[u8]| {
        disk.set_position(offset);
        std::io::Write::write_all(&mut disk, bytes).unwrap();
    };
    for (offset, piece) in partition_table::pieces(&table) {
        put(offset, &piece);
    }
    for (partition, bytes) in table.partitions().iter().zip([b"esp".as_slice(), root, tree]) {
        put(table.extent(partition).0, bytes);
    }
    disk.into_inner()
}

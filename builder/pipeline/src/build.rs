//! The build: one function, one call per line, readable as the specification.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use bundle::Manifest;
use formats::fixedtime::SourceDateEpoch;
use fs_err as fs;
use hostconf::SealedImage;
use tools::{Failure, Progress, ResultExt as _};

use crate::cache::{Hit, KeyBuilder, StageCache};
use crate::definition::Definition;
use crate::keys::{self, KeyRing};
use crate::packages::LockedPackages;
use crate::programs::ToolsTree;
use crate::root_tree::RootTree;
use crate::stages::agent::{self, Toolchain};
use crate::stages::bundle::{self as bundle_stage, ManifestFacts};
use crate::stages::disk::{self, DiskParts, DiskSizes};
use crate::stages::initrd::{self, Initrd, InitrdInput, InitrdSpec};
use crate::stages::overlay::{self, OverlayInput};
use crate::stages::rootfs::{self, RootfsInput};
use crate::stages::seal::{self, SealedRoot};
use crate::stages::uki::{self, Kernel, UkiInput};
use crate::summary::{self, Built, Clock, Summary, summarise};
use crate::trees::ToolsKind;

pub use crate::programs::mkfs_erofs::Compression;

const MIB: u64 = 1 << 20;
/// One part in 64 of a slot is for the hash tree, which needs one in 127 of the data and a little for the levels above.
const VERITY_SHARE: u64 = 64;

/// What the builder is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where packages, tools and finished stages are kept.
    pub cache: PathBuf,
    /// `--mirror` or `CASEMATE_MIRROR`.
    pub mirror: Option<String>,
    /// Whether the network may be used.
    pub offline: bool,
    /// Seconds since 1970; only the age of signatures is judged by it.
    pub now: u64,
    /// What builds the agent.
    pub toolchain: Toolchain,
    /// Names of the build machine that must not get into an image.
    pub build_names: Vec<String>,
}

/// What is to be built.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The image's folder.
    pub image: PathBuf,
    /// Where the artifacts go; default `out/<image>` in the working directory.
    pub output: Option<PathBuf>,
    /// The keys to sign with; default development keys.
    pub keys: Option<PathBuf>,
    /// A lock to build exactly.
    pub locked: Option<PathBuf>,
    /// How hard to compress.
    pub compression: Compression,
}

/// Builds images with one cache.
pub struct Builder {
    pub(crate) settings: Settings,
    pub(crate) progress: Progress,
    stages: StageCache,
    /// The mirror that the image names, once an image is loaded.
    pub(crate) image_mirror: OnceLock<Option<String>>,
}

impl Builder {
    /// A builder with these settings.
    pub fn new(settings: Settings, progress: Progress) -> Self {
        let stages = StageCache::new(settings.cache.join("stages"));
        Self { settings, progress, stages, image_mirror: OnceLock::new() }
    }

    /// Reads a definition, and from it the mirror to use where nobody names another.
    pub(crate) fn load(&self, image: &Path) -> Result<Definition> {
        let definition = Definition::load(image)?;
        self.image_mirror.get_or_init(|| definition.image.mirror.as_ref().map(ToString::to_string));
        Ok(definition)
    }

    /// Where packages, tools and finished stages are kept.
    pub fn cache_dir(&self) -> &Path {
        &self.settings.cache
    }

    /// Where progress is shown.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Builds an image: every stage in order, artifacts renamed into place at the end.
    pub fn build(&self, request: &BuildRequest) -> Result<Built> {
        let mut clock = Clock::new(&self.progress);
        let definition = self.load(&request.image)?;
        let output = request.output.clone().unwrap_or_else(|| Path::new("out").join(definition.image.name.as_str()));
        let work = Self::workspace(&output)?;

        let packages = clock.run("lock", |_| self.locked_packages(&definition, request.locked.as_deref()))?;
        let store = clock.work("fetch", |stage| self.fetch(&packages, stage))?;
        let tools = clock.run("tools", |_| self.tools_tree_of(ToolsKind::Build, &packages.tools))?;
        let keys = self.keys(request.keys.as_deref(), &tools)?;
        let agent = clock.run("agent", |_| {
            agent::build(&self.stages, &definition.repo, &self.settings.cache, &self.settings.toolchain)
        })?;
        let base = clock.run("rootfs", |stage| self.rootfs(&definition, &packages, &store, stage))?;
        let image = sealed_image(&definition, &keys);
        let root = clock.work("overlay", |_| self.overlay(&definition, &base, &image, &agent, &keys, work.path()))?;
        let kernel = uki::find_kernel(&RootTree::new(base.join("root")))?;
        let sealed =
            clock.work("seal", |_| Self::seal(&tools, &root, &image, &packages, work.path(), request.compression))?;
        let initrd = clock.work("initrd", |_| make_initrd(&definition, &root.tree, &kernel, packages.epoch()))?;
        let parts = KernelParts { kernel: &kernel, initrd: &initrd };
        clock.work("uki", |_| make_uki(&tools, &keys, &image, &root.tree, &sealed, &parts, work.path()))?;
        clock.work("disk", |_| make_disk(&tools, &definition, &sealed, work.path(), packages.epoch()))?;
        drop(root);
        let manifest =
            clock.work("bundle", |_| make_bundle(&definition, &keys, &sealed, &kernel, &packages, work.path()))?;
        clock.work("verify", |_| verify_own(work.path(), &keys, &sealed))?;

        let summary = summarise(&manifest, &output, &packages, clock.stages, work.path())?;
        publish(&definition, &packages, &summary, work, &output)?;
        self.warn_of_development(&keys);
        Ok(Built { output, summary })
    }

    fn workspace(output: &Path) -> Result<tempfile::TempDir> {
        let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        Ok(tempfile::Builder::new().prefix(".casemate-build-").tempdir_in(parent)?)
    }

    fn keys(&self, dir: Option<&Path>, tools: &ToolsTree) -> Result<KeyRing> {
        match dir {
            Some(dir) => KeyRing::open(dir),
            None => KeyRing::development(&self.settings.cache, tools),
        }
    }

    fn warn_of_development(&self, keys: &KeyRing) {
        if keys.is_development() {
            self.progress.note(
                "WARNING: signed with DEVELOPMENT keys, and marked so. Anyone with this cache can sign for it. \
                 For a real host: `casemate keys init`, then build with `--keys keys`.",
            );
        }
    }

    /// The tools tree of this kind, fetched and unpacked if it is not there.
    pub fn tools_tree(&self, kind: ToolsKind) -> Result<ToolsTree> {
        let stage = self.progress.stage(kind.name());
        let (tree, hit) = self.tools_tree_hit(kind)?;
        summary::end(stage, hit);
        Ok(tree)
    }

    pub(crate) fn stages(&self) -> &StageCache {
        &self.stages
    }

    fn rootfs(
        &self,
        definition: &Definition,
        packages: &LockedPackages,
        store: &crate::packages::Fetched,
        stage: &tools::Stage,
    ) -> Result<(PathBuf, Hit)> {
        let accounts = hostconf::account_tables(&definition.overlays, definition.image.size.sites);
        let (answers, trim) = (definition.debconf_answers(), definition.trim());
        let mut key = KeyBuilder::new("rootfs", 2)
            .text("passwd", &accounts.passwd)
            .text("group", &accounts.group)
            .text("debconf", &answers);
        key = key.text("trim", &trim.join("\n")).text("memberships", &format!("{:?}", accounts.memberships));
        key = key.text("provided", &format!("{:?}", packages.root.provided));
        for package in &packages.root.packages {
            key = key.text(&package.name.to_string(), &package.sha256.to_string());
        }
        self.stages.get_or_make("rootfs", &key.finish(), |dir| {
            let root = dir.join("root");
            fs::create_dir(&root)?;
            let input = RootfsInput {
                packages: store.root.clone(),
                provided: packages.root.provided.clone(),
                accounts: &accounts,
                debconf_answers: answers,
                trim,
                epoch: packages.epoch(),
                helper: None,
            };
            let report = rootfs::make(&input, &root, &|name| stage.message(name))?;
            fs::write(dir.join("report.txt"), format!("{report:?}\n"))?;
            Ok(())
        })
    }

    fn overlay(
        &self,
        definition: &Definition,
        base: &Path,
        image: &SealedImage,
        agent: &Path,
        keys: &KeyRing,
        work: &Path,
    ) -> Result<MountedRoot> {
        let scratch = tempfile::Builder::new().prefix(".overlay-").tempdir_in(&self.settings.cache)?;
        let [upper, workdir, merged] = ["upper", "work", "root"].map(|name| scratch.path().join(name));
        for dir in [&upper, &workdir, &merged] {
            fs::create_dir(dir)?;
        }
        let mount = tools::mount::overlay(&[&base.join("root")], &upper, &workdir, &merged).remedied()?;
        let tree = RootTree::new(merged);
        let mut operator_keys = definition.operator_keys()?;
        operator_keys.push(keys.operator_public());
        let sealable = overlay::apply(
            &tree,
            &OverlayInput {
                overlays: &definition.overlays,
                overlays_dir: &definition.overlays_dir(),
                units_dir: &definition.units_dir(),
                image,
                agent,
                operator_keys: &operator_keys,
                build_names: &self.settings.build_names,
            },
        )?;
        fs::write(work.join("masked-units.txt"), sealable.masked.join("\n") + "\n")?;
        refuse_findings(&sealable.findings)?;
        Ok(MountedRoot { tree, _mount: mount, _scratch: scratch })
    }

    fn seal(
        tools: &ToolsTree,
        root: &MountedRoot,
        image: &SealedImage,
        packages: &LockedPackages,
        work: &Path,
        compression: Compression,
    ) -> Result<SealedRoot> {
        let identity = format!("{} {}", image.name, image.version);
        let sealed = seal::seal(tools, root.tree.path(), work, &identity, packages.epoch(), compression)?;
        seal::verify(&sealed)?;
        Ok(sealed)
    }
}

/// The finished tree, mounted as long as this lives. The mount goes before the directory that holds it.
struct MountedRoot {
    tree: RootTree,
    _mount: tools::mount::Mount,
    _scratch: tempfile::TempDir,
}

/// What the UKI carries beside its command line.
struct KernelParts<'a> {
    kernel: &'a Kernel,
    initrd: &'a Initrd,
}

fn sealed_image(definition: &Definition, keys: &KeyRing) -> SealedImage {
    let image = &definition.image;
    SealedImage {
        name: image.name.clone(),
        version: image.version.clone(),
        overlays: image.overlays.clone(),
        sites: image.size.sites,
        development: keys.is_development(),
    }
}

fn refuse_findings(findings: &[crate::stages::lint::Finding]) -> Result<()> {
    const SHOWN: usize = 400;
    if findings.is_empty() {
        return Ok(());
    }
    let mut text = format!("the finished tree has {} faults:", findings.len());
    for finding in findings.iter().take(SHOWN) {
        text.push_str(&format!("\n  {finding}"));
    }
    if findings.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", findings.len() - SHOWN));
    }
    Err(Failure::refused(text).hint("declare, drop or remove each path in the overlay that brings it").into())
}

fn make_initrd(definition: &Definition, tree: &RootTree, kernel: &Kernel, epoch: u64) -> Result<Initrd> {
    let units = definition.units_dir();
    let spec: InitrdSpec =
        toml::from_str(&fs::read_to_string(units.join("initrd.toml"))?).context("cannot read `units/initrd.toml`")?;
    let epoch = SourceDateEpoch::from_seconds(u32::try_from(epoch)?);
    initrd::make(&InitrdInput {
        tree,
        spec: &spec,
        own: &units.join("initrd"),
        release: &kernel.release,
        epoch,
        helper: None,
    })
}

fn make_uki(
    tools: &ToolsTree,
    keys: &KeyRing,
    image: &SealedImage,
    tree: &RootTree,
    sealed: &SealedRoot,
    parts: &KernelParts<'_>,
    work: &Path,
) -> Result<()> {
    let command_line = uki::command_line(&sealed.root_hash)?;
    let os_release = tree.read_text("/usr/lib/os-release")?.parse()?;
    let files = keys.secure_boot();
    let (pair, uki_path) = (keys::pair(&files), work.join("uki.efi"));
    let input = UkiInput {
        kernel: parts.kernel,
        initrd: &parts.initrd.bytes,
        command_line: &command_line,
        os_release: &os_release,
    };
    uki::make(tools, &input, pair, &uki_path)?;
    fs::write(work.join("linux"), &parts.kernel.image)?;
    fs::write(work.join("initrd.cpio.zst"), &parts.initrd.bytes)?;
    fs::write(work.join("cmdline"), command_line.to_string())?;
    let esp = work.join("esp");
    fs::create_dir(&esp)?;
    uki::lay_out_esp(tools, pair, &label(image), &uki_path, &keys.enrolment(), &esp)
}

/// Slot B and state are made on the host by `units/initrd/usr/lib/repart.d`, which knows these sizes and no others.
fn refuse_other_sizes(esp: u64, slot: u64) -> Result<()> {
    if (esp, slot) == (512 * MIB, 2048 * MIB) {
        return Ok(());
    }
    let found = format!("image.toml asks for an ESP of {} MiB and slots of {} MiB", esp / MIB, slot / MIB);
    Err(Failure::refused(found).hint("set `esp = \"512M\"` and `slot = \"2G\"`: hosts have no other layout yet").into())
}

fn make_disk(tools: &ToolsTree, definition: &Definition, sealed: &SealedRoot, work: &Path, epoch: u64) -> Result<()> {
    let size = &definition.image.size;
    let slot = size.slot.bytes();
    refuse_other_sizes(size.esp.bytes(), slot)?;
    let verity = (slot / VERITY_SHARE).next_multiple_of(MIB);
    let esp = work.join("esp");
    let parts = DiskParts {
        label: &format!("{}_{}", definition.image.name, definition.image.version),
        root: &sealed.root,
        verity: &sealed.verity,
        root_hash: &sealed.root_hash,
        esp: &esp,
        sizes: DiskSizes { esp: size.esp.bytes(), root: slot - verity, verity },
    };
    disk::make(tools, &parts, &work.join("disk.raw"), epoch)?;
    Ok(fs::remove_dir_all(&esp)?)
}

fn make_bundle(
    definition: &Definition,
    keys: &KeyRing,
    sealed: &SealedRoot,
    kernel: &Kernel,
    packages: &LockedPackages,
    work: &Path,
) -> Result<Manifest> {
    let facts = ManifestFacts {
        image: definition.image.name.as_str(),
        version: definition.image.version.as_str(),
        development: keys.is_development(),
        epoch: packages.epoch(),
        root_hash: &sealed.root_hash.to_string(),
        kernel: &kernel.release,
    };
    bundle_stage::make(work, &facts, &keys.release()?)
}

/// The builder's own last look: what is about to be published is read back.
fn verify_own(work: &Path, keys: &KeyRing, sealed: &SealedRoot) -> Result<()> {
    seal::verify(sealed)?;
    let (json, signature) = (fs::read(work.join("manifest.json"))?, fs::read(work.join("manifest.json.sig"))?);
    bundle::verify(&json, &signature, bundle::Context::Manifest, &keys.release_public()?, std::num::NonZeroUsize::MIN)?;
    Ok(())
}

fn publish(
    definition: &Definition,
    packages: &LockedPackages,
    summary: &Summary,
    work: tempfile::TempDir,
    output: &Path,
) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(work.path().join("lock.toml"), packages.to_toml()?)?;
    fs::write(work.path().join("ports.md"), hostconf::PortTable::new(&definition.overlays).to_markdown())?;
    fs::write(work.path().join("build.json"), serde_json::to_string_pretty(summary)? + "\n")?;
    let example = definition.image_dir.join("host.example.toml");
    if example.is_file() {
        fs::copy(example, work.path().join("host.example.toml"))?;
    }
    fs::set_permissions(work.path(), std::fs::Permissions::from_mode(0o755))?;
    tools::publish_dir(work.path(), output).remedied()?;
    // The directory has its final name now: there is nothing left to clean up.
    drop(work.keep());
    Ok(())
}

fn label(image: &SealedImage) -> String {
    format!("{}_{}", image.name, image.version)
}

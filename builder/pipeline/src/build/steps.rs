//! The steps of a build between its inputs and its artifacts, each kept in the cache under its key.

use std::path::{Path, PathBuf};

use anyhow::Result;
use formats::fixedtime::SourceDateEpoch;
use formats::verity::RootHash;
use fs_err as fs;
use tools::{Failure, ResultExt as _, Scratch, Stage};

use super::Builder;
use super::inputs::Inputs;
use crate::assets::StoredAsset;
use crate::cache::{ASSETS, Hit, Key};
use crate::keys;
use crate::packages::Fetched;
use crate::root_tree::RootTree;
use crate::sbom::{self, Materials};
use crate::stages::initrd::{self, InitrdInput};
use crate::stages::lint::Finding;
use crate::stages::overlay::{self, OverlayInput};
use crate::stages::rootfs::{self, RootfsInput};
use crate::stages::seal::{self, SealedRoot};
use crate::stages::skeleton;
use crate::stages::uki::{self, EspContent, Kernel, UkiInput};

/// Files of the finished steps, under these names in the cache as in the output.
const ROOT_HASH: &str = "root-hash";
/// What a step over a mounted root changed, as overlayfs keeps it.
const UPPER: &str = "upper";
const INITRD: &str = "initrd.cpio.zst";
/// Start of the names of the places in the cache where finished roots are mounted.
pub(super) const VIEW: &str = ".view-";

/// Where the trees are that the finished root is made of.
#[derive(Debug)]
pub(super) struct Layers {
    /// The configured root, topmost layer first.
    pub(super) base: Vec<PathBuf>,
    /// What the overlays changed, as overlayfs keeps it.
    pub(super) upper: PathBuf,
    /// The units that can never start, one per line.
    pub(super) masked: PathBuf,
    /// The bills of materials, in the order of [`sbom::FILES`].
    pub(super) bills: [PathBuf; 2],
}

/// The finished root, mounted read-only as long as this lives. The mount goes before the directory that holds it.
#[derive(Debug)]
struct MountedRoot {
    tree: RootTree,
    _mount: tools::mount::Mount,
    _scratch: Scratch,
}

/// The directories of an overlayfs mount that a step works in.
struct Places {
    upper: PathBuf,
    work: PathBuf,
    merged: PathBuf,
}

impl Places {
    fn make(dir: &Path) -> Result<Self> {
        let [upper, work, merged] = [UPPER, "work", "root"].map(|name| dir.join(name));
        for path in [&upper, &work, &merged] {
            fs::create_dir(path)?;
        }
        Ok(Self { upper, work, merged })
    }

    /// Shows `lower`, topmost first, with what is changed going to `upper`.
    fn mount(&self, lower: &[&Path]) -> Result<tools::mount::Mount> {
        tools::mount::overlay(lower, &self.upper, &self.work, &self.merged).remedied()
    }

    /// Removes all but `upper`, once nothing is mounted any more.
    fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.work)?;
        Ok(fs::remove_dir(&self.merged)?)
    }
}

impl Layers {
    fn mount(&self, cache: &Path) -> Result<MountedRoot> {
        let scratch = Scratch::new(cache, VIEW).remedied()?;
        let layers: Vec<&Path> = [&self.upper].into_iter().chain(&self.base).map(PathBuf::as_path).collect();
        let mount = tools::mount::overlay_read_only(&layers, scratch.path()).remedied()?;
        Ok(MountedRoot { tree: RootTree::new(scratch.path().to_owned()), _mount: mount, _scratch: scratch })
    }
}

impl Builder {
    pub(super) fn rootfs(&self, inputs: &Inputs, store: &Fetched, stage: &Stage) -> Result<(PathBuf, Hit)> {
        let (dir, hit) = self.stages.get_or_make(&inputs.rootfs_key(), |dir| {
            self.mend_store(&inputs.packages.root, stage)?;
            let root = dir.join("root");
            fs::create_dir(&root)?;
            let input = RootfsInput {
                packages: store.root.clone(),
                provided: inputs.packages.root.provided.clone(),
                accounts: &inputs.accounts,
                debconf_answers: inputs.definition.debconf_answers(),
                trim: inputs.definition.trim(),
                epoch: inputs.packages.epoch(),
                helper: None,
            };
            let report = rootfs::make(&input, &root, &|name| stage.message(name))?;
            fs::write(dir.join("report.txt"), format!("{report:?}\n"))?;
            Ok(fs::write(dir.join("lock.toml"), inputs.packages.to_toml()?)?)
        })?;
        Ok((dir.join("root"), hit))
    }

    /// The roots for jailed services, as a layer over the configured root `base`.
    pub(super) fn skeleton(&self, inputs: &Inputs, key: &Key, base: &Path) -> Result<(PathBuf, Hit)> {
        let (dir, hit) = self.stages.get_or_make(key, |dir| {
            let places = Places::make(dir)?;
            let mount = places.mount(&[base, inputs.tools.result.root()])?;
            let rows = inputs.definition.skeletons();
            let (base, merged) = (RootTree::new(base.to_owned()), RootTree::new(places.merged.clone()));
            skeleton::make(&rows, &base, &merged)?;
            mount.unmount().remedied()?;
            places.remove()?;
            skeleton::settle(&rows, &RootTree::new(places.upper))
        })?;
        Ok((dir.join(UPPER), hit))
    }

    pub(super) fn overlay(&self, inputs: &Inputs, base: Vec<PathBuf>, assets: &[StoredAsset]) -> Result<(Layers, Hit)> {
        let (dir, hit) = self.stages.get_or_make(&inputs.overlay_key()?, |dir| {
            let places = Places::make(dir)?;
            let mount = places.mount(&base.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
            let tree = RootTree::new(places.merged.clone());
            let crates = fs::read_to_string(inputs.definition.repo.join("Cargo.lock"))?;
            let bill = Materials::gather(&tree, &inputs.image, &inputs.packages.root, assets, &crates)?.to_bill()?;
            tree.write(sbom::IN_IMAGE, bill.spdx.as_bytes(), 0o644)?;
            sbom::write_beside(&bill, dir)?;
            let masked = lay_overlays(inputs, assets, &tree, dir)?;
            mount.unmount().remedied()?;
            places.remove()?;
            // What pruning must keep while this is kept.
            let digests: Vec<String> = assets.iter().map(|asset| asset.sha256.to_string()).collect();
            fs::write(dir.join(ASSETS), digests.join("\n"))?;
            Ok(fs::write(dir.join("masked-units.txt"), masked)?)
        })?;
        let [upper, masked] = [UPPER, "masked-units.txt"].map(|name| dir.join(name));
        let layers = Layers { base, upper, masked, bills: sbom::FILES.map(|name| dir.join(name)) };
        Ok((layers, hit))
    }

    pub(super) fn seal(&self, inputs: &Inputs, layers: &Layers) -> Result<(SealedRoot, Hit)> {
        let (dir, hit) = self.stages.get_or_make(&inputs.seal_key()?, |dir| {
            let root = layers.mount(&self.settings.cache)?;
            let identity = format!("{} {}", inputs.image.name, inputs.image.version);
            let epoch = inputs.packages.epoch();
            // What is published is read back against the root hash: once, at the end of the build.
            let sealed = seal::seal(&inputs.tools.result, root.tree.path(), dir, &identity, epoch, inputs.compression)?;
            Ok(fs::write(dir.join(ROOT_HASH), sealed.root_hash.to_string())?)
        })?;
        let root_hash: RootHash = fs::read_to_string(dir.join(ROOT_HASH))?.parse()?;
        Ok((SealedRoot { root: dir.join("root.erofs"), verity: dir.join("root.verity"), root_hash }, hit))
    }

    pub(super) fn initrd(&self, inputs: &Inputs, layers: &Layers, kernel: &Kernel) -> Result<(PathBuf, Hit)> {
        let key = inputs.initrd_key(&layers.upper)?;
        let (dir, hit) = self.stages.get_or_make(&key, |dir| {
            let root = layers.mount(&self.settings.cache)?;
            let initrd = initrd::make(&InitrdInput {
                tree: &root.tree,
                spec: &inputs.initrd,
                own: &inputs.definition.units_dir().join("initrd"),
                release: &kernel.release,
                compression: inputs.compression,
                epoch: SourceDateEpoch::from_seconds(u32::try_from(inputs.packages.epoch())?),
                scratch: dir,
                helper: None,
            })?;
            Ok(fs::write(dir.join(INITRD), &initrd.bytes)?)
        })?;
        Ok((dir.join(INITRD), hit))
    }

    /// The signed kernel image, its command line, and the content of the ESP, in one directory.
    pub(super) fn uki(&self, inputs: &Inputs, parts: &KernelParts<'_>) -> Result<(PathBuf, Hit)> {
        let initrd = inputs.initrd_key(&parts.layers.upper)?;
        self.stages.get_or_make(&inputs.uki_key(&inputs.seal_key()?, &initrd)?, |dir| {
            let command_line = uki::command_line(&parts.sealed.root_hash)?;
            let os_release = RootTree::new(parts.layers.upper.clone()).read_text("/usr/lib/os-release")?.parse()?;
            let epoch = inputs.packages.epoch();
            let (files, uki_path) = (inputs.keys.secure_boot(), dir.join("uki.efi"));
            let (pair, tools) = (keys::pair(&files), &inputs.tools.result);
            let input = UkiInput {
                kernel: parts.kernel,
                initrd: &fs::read(parts.initrd)?,
                command_line: &command_line,
                os_release: &os_release,
                epoch,
            };
            uki::make(tools, &input, pair, &uki_path)?;
            fs::write(dir.join("cmdline"), command_line.to_string())?;
            let esp = dir.join("esp");
            fs::create_dir(&esp)?;
            let (label, enrolment) = (inputs.label(), inputs.keys.enrolment());
            let content = EspContent { label: &label, uki: &uki_path, enrolment: &enrolment, epoch };
            uki::lay_out_esp(tools, pair, &content, &esp)
        })
    }
}

/// What the signed kernel image is made of.
pub(super) struct KernelParts<'a> {
    pub(super) layers: &'a Layers,
    pub(super) kernel: &'a Kernel,
    pub(super) initrd: &'a Path,
    pub(super) sealed: &'a SealedRoot,
}

/// Lays everything over `tree`, refuses what the lint finds, and returns the masked units, one per line.
fn lay_overlays(inputs: &Inputs, assets: &[StoredAsset], tree: &RootTree, scratch: &Path) -> Result<String> {
    let sealable = overlay::apply(
        tree,
        &OverlayInput {
            overlays: &inputs.definition.overlays,
            overlay_folders: &inputs.definition.overlay_folders(),
            units_dir: &inputs.definition.units_dir(),
            image: &inputs.image,
            agent: &inputs.agent.result,
            operator_keys: &inputs.operator_keys,
            trust_root: &inputs.trust_root,
            build_names: &inputs.build_names,
            assets,
            tools: &inputs.tools.result,
            epoch: inputs.packages.epoch(),
            scratch,
        },
    )?;
    refuse_findings(&sealable.findings)?;
    Ok(sealable.masked.join("\n") + "\n")
}

fn refuse_findings(findings: &[Finding]) -> Result<()> {
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

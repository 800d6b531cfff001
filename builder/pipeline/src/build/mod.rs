//! The build: one function, one call per line, readable as the specification.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;
use hostconf::SealedImage;
use tools::{Progress, ResultExt as _, scratch};

use self::artifacts::Finished;
use self::inputs::{Brought, Inputs};
use self::steps::{KernelParts, VIEW};
use crate::cache::{Hit, InUse, Key, Limit, OutputRecord, Outputs, Pruned, StageCache};
use crate::definition::Definition;
use crate::explain::explain;
use crate::keys::KeyRing;
use crate::programs::ToolsTree;
use crate::root_tree::RootTree;
use crate::sealed_trust_root::SealedTrustRoot;
use crate::stages::agent::{self, Toolchain};
use crate::stages::uki;
use crate::summary::{self, Built, Clock, Summary, summarise};
use crate::trees::ToolsKind;

mod artifacts;
mod inputs;
mod steps;

pub use crate::programs::mkfs_erofs::Compression;

/// What the builder is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where packages, tools and finished stages are kept.
    pub cache: PathBuf,
    /// `--mirror` or `CASEMATE_MIRROR`.
    pub mirror: Option<String>,
    /// Whether the network may be used.
    pub offline: bool,
    /// How long a mirror may send nothing.
    pub patience: Duration,
    /// Seconds since 1970; the age of signatures is judged by it, and statements of what is newest begin with it.
    pub now: u64,
    /// What builds the agent.
    pub toolchain: Toolchain,
    /// Names of the build machine that must not get into an image.
    pub build_names: Vec<String>,
    /// Whether the builder runs as an ordinary user, with subordinate ids.
    pub own_ids: bool,
    /// How large the cache may be after a build.
    pub cache_limit: Limit,
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
    in_use: InUse,
    stages: StageCache,
    outputs: Outputs,
    /// The mirror that the image names, once an image is loaded.
    pub(crate) image_mirror: OnceLock<Option<String>>,
}

impl Builder {
    /// A builder with these settings.
    pub fn new(settings: Settings, progress: Progress) -> Result<Self> {
        let in_use = InUse::new(&settings.cache)?;
        let stages = StageCache::new(settings.cache.join("stages"));
        let outputs = Outputs::new(settings.cache.join("outputs"));
        Ok(Self { settings, progress, in_use, stages, outputs, image_mirror: OnceLock::new() })
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
        self.tell_abandoned(self.stages.remove_abandoned());
        self.tell_abandoned(scratch::remove_abandoned(&self.settings.cache, VIEW).remedied().map(|paths| paths.len()));
        let inputs = self.inputs(request, &mut clock)?;
        let output = request.output.clone().unwrap_or_else(|| Path::new("out").join(inputs.image.name.as_str()));
        self.tell_abandoned(artifacts::remove_abandoned(&output));
        let image_key = inputs.image_key()?;
        let last = self.outputs.last(&output);
        let built = match last.as_ref().filter(|last| is_same(last, &image_key, &output)) {
            Some(last) => self.unchanged(last, &output, clock)?,
            None => self.make(&inputs, &output, &image_key, clock, last.as_ref())?,
        };
        self.warn_of_development(&inputs.keys);
        self.warn_of_own_trust_root(&inputs);
        self.prune_after_build();
        Ok(built)
    }

    /// What killed builds left is in nobody's way, so a failure to remove it is told and no more.
    fn tell_abandoned(&self, removed: Result<usize>) {
        match removed {
            Ok(0) => {}
            Ok(count) => self.progress.note(&format!("removed what {count} unfinished stages of killed builds left")),
            Err(error) => self.progress.note(&format!("WARNING: cannot remove what killed builds left: {error:#}")),
        }
    }

    /// Everything that shapes the artifacts, brought in and read.
    fn inputs(&self, request: &BuildRequest, clock: &mut Clock<'_>) -> Result<Inputs> {
        let definition = self.load(&request.image)?;
        let packages = clock.run("lock", |_| self.locked_packages(&definition, request.locked.as_deref()))?;
        let tools = clock.run("tools", |_| self.tools_tree_of(ToolsKind::Build, &packages.tools))?;
        let tools = Brought { result: tools, key: self.key_of(ToolsKind::Build.name())? };
        let keys = self.keys(request.keys.as_deref(), &tools.result)?;
        let trust_root = SealedTrustRoot::of_image(&definition, &keys)?;
        let agent = clock.run("agent", |_| {
            agent::build(&self.stages, &definition.repo, &self.settings.cache, &self.settings.toolchain)
        })?;
        let mut operator_keys = definition.operator_keys()?;
        operator_keys.push(keys.operator_public());
        let initrd = fs::read_to_string(definition.units_dir().join("initrd.toml"))?;
        Ok(Inputs {
            image: sealed_image(&definition, &keys),
            accounts: hostconf::account_tables(&definition.overlays, definition.image.size.sites),
            initrd: toml::from_str(&initrd).context("cannot read `units/initrd.toml`")?,
            agent: Brought { result: agent, key: self.key_of("agent")? },
            build_names: self.settings.build_names.clone(),
            compression: request.compression,
            own_ids: self.settings.own_ids,
            definition,
            packages,
            tools,
            keys,
            operator_keys,
            trust_root,
        })
    }

    /// Runs the stages whose inputs changed and publishes the result.
    fn make(
        &self,
        inputs: &Inputs,
        output: &Path,
        image_key: &Key,
        mut clock: Clock<'_>,
        last: Option<&OutputRecord>,
    ) -> Result<Built> {
        let (store, assets) = clock.work("fetch", |stage| {
            Ok((self.fetch(&inputs.packages, stage)?, self.fetch_assets(&inputs.definition)?))
        })?;
        let base = clock.run("rootfs", |stage| self.rootfs(inputs, &store, stage))?;
        let mut lower = vec![base.clone()];
        if let Some(key) = inputs.skeleton_key() {
            lower.insert(0, clock.run("skeleton", |_| self.skeleton(inputs, &key, &base))?);
        }
        let layers = clock.run("overlay", |_| self.overlay(inputs, lower, &assets))?;
        let kernel = uki::find_kernel(&RootTree::new(base))?;
        let (sealed, initrd) = clock.both(
            ("seal", |_: &_| self.seal(inputs, &layers)),
            ("initrd", |_: &_| self.initrd(inputs, &layers, &kernel)),
        )?;
        let parts = KernelParts { layers: &layers, kernel: &kernel, initrd: &initrd, sealed: &sealed };
        let uki = clock.run("uki", |_| self.uki(inputs, &parts))?;

        let finished = Finished { layers: &layers, kernel: &kernel, sealed: &sealed, initrd: &initrd, uki: &uki };
        let work = artifacts::workspace(output)?;
        artifacts::check_room(&finished, work.path())?;
        clock.work("disk", |_| {
            std::thread::scope(|scope| {
                let copies = scope.spawn(|| artifacts::copy_parts(&finished, work.path()));
                artifacts::make_disk(inputs, &finished, work.path())?;
                copies.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        let manifest = clock.work("bundle", |_| {
            let manifest = artifacts::make_bundle(inputs, &finished, work.path())?;
            let compiler = agent::compiler(&inputs.definition.repo, &self.settings.toolchain)?;
            artifacts::make_provenance(inputs, &manifest, &assets, &compiler, work.path())?;
            Ok(manifest)
        })?;
        clock.work("verify", |_| artifacts::verify_own(inputs, &finished, work.path()))?;
        self.stages.record(image_key, Hit::Made);

        let summary = summarise(&manifest, output, &inputs.packages, clock.stages, work.path())?;
        artifacts::publish(inputs, &summary, work, output)?;
        let asked = self.stages.asked();
        let keys = asked.iter().map(|row| (row.key.stage().to_owned(), row.key.clone())).collect();
        if let Err(error) = self.outputs.remember(output, keys) {
            // The output is there and whole; without the note the next build makes it once more.
            self.progress.note(&format!("WARNING: cannot note what the output was made of: {error:#}"));
        }
        let reasons = explain(&asked, last.map(|last| &last.keys));
        Ok(Built { output: output.to_owned(), summary, unchanged: false, reasons })
    }

    /// The output is there and nothing that it was made of changed.
    fn unchanged(&self, last: &OutputRecord, output: &Path, clock: Clock<'_>) -> Result<Built> {
        self.stages.mark_used(last.keys.values())?;
        for key in last.keys.values() {
            if self.stages.key_of(key.stage()).is_none() {
                self.stages.record(key, Hit::Cached);
            }
        }
        let mut summary: Summary = serde_json::from_slice(&fs::read(output.join("build.json"))?)?;
        summary.stages = clock.stages;
        output.clone_into(&mut summary.output);
        let reasons = explain(&self.stages.asked(), Some(&last.keys));
        Ok(Built { output: output.to_owned(), summary, unchanged: true, reasons })
    }

    fn key_of(&self, stage: &str) -> Result<Key> {
        self.stages.key_of(stage).with_context(|| format!("the stage `{stage}` was not asked for"))
    }

    /// Makes the cache smaller; `None` while another program uses it.
    pub fn prune(&self, limit: Limit) -> Result<Option<Pruned>> {
        self.in_use.prune(limit)
    }

    /// The image is there whatever becomes of the cache, so a failure is told and no more.
    fn prune_after_build(&self) {
        let note = match self.prune(self.settings.cache_limit) {
            Ok(pruned) => pruned
                .filter(|pruned| !pruned.stages.is_empty())
                .map(|pruned| format!("the cache was above its limit: {} old stages removed", pruned.stages.len())),
            Err(error) => Some(format!("WARNING: the cache cannot be made smaller: {error:#}")),
        };
        if let Some(note) = note {
            self.progress.note(&note);
        }
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

    fn warn_of_own_trust_root(&self, inputs: &Inputs) {
        if inputs.trust_root.file().is_none() && !inputs.keys.is_development() {
            self.progress.note(
                "WARNING: image.toml names no trust root, so the release key alone decides about updates, also about who follows it. \
                 For real hosts: `casemate trust-root new` with keys that are kept offline (docs/operations/updates-publish.md).",
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
}

/// Whether the last build into `output` had the same inputs and nobody wrote to its result.
fn is_same(last: &OutputRecord, image: &Key, output: &Path) -> bool {
    last.keys.get(image.stage()) == Some(image) && last.still_there(output)
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

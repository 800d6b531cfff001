//! Packages: chosen from the archive, locked, fetched. The only part of a build that uses the network.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context as _, Result};
use debian::archive::{Access, Archive};
use debian::date::UnixTime;
use debian::extract::SpecialFiles;
use debian::fetch::{self, Network, fetch_all};
use debian::http::Http;
use debian::keyring::Keyring;
use debian::lock::Lock;
use debian::mirror::{Mirrors, load_apt_sources};
use debian::package::PackageName;
use debian::plan::PlanOptions;
use debian::release::Freshness;
use debian::resolve::Base;
use debian::root_dir::Ownership;
use debian::rootfs::{UnpackInput, UnpackOptions, unpack_only};
use debian::store::Store;
use debian::suite::{Component, Suite};
use debian::trim::TrimRules;
use fs_err as fs;
use tools::failure::HintExt as _;
use tools::{Failure, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Stage, Tool};

use crate::build::Builder;
use crate::cache::{Hit, KeyBuilder};
use crate::definition::Definition;
use crate::programs::ToolsTree;
use crate::trees::ToolsKind;

/// The release that tools trees are made of.
const TOOLS_SUITE: &str = "trixie";

/// The packages of a root.
#[derive(Debug)]
pub struct LockedPackages {
    /// The lock.
    pub root: Lock,
}

impl LockedPackages {
    /// The time that the whole image carries: the date of the newest Release, seconds since 1970.
    pub fn epoch(&self) -> u64 {
        self.root.source_date_epoch
    }

    /// The lock as text.
    pub fn to_toml(&self) -> Result<String> {
        Ok(self.root.render()?)
    }
}

/// The package files of a root, in the store.
#[derive(Debug)]
pub struct Fetched {
    /// What to unpack.
    pub root: Vec<UnpackInput>,
}

impl Builder {
    /// Chooses the packages of an image from the archive as it is now.
    pub fn lock(&self, image: &Path) -> Result<Lock> {
        let definition = self.load(image)?;
        let stage = self.progress.stage("lock");
        let lock = self.resolve_image(&definition)?;
        stage.done();
        Ok(lock)
    }

    /// The packages of a lock file, or of the archive as it is now.
    pub(crate) fn locked_packages(
        &self,
        definition: &Definition,
        locked: Option<&Path>,
    ) -> Result<(LockedPackages, Hit)> {
        let Some(path) = locked else {
            return Ok((LockedPackages { root: self.resolve_image(definition)? }, Hit::Made));
        };
        let lock =
            Lock::parse(&fs::read_to_string(path)?).or_refuse("make the lock anew with `casemate lock IMAGE`")?;
        let mut locked: Vec<String> = lock.wanted.iter().map(ToString::to_string).collect();
        locked.sort();
        if locked != definition.packages() {
            return Err(Failure::refused(format!(
                "`{}` was made for other packages than this image asks for",
                path.display()
            ))
            .hint("make the lock anew with `casemate lock IMAGE`")
            .into());
        }
        Ok((LockedPackages { root: lock }, Hit::Cached))
    }

    /// Brings every package into the store.
    pub(crate) fn fetch(&self, packages: &LockedPackages, stage: &Stage) -> Result<Fetched> {
        Ok(Fetched { root: self.fetch_lock(&packages.root, stage)? })
    }

    /// The tools tree of this kind, and whether it was there.
    pub(crate) fn tools_tree_hit(&self, kind: ToolsKind) -> Result<(ToolsTree, Hit)> {
        let stage = self.progress.stage(format!("{} packages", kind.name()));
        let lock = Self::resolve(
            &self.archive(&TOOLS_SUITE.parse()?, &[Component::main()])?,
            kind.packages().iter().copied(),
            Base::Empty,
        )?;
        let inputs = self.fetch_lock(&lock, &stage)?;
        stage.done();
        let mut key = KeyBuilder::new(kind.name(), 1);
        for package in &lock.packages {
            key = key.text(&format!("package {}", package.name), &package.sha256.to_string());
        }
        let (dir, hit) = self.stages().get_or_make(&key.finish(), |dir| {
            let root = dir.join("root");
            fs::create_dir(&root)?;
            unpack_only(&inputs, &root, &tools_options()?)?;
            finish_tools_tree(&root)?;
            Ok(fs::write(dir.join("lock.toml"), lock.render()?)?)
        })?;
        Ok((ToolsTree::new(dir.join("root"), None), hit))
    }

    fn resolve_image(&self, definition: &Definition) -> Result<Lock> {
        let components = definition
            .image
            .components
            .iter()
            .map(|name| Ok(name.as_str().parse()?))
            .collect::<Result<Vec<Component>>>()?;
        let archive = self.archive(&definition.image.suite.as_str().parse()?, &components)?;
        let names = definition.packages();
        Self::resolve(&archive, names.iter().map(String::as_str), Base::Essential)
    }

    fn resolve<'n>(archive: &Archive, names: impl Iterator<Item = &'n str>, base: Base) -> Result<Lock> {
        let wanted = names.map(|name| Ok(name.parse()?)).collect::<Result<Vec<PackageName>>>()?;
        archive.lock(&wanted, base).or_refuse("name packages that Debian 13 carries and that go together")
    }

    fn archive(&self, suite: &debian::suite::SuiteName, components: &[Component]) -> Result<Archive> {
        let (http, mirrors, keyring) = (Http::default(), self.mirrors()?, Keyring::debian()?);
        let access = Access {
            cache: &self.settings.cache,
            network: self.network(&http, &mirrors),
            keyring: &keyring,
            freshness: Freshness::default(),
            now: UnixTime(self.settings.now),
        };
        let suites = Suite::of_release(suite, components);
        Archive::open(&access, &suites, &"amd64".parse()?).context("cannot use the Debian archive")
    }

    fn fetch_lock(&self, lock: &Lock, stage: &Stage) -> Result<Vec<UnpackInput>> {
        let (http, mirrors) = (Http::default(), self.mirrors()?);
        let store = Store::open(&self.settings.cache.join("packages"))?;
        let paths = fetch_all(&store, &lock.downloads()?, self.network(&http, &mirrors), &ShowFetch(stage))
            .context("cannot fetch packages")?;
        let inputs = lock.packages.iter().zip(paths);
        Ok(inputs
            .map(|(package, path)| UnpackInput {
                name: package.name.to_string(),
                path,
                sha256: package.sha256,
                size: package.size,
            })
            .collect())
    }

    fn network<'a>(&self, http: &'a Http, mirrors: &'a Mirrors) -> Network<'a> {
        if self.settings.offline { Network::Offline } else { Network::Online(http, mirrors) }
    }

    /// `--mirror` and `CASEMATE_MIRROR` first, then `image.toml`, then the build machine's own apt sources.
    fn mirrors(&self) -> Result<Mirrors> {
        let of_image = self.image_mirror.get().and_then(Option::as_ref);
        if let Some(text) = self.settings.mirror.as_ref().or(of_image) {
            return text.parse().or_refuse("give `--mirror URL` or `--mirror ARCHIVE_URL,SECURITY_URL`");
        }
        load_apt_sources(Path::new("/etc/apt"))?.ok_or_else(|| {
            Failure::refused("no Debian mirror is known: this machine has no apt sources for Debian")
                .hint("name one with `--mirror URL` or in the environment as CASEMATE_MIRROR")
                .into()
        })
    }
}

/// Shows the download on a stage.
struct ShowFetch<'a>(&'a Stage);

impl fetch::Progress for ShowFetch<'_> {
    fn begin(&self, files: usize, bytes: u64) {
        self.0.total_bytes(bytes);
        self.0.message(&format!("{files} files"));
    }

    fn advance(&self, bytes: u64) {
        self.0.advance(bytes);
    }

    fn finish(&self, label: &str) {
        self.0.message(label);
    }
}

fn tools_options() -> Result<UnpackOptions> {
    Ok(UnpackOptions {
        jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        ownership: Ownership::Numeric,
        special_files: SpecialFiles::Refuse,
        trim: TrimRules::parse([
            "/usr/share/doc/**",
            "/usr/share/man/**",
            "/usr/share/locale/**",
            "/usr/share/info/**",
        ])?,
        users: Vec::new(),
        groups: Vec::new(),
        placeholders: Vec::new(),
        plan: PlanOptions { architecture: "amd64".into(), ..PlanOptions::default() },
    })
}

/// What maintainer scripts would have made and programs cannot do without: the library cache, accounts, mount points.
fn finish_tools_tree(root: &Path) -> Result<()> {
    for dir in ["proc", "dev", "sys", "run", "tmp", "etc", "var/tmp", "root"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for (master, target) in [("passwd.master", "passwd"), ("group.master", "group")] {
        let master = root.join("usr/share/base-passwd").join(master);
        if master.exists() {
            fs::copy(master, root.join("etc").join(target))?;
        }
    }
    let runner = SandboxRunner::new(Sandbox::new(root).writable());
    runner.run(&Tool::new("/usr/sbin/ldconfig")).remedied()?;
    Ok(())
}

//! Packages: chosen from the archive, locked, fetched. The only part of a build that uses the network.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context as _, Result};
use debian::archive::{Access, ArchiveError};
use debian::choice::Choices;
use debian::date::{DAY, UnixTime};
use debian::extract::SpecialFiles;
use debian::fetch::{self, Network, fetch_all};
use debian::keyring::Keyring;
use debian::lock::Lock;
use debian::mirror::{Mirrors, load_apt_sources};
use debian::package::{Architecture, PackageName};
use debian::plan::PlanOptions;
use debian::release::Freshness;
use debian::resolve::Base;
use debian::root_dir::Ownership;
use debian::rootfs::{UnpackInput, UnpackOptions, unpack_only};
use debian::store::Store;
use debian::suite::{Component, Suite};
use debian::trim::TrimRules;
use debian::wish::Wish;
use download::Http;
use fs_err as fs;
use tools::failure::HintExt as _;
use tools::{Failure, ResultExt as _, Runner as _, Sandbox, SandboxRunner, Stage, Tool};

use crate::assets::{self, StoredAsset};
use crate::build::Builder;
use crate::cache::{Hit, KeyBuilder};
use crate::definition::Definition;
use crate::programs::ToolsTree;
use crate::trees::ToolsKind;

/// The release that tools trees are made of.
const TOOLS_SUITE: &str = "trixie";

/// How long a tools tree is used before it is compared with the archive again.
const TOOLS_MAX_AGE: u64 = 7 * DAY;
/// What to do about a lock that does not fit.
const LOCK_ANEW: &str = "make the lock anew with `casemate lock IMAGE`";

/// The packages that an image is made of and made with.
#[derive(Debug)]
pub struct LockedPackages {
    /// Those of the root.
    pub root: Lock,
    /// Those of the tools tree.
    pub tools: Lock,
}

impl LockedPackages {
    /// Checks that the lock is for these packages and these tools, and holds both.
    fn of(lock: Lock, root: &Wish, tools: &Wish) -> Result<Self> {
        let refuse = |what: &str| Failure::refused(format!("the lock {what}")).hint(LOCK_ANEW);
        if Wish::new(sorted(&lock.wanted), lock.base, lock.provided.clone()) != *root {
            return Err(refuse("was made for other packages than this image asks for").into());
        }
        let own = lock.tools().ok_or_else(|| refuse("does not hold the packages of the tools tree"))?;
        if own.wish() != *tools {
            return Err(refuse("was made for other tools than this program uses").into());
        }
        Ok(Self { root: lock, tools: own })
    }

    /// The time that the whole image carries: the date of the newest Release, seconds since 1970.
    pub fn epoch(&self) -> u64 {
        self.root.source_date_epoch
    }

    /// The lock as text.
    pub fn to_toml(&self) -> Result<String> {
        Ok(self.root.clone().with_tools(&self.tools).render()?)
    }
}

/// The package files of a root, in the store.
#[derive(Debug)]
pub struct Fetched {
    /// What to unpack.
    pub root: Vec<UnpackInput>,
}

impl Builder {
    /// Chooses the packages of an image and of the tools tree from the archive as it is now.
    pub fn lock(&self, image: &Path) -> Result<Lock> {
        let definition = self.load(image)?;
        let stage = self.progress.stage("lock");
        let tools = self.choose_tools(ToolsKind::Build)?;
        let lock = self.choose_image(&definition)?.with_tools(&tools);
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
            let packages =
                LockedPackages { root: self.choose_image(definition)?, tools: self.tools_packages(ToolsKind::Build)? };
            return Ok((packages, Hit::Made));
        };
        let wish = wish_of(definition)?;
        let lock = Lock::parse(&fs::read_to_string(path)?).or_refuse(LOCK_ANEW);
        let packages = lock.and_then(|lock| LockedPackages::of(lock, &wish, &ToolsKind::Build.wish()?));
        Ok((packages.with_context(|| format!("cannot build from `{}`", path.display()))?, Hit::Cached))
    }

    /// Chooses packages and all that they need from the archive as it is now, for what is no image of ours.
    pub fn lock_packages(&self, names: &[&str]) -> Result<Lock> {
        self.choose(&tools_suites()?, &Wish::new(parse_names(names)?, Base::Empty, Vec::new()))
    }

    /// Brings the packages of a root into the store and says where they are.
    pub fn fetch_packages(&self, lock: &Lock) -> Result<Vec<UnpackInput>> {
        let stage = self.progress.stage("fetch");
        let inputs = self.fetch_lock(lock, &stage)?;
        stage.done();
        Ok(inputs)
    }

    /// Brings every package into the store.
    pub(crate) fn fetch(&self, packages: &LockedPackages, stage: &Stage) -> Result<Fetched> {
        Ok(Fetched { root: self.fetch_lock(&packages.root, stage)? })
    }

    /// Brings every asset into the store.
    pub(crate) fn fetch_assets(&self, definition: &Definition) -> Result<Vec<StoredAsset>> {
        let (http, store) = (self.http(), Store::open(&self.settings.cache.join("packages"))?);
        let http = (!self.settings.offline).then_some(&http);
        assets::fetch(&definition.image.assets, &definition.image_dir, &store, http)
    }

    /// The tools tree of this kind, and whether it was there. The archive is asked when it was last asked long ago.
    pub(crate) fn tools_tree_hit(&self, kind: ToolsKind) -> Result<(ToolsTree, Hit)> {
        self.tools_tree_of(kind, &self.tools_packages(kind)?)
    }

    /// The tools tree of this kind as the archive has it now.
    pub fn fresh_tools_tree(&self, kind: ToolsKind) -> Result<ToolsTree> {
        Ok(self.tools_tree_of(kind, &self.choose_tools(kind)?)?.0)
    }

    /// The tools tree of exactly these packages, and whether it was there.
    pub(crate) fn tools_tree_of(&self, kind: ToolsKind, lock: &Lock) -> Result<(ToolsTree, Hit)> {
        let mut key = KeyBuilder::new(kind.name(), 2);
        for package in &lock.packages {
            key = key.text(&format!("package {}", package.name), &package.sha256.to_string());
        }
        let (dir, hit) = self.stages().get_or_make(&key.finish(), |dir| {
            let stage = self.progress.stage(format!("{} packages", kind.name()));
            let inputs = self.fetch_lock(lock, &stage)?;
            self.mend_store(lock, &stage)?;
            stage.done();
            let root = dir.join("root");
            fs::create_dir(&root)?;
            unpack_only(&inputs, &root, &tools_options()?)?;
            finish_tools_tree(&root)?;
            Ok(fs::write(dir.join("lock.toml"), lock.render()?)?)
        })?;
        Ok((ToolsTree::new(dir.join("root"), None), hit))
    }

    fn tools_packages(&self, kind: ToolsKind) -> Result<Lock> {
        let suites = tools_suites()?;
        let recent = self.choices(&suites).recent(&kind.wish()?, UnixTime(self.settings.now), TOOLS_MAX_AGE);
        recent.map_or_else(|| self.choose_tools(kind), Ok)
    }

    fn choose_tools(&self, kind: ToolsKind) -> Result<Lock> {
        self.choose(&tools_suites()?, &kind.wish()?)
    }

    fn choose_image(&self, definition: &Definition) -> Result<Lock> {
        let image = &definition.image;
        let components = image.components.iter().map(|name| Ok(name.as_str().parse()?)).collect::<Result<Vec<_>>>()?;
        self.choose(&Suite::of_release(&image.suite.as_str().parse()?, &components), &wish_of(definition)?)
    }

    fn choices<'a>(&self, suites: &'a [Suite]) -> Choices<'a> {
        Choices::new(&self.settings.cache, suites, Architecture::amd64())
    }

    fn choose(&self, suites: &[Suite], wish: &Wish) -> Result<Lock> {
        let (http, mirrors, keyring) = (self.http(), self.mirrors()?, Keyring::debian()?);
        let access = Access {
            cache: &self.settings.cache,
            network: self.network(&http, &mirrors),
            keyring: &keyring,
            freshness: Freshness::default(),
            now: UnixTime(self.settings.now),
        };
        match self.choices(suites).choose(&access, wish) {
            Err(error @ (ArchiveError::Resolve(_) | ArchiveError::Lock(_))) => {
                Err(error).or_refuse("name packages that Debian 13 carries and that go together")
            }
            other => other.context("cannot use the Debian archive"),
        }
    }

    fn fetch_lock(&self, lock: &Lock, stage: &Stage) -> Result<Vec<UnpackInput>> {
        let (http, mirrors) = (self.http(), self.mirrors()?);
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

    /// Looks whether the packages in the store, which are about to be read, are still those of the lock, and fetches the others again.
    pub(crate) fn mend_store(&self, lock: &Lock, stage: &Stage) -> Result<()> {
        let store = Store::open(&self.settings.cache.join("packages"))?;
        let damaged = fetch::remove_damaged(&store, &lock.downloads()?)?;
        if !damaged.is_empty() {
            self.progress.note(&format!("damaged in the cache and removed from it: {}", damaged.join(", ")));
            self.fetch_lock(lock, stage)?;
        }
        Ok(())
    }

    pub(crate) fn http(&self) -> Http {
        Http::default().with_patience(self.settings.patience)
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

/// The question that an image puts to the archive.
fn wish_of(definition: &Definition) -> Result<Wish> {
    Ok(Wish::new(parse_names(definition.packages())?, Base::Essential, definition.provided()?))
}

fn tools_suites() -> Result<Vec<Suite>> {
    Ok(Suite::of_release(&TOOLS_SUITE.parse()?, &[Component::main()]))
}

fn sorted(names: &[PackageName]) -> Vec<PackageName> {
    let mut names = names.to_vec();
    names.sort();
    names
}

pub(crate) fn parse_names(names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<PackageName>> {
    names.into_iter().map(|name| Ok(name.as_ref().parse()?)).collect()
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
        provided: Vec::new(),
        plan: PlanOptions { architecture: "amd64".into(), ..PlanOptions::default() },
    })
}

/// What maintainer scripts would have made and programs cannot do without: the library cache, accounts, mount points.
fn finish_tools_tree(root: &Path) -> Result<()> {
    for dir in ["proc", "dev", "sys", "run", "tmp", "etc", "var/tmp", "root"] {
        fs::create_dir_all(root.join(dir))?;
    }
    // Empty: whoever needs names lays a list over it.
    fs::write(root.join("etc/hosts"), "")?;
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

#[cfg(test)]
mod tests {
    use debian::placeholder::Provided;

    use super::*;

    const SUITE: &str = "[[suite]]\nname = \"trixie\"\nsite = \"archive\"\ncomponents = [\"main\"]\n\
        date = \"2026-09-12T07:55:41Z\"\n\
        release = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n";

    fn lock(wanted: &str, provided: &str) -> Lock {
        let head = "schema = 2\nsource_date_epoch = 1\narchitecture = \"amd64\"\nbase = \"essential\"\n";
        let provided = match provided {
            "" => String::new(),
            name => format!("[[provided]]\npackage = \"{name}\"\nreason = \"x\"\n"),
        };
        Lock::parse(&format!("{head}wanted = [\"{wanted}\"]\n{provided}{SUITE}")).unwrap()
    }

    fn wish(wanted: &str, base: Base, provided: &str) -> Wish {
        let row = |name: &str| Provided { package: name.parse().unwrap(), reason: "x".into() };
        let provided = [provided].into_iter().filter(|name| !name.is_empty()).map(row).collect();
        Wish::new(parse_names([wanted]).unwrap(), base, provided)
    }

    #[test]
    fn a_lock_is_taken_with_its_tools_tree() {
        let whole = lock("apache2", "virtual").with_tools(&lock("mtools", ""));
        let (root, tools) = (wish("apache2", Base::Essential, "virtual"), wish("mtools", Base::Empty, ""));
        let packages = LockedPackages::of(whole.clone(), &root, &tools).unwrap();
        assert_eq!(packages.tools.wish(), tools);
        assert_eq!(Lock::parse(&packages.to_toml().unwrap()).unwrap(), whole);
    }

    #[test]
    fn a_lock_for_another_image_or_other_tools_or_without_tools_is_refused() {
        let whole = lock("apache2", "virtual").with_tools(&lock("mtools", ""));
        let (root, tools) = (wish("apache2", Base::Essential, "virtual"), wish("mtools", Base::Empty, ""));
        for (lock, root, tools, message) in [
            (&whole, wish("nginx", Base::Essential, "virtual"), tools.clone(), "other packages"),
            (&whole, wish("apache2", Base::Essential, ""), tools.clone(), "other packages"),
            (&whole, root.clone(), wish("dosfstools", Base::Empty, ""), "other tools"),
            (&lock("apache2", "virtual"), root, tools, "does not hold the packages of the tools tree"),
        ] {
            let error = LockedPackages::of(lock.clone(), &root, &tools).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(tools::failure::render(&error).contains("casemate lock IMAGE"));
        }
    }
}

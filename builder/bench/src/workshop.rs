//! What every comparison works with: an image's lock and packages, the tools tree and the mirror.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use debian::lock::Lock;
use debian::rootfs::UnpackInput;
use fs_err as fs;
use pipeline::build::{Builder, Settings};
use pipeline::cache::Limit;
use pipeline::definition::Definition;
use pipeline::programs::ToolsTree;
use pipeline::stages::agent::Toolchain;
use pipeline::trees::ToolsKind;
use tools::{Progress, ProgressMode};

use crate::mirror::Mirror;

/// An image, ready to be built by anyone.
pub struct Workshop {
    /// Where packages come from.
    pub builder: Builder,
    /// The image's definition.
    pub definition: Definition,
    /// Its packages as the archive has them now.
    pub lock: Lock,
    /// The same as files of the store.
    pub packages: Vec<UnpackInput>,
    /// The tree with Debian's builders.
    pub tools: ToolsTree,
    /// The packages as a mirror.
    pub mirror: Mirror,
    /// Where results go; removed at the end.
    pub scratch: tempfile::TempDir,
}

impl Workshop {
    /// Chooses and fetches the packages of the image in `image` and makes the mirror, with `further` packages and all that they
    /// need. Results go below `scratch`.
    pub fn open(image: &Path, cache: &Path, scratch: &Path, further: &[&str]) -> Result<Self> {
        let builder = Builder::new(settings(cache)?, Progress::new(ProgressMode::Quiet))?;
        let definition = Definition::load(image)?;
        let lock = builder.lock(image)?;
        let packages = builder.fetch_packages(&lock)?;
        let tools = builder.tools_tree(ToolsKind::Compare)?;
        let scratch = tempfile::Builder::new().prefix("casemate-compare-").tempdir_in(scratch)?;
        let dir = scratch.path().join("mirror");
        fs::create_dir(&dir)?;
        let others = builder.lock_packages(further)?;
        let other_files = builder.fetch_packages(&others)?;
        let mirror = Mirror::make(&dir, (&lock, &packages), Some((&others, &other_files)), &tools)?;
        Ok(Self { builder, definition, lock, packages, tools, mirror, scratch })
    }

    /// A directory or file of this name among the results.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

/// A builder of this machine that compiles nothing and removes nothing.
pub fn settings(cache: &Path) -> Result<Settings> {
    Ok(Settings {
        cache: cache.to_owned(),
        mirror: std::env::var("CASEMATE_MIRROR").ok(),
        offline: false,
        patience: download::PATIENCE,
        now: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
        // No agent is compiled here.
        toolchain: Toolchain { cargo: PathBuf::new(), environment: Vec::new() },
        build_names: Vec::new(),
        own_ids: false,
        cache_limit: Limit(u64::MAX),
    })
}

/// The cache of the `casemate` command, which holds packages where an image was built before.
pub fn cache_dir() -> Result<PathBuf> {
    let own = std::env::var_os("CASEMATE_CACHE").map(PathBuf::from);
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let dir = own
        .or_else(|| base.map(|base| base.join("casemate")))
        .context("there is no home directory; name a cache in CASEMATE_CACHE")?;
    fs::create_dir_all(&dir)?;
    Ok(fs::canonicalize(dir)?)
}

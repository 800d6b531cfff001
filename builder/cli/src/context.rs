//! What every verb works with: settings from options and environment, read once, here and nowhere else.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use pipeline::build::{Builder, Settings};
use pipeline::cache::Limit;
use pipeline::stages::agent::Toolchain;
use tools::{Failure, Progress};

use crate::options::Shared;

/// Settings and the builder made from them.
pub(crate) struct Context {
    builder: Builder,
    cache: PathBuf,
    cache_limit: Limit,
    json: bool,
}

impl Context {
    pub(crate) fn new(shared: &Shared) -> Result<Self> {
        let cache = match &shared.cache {
            Some(dir) => dir.clone(),
            None => default_cache()?,
        };
        fs_err::create_dir_all(&cache)?;
        let cache = fs_err::canonicalize(cache)?;
        let cache_limit = Limit(shared.cache_limit.bytes());
        let settings = Settings {
            cache: cache.clone(),
            mirror: shared.mirror.clone(),
            offline: shared.offline,
            patience: Duration::from_secs(shared.timeout),
            now: now(),
            toolchain: toolchain(),
            build_names: build_names(),
            own_ids: tools::user_namespace::is_own(),
            cache_limit,
        };
        Ok(Self {
            builder: Builder::new(settings, Progress::new(shared.progress))?,
            cache,
            cache_limit,
            json: shared.json,
        })
    }

    pub(crate) fn builder(&self) -> &Builder {
        &self.builder
    }

    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    pub(crate) fn cache_limit(&self) -> Limit {
        self.cache_limit
    }

    pub(crate) fn json(&self) -> bool {
        self.json
    }
}

fn default_cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    match base {
        Some(base) => Ok(base.join("casemate")),
        None => Err(Failure::refused("there is no home directory to keep a cache in")
            .hint("name a directory with `--cache DIR`")
            .into()),
    }
}

/// Seconds since 1970; the age of signatures is judged by it, and statements of what is newest begin with it.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn toolchain() -> Toolchain {
    let passed_on = |name: &str| {
        let prefixes = ["CARGO_", "RUSTUP_", "SSL_"];
        ["PATH", "HOME", "http_proxy", "https_proxy", "no_proxy"].contains(&name)
            || (prefixes.iter().any(|prefix| name.starts_with(prefix)) && !belongs_to_outer_cargo(name))
    };
    Toolchain {
        cargo: std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from),
        environment: std::env::vars().filter(|(name, _)| passed_on(name)).collect(),
    }
}

/// `cargo run` describes the builder's own crate to it; the agent's build must not see that.
fn belongs_to_outer_cargo(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix))
        || name == "CARGO_PRIMARY_PACKAGE"
}

/// The machine's own name, which must not get into an image. Short names are words that stand in many files.
fn build_names() -> Vec<String> {
    let name = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    if name.len() >= 6 && name != "localhost" { vec![name] } else { Vec::new() }
}

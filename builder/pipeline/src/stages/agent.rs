//! The agent binary: built from this repository, static, with the paths of the build machine taken out.
//!
//! It is an input like any other: keyed by its sources, the lock of its crates and the compiler's version.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use tools::{HostRunner, ResultExt as _, Runner as _, Tool};

use crate::cache::{Hit, Key, KeyBuilder, StageCache};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What the crate makes: the agent, and the small part of it that the initrd has room for.
pub const BINARIES: [&str; 2] = ["casemate-agent", "casemate-initrd"];
/// The crates that the agent is made of (docs/architecture.md, arrows).
const CRATES: [&str; 5] = ["agent", "bundle", "hostconf", "formats", "tools"];

/// What of the build machine's environment the compiler needs: where it is, and its registry.
#[derive(Debug, Clone, Default)]
pub struct Toolchain {
    /// The `cargo` to call.
    pub cargo: PathBuf,
    /// Environment variables that are passed on: PATH, HOME, `CARGO_*`, `RUSTUP_*` and proxies.
    pub environment: Vec<(String, String)>,
}

/// Builds the agent, or takes it from the cache; returns the directory that holds [`BINARIES`].
pub fn build(cache: &StageCache, repo: &Path, scratch: &Path, toolchain: &Toolchain) -> Result<(PathBuf, Hit)> {
    let key = key(repo, toolchain)?;
    let (dir, hit) = cache.get_or_make(&key, |output| {
        let target_dir = scratch.join("agent-target");
        let cargo_home =
            toolchain.environment.iter().find(|(name, _)| name == "CARGO_HOME").map(|(_, value)| value.as_str());
        let tool = with_environment(Tool::new(toolchain.cargo.as_os_str()), toolchain)
            .cwd(repo)
            .env("RUSTFLAGS", flags(repo, cargo_home))
            .args(["build", "--release", "--locked", "--package", "agent", "--target", TARGET, "--target-dir"])
            .arg(&target_dir);
        HostRunner::new().run(&tool).remedied().context("cannot build the agent")?;
        for binary in BINARIES {
            fs::copy(target_dir.join(TARGET).join("release").join(binary), output.join(binary))?;
        }
        Ok(())
    })?;
    Ok((dir, hit))
}

fn flags(repo: &Path, cargo_home: Option<&str>) -> String {
    let mut flags = format!("-C target-feature=+crt-static --remap-path-prefix={}=/casemate", repo.display());
    if let Some(home) = cargo_home {
        flags.push_str(&format!(" --remap-path-prefix={home}=/cargo"));
    }
    flags
}

fn with_environment(tool: Tool, toolchain: &Toolchain) -> Tool {
    toolchain.environment.iter().fold(tool, |tool, (name, value)| tool.env(name, value))
}

fn key(repo: &Path, toolchain: &Toolchain) -> Result<Key> {
    let version =
        with_environment(Tool::new(toolchain.cargo.as_os_str()), toolchain).cwd(repo).args(["version", "--verbose"]);
    let version = HostRunner::new().run(&version).remedied().context("cannot ask cargo for its version")?;
    let mut key = KeyBuilder::new("agent", 2).bytes("toolchain", &version.stdout);
    for file in ["Cargo.toml", "Cargo.lock"] {
        key = key.bytes(file, &fs::read(repo.join(file))?);
    }
    for name in CRATES {
        let dir = repo.join("builder").join(name);
        key = key.tree_where(&format!("builder/{name}"), &dir, |path| !path.starts_with("/tests"))?;
    }
    Ok(key.finish())
}

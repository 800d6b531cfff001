//! The agent binary: built from this repository, static, with the paths of the build machine taken out.
//!
//! It is an input like any other: keyed by its sources, the lock of its crates and the compiler's version.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use tools::{HostRunner, ResultExt as _, Runner as _, Tool};

use crate::cache::{Hit, Key, KeyBuilder, StageCache};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// How it is compiled: the workspace's manifest says it.
const PROFILE: &str = "agent";
/// What the crate makes: the agent, and the small part of it that the initrd has room for.
pub const BINARIES: [&str; 2] = ["casemate-agent", "casemate-initrd"];
/// The crates that the agent is made of (docs/architecture.md, arrows).
pub(crate) const CRATES: [&str; 6] = ["agent", "bundle", "download", "hostconf", "formats", "tools"];
/// The files of the workspace that its build reads beside them.
pub(crate) const FILES: [&str; 2] = ["Cargo.toml", "Cargo.lock"];

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
    cache.get_or_make(&key, |output| {
        let (source, target_dir) = (scratch.join("agent-source"), scratch.join("agent-target"));
        fs::create_dir_all(&source)?;
        // Two builds with other sources must not compile into each other's hands.
        let only_one = fs::File::create(scratch.join("agent.lock"))?;
        only_one.file().lock().context("cannot wait for another build of the agent")?;
        // One place for the sources, wherever the repository is: what was compiled of other crates serves every clone.
        let mount = tools::mount::bind_read_only(repo, &source).remedied()?;
        let flags = flags(&source, toolchain);
        let cargo = |verb: &str| {
            let tool = with_environment(Tool::new(toolchain.cargo.as_os_str()), toolchain).cwd(&source);
            let tool = tool.env("CARGO_ENCODED_RUSTFLAGS", &flags).arg(verb);
            tool.args(["--profile", PROFILE, "--target", TARGET, "--target-dir"]).arg(&target_dir)
        };
        // cargo looks at times of files, and those of another clone say nothing: our own crates are compiled anew.
        let forget = CRATES.iter().fold(cargo("clean").arg("--quiet"), |tool, name| tool.args(["--package", name]));
        HostRunner::new().run(&forget).remedied().context("cannot clear what was compiled of the agent before")?;
        let build = cargo("build").args(["--locked", "--package", "agent"]);
        HostRunner::new().run(&build).remedied().context("cannot build the agent")?;
        mount.unmount().remedied()?;
        for binary in BINARIES {
            fs::copy(target_dir.join(TARGET).join(PROFILE).join(binary), output.join(binary))?;
        }
        Ok(())
    })
}

/// Compiler flags with cargo's separator: paths may hold spaces.
fn flags(source: &Path, toolchain: &Toolchain) -> String {
    const SEPARATOR: &str = "\x1f";
    let mut flags =
        vec!["-Ctarget-feature=+crt-static".to_owned(), format!("--remap-path-prefix={}=/casemate", source.display())];
    let variable = |wanted: &str| toolchain.environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let home = variable("CARGO_HOME").cloned().or_else(|| variable("HOME").map(|home| format!("{home}/.cargo")));
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={home}=/cargo"));
    }
    flags.join(SEPARATOR)
}

fn with_environment(tool: Tool, toolchain: &Toolchain) -> Tool {
    toolchain.environment.iter().fold(tool, |tool, (name, value)| tool.env(name, value))
}

/// The compiler's name and version as it says it, without a word about the machine.
pub(crate) fn compiler(repo: &Path, toolchain: &Toolchain) -> Result<String> {
    Ok(version(repo, toolchain)?.stdout_text().lines().next().unwrap_or_default().to_owned())
}

fn version(repo: &Path, toolchain: &Toolchain) -> Result<tools::Output> {
    let tool = with_environment(Tool::new(toolchain.cargo.as_os_str()), toolchain).cwd(repo);
    HostRunner::new().run(&tool.args(["version", "--verbose"])).remedied().context("cannot ask cargo for its version")
}

fn key(repo: &Path, toolchain: &Toolchain) -> Result<Key> {
    let mut key = KeyBuilder::new("agent", 4).bytes("toolchain", &version(repo, toolchain)?.stdout);
    for file in FILES {
        key = key.bytes(file, &fs::read(repo.join(file))?);
    }
    for name in CRATES {
        let dir = repo.join("builder").join(name);
        key = key.tree_where(&format!("builder/{name}"), &dir, |path| !path.starts_with("/tests"))?;
    }
    Ok(key.finish())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The crates of this workspace that a crate's manifest names as dependencies, not those of its tests alone.
    fn named_by(builder: &Path, name: &str) -> Vec<String> {
        let manifest = fs::read_to_string(builder.join(name).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let names = manifest["dependencies"].as_table().unwrap().keys();
        names.filter(|name| builder.join(name).is_dir()).cloned().collect()
    }

    #[test]
    fn the_key_is_of_all_crates_that_the_agent_is_made_of() {
        let builder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (mut found, mut open) = (BTreeSet::new(), vec!["agent".to_owned()]);
        while let Some(name) = open.pop() {
            if found.insert(name.clone()) {
                open.extend(named_by(&builder, &name));
            }
        }
        assert_eq!(found, CRATES.map(str::to_owned).into());
    }
}

//! The same definition, lock and keys give the same bytes, whoever builds them and wherever.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use fs_err as fs;

use crate::bench::{Bench, said};
use crate::cache_claims::digest;
use crate::other_user::{Home, User};

/// What a build says about itself and its machine: seconds, memory, paths.
const OF_THE_BUILD: &str = "build.json";

pub(crate) fn as_another_user(bench: &Bench) -> Result<()> {
    // The large image has all kinds of stages: a skeleton for jails, overlays with templates, set-id programs.
    let development = bench.dir().join("with-development-keys");
    bench.build_webhost(&development, &[])?;
    let user = User::find()?;
    let home = Home::new(bench, &user, &development)?;
    let output = home.dir.join("a/deep er/output");
    let mut command = Command::new("sh");
    // The umask shuts everyone out. In the full run the second core is taken away where there is one: one alone compiles for minutes.
    let is_full = std::env::var_os("CASEMATE_FULL").is_some();
    let cores = if is_full { "command -v taskset >/dev/null && exec taskset -c 0 \"$@\"; " } else { "" };
    command.args(["-c", &format!("umask 077; {cores}exec \"$@\""), "sh"]);
    command.arg(home.dir.join("casemate")).arg("build").arg(home.dir.join("source/images/webhost"));
    command.arg("--output").arg(&output).arg("--locked").arg(home.dir.join("lock.toml"));
    command.arg("--keys").arg(home.dir.join("keys")).args(["--json", "--explain"]);
    command
        .env_clear()
        .envs(home.environment())
        .current_dir(&home.dir)
        .stdin(Stdio::null())
        .uid(user.id)
        .gid(user.group);
    let built = said(command, "build as an ordinary user")?;
    let ran = crate::bench::ran(&built);
    ensure!(ran.len() == 9, "not every stage ran with an empty cache: {:?}", ran.keys());

    // As root, from the warm cache, with the same keys.
    let ours = bench.dir().join("as-root");
    let keys = home.dir.join("keys").to_string_lossy().into_owned();
    let lock = home.dir.join("lock.toml").to_string_lossy().into_owned();
    bench.build_webhost(&ours, &["--keys", &keys, "--locked", &lock])?;
    let different = different_files(&ours, &output)?;
    ensure!(different.is_empty(), "these differ: {different:?}; kept in {}", home.keep()?.display());
    let owner = fs::metadata(output.join("disk.raw"))?.uid();
    ensure!(owner == user.id, "the output belongs to {owner}");

    // Its twin: other keys give another kernel image, and everything that holds it differs.
    let with_other_keys = different_files(&ours, &development)?;
    let signed = ["bundle.tar", "disk.raw", "manifest.json", "manifest.json.sig", "uki.efi"];
    let missed: Vec<_> = signed.iter().filter(|name| !with_other_keys.iter().any(|other| other == *name)).collect();
    ensure!(missed.is_empty(), "with other keys these are still the same: {missed:?}");
    for output in [ours, development] {
        fs::remove_dir_all(output)?;
    }
    home.remove()
}

/// Names of the files that are not in both directories with the same bytes.
fn different_files(one: &Path, other: &Path) -> Result<Vec<String>> {
    let mut names = std::collections::BTreeSet::new();
    for dir in [one, other] {
        for entry in fs::read_dir(dir)? {
            names.insert(entry?.file_name().to_string_lossy().into_owned());
        }
    }
    names.remove(OF_THE_BUILD);
    let mut different = Vec::new();
    for name in names {
        let paths = [one.join(&name), other.join(&name)];
        if !paths.iter().all(|path| path.is_file()) || digest(&paths[0])? != digest(&paths[1])? {
            different.push(name);
        }
    }
    Ok(different)
}
